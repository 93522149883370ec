"""The arrays of a request, made from JSON values or raw bytes and held against the model's signature.

Every request passes here, so the good case is a few calls into C and the sentences are made only when one is needed.
Nothing a client says about sizes is believed: a shape is held against the signature and the limit before its product
is used, and its product against the data before an array is made.
"""

import math
import struct
from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from tasks.models.signature import Signature, TensorSpec
from tasks.serving.server.rejected import Rejected

Array = np.ndarray[Any, Any]
Shape = tuple[int, ...]

EXACT = 2**53  # whole floats up to here are what the client wrote; JSON's larger integers may have been rounded to them
FEW = 64  # numbers that Python adds up faster than numpy looks at them
SHOWN = 64  # characters of a client's word in a sentence


class Dtype(NamedTuple):
    """One dtype in the words of everyone who names it.

    Attributes:
        oip: of the Open Inference Protocol.
        tf: of TensorFlow.
        numpy: of the arrays.
        code: of `struct`, which converts a list strictly and three times faster than numpy; empty where it is too lax.
    """

    oip: str
    tf: str
    numpy: np.dtype[Any]
    code: str


DTYPES: dict[str, Dtype] = {
    "bool": Dtype("BOOL", "DT_BOOL", np.dtype(np.bool_), ""),
    "uint8": Dtype("UINT8", "DT_UINT8", np.dtype(np.uint8), "B"),
    "uint16": Dtype("UINT16", "DT_UINT16", np.dtype(np.uint16), "H"),
    "uint32": Dtype("UINT32", "DT_UINT32", np.dtype(np.uint32), "I"),
    "uint64": Dtype("UINT64", "DT_UINT64", np.dtype(np.uint64), "Q"),
    "int8": Dtype("INT8", "DT_INT8", np.dtype(np.int8), "b"),
    "int16": Dtype("INT16", "DT_INT16", np.dtype(np.int16), "h"),
    "int32": Dtype("INT32", "DT_INT32", np.dtype(np.int32), "i"),
    "int64": Dtype("INT64", "DT_INT64", np.dtype(np.int64), "q"),
    "float16": Dtype("FP16", "DT_HALF", np.dtype(np.float16), "e"),
    "float32": Dtype("FP32", "DT_FLOAT", np.dtype(np.float32), "f"),
    "float64": Dtype("FP64", "DT_DOUBLE", np.dtype(np.float64), "d"),
    "str": Dtype("BYTES", "DT_STRING", np.dtype(np.object_), ""),
}
BY_NUMPY: dict[np.dtype[Any], Dtype] = {kind.numpy: kind for kind in DTYPES.values()}
_JSON_TYPES: dict[type, str] = {
    type(None): "null",
    bool: "a boolean",
    str: "a string",
    list: "a list",
    dict: "an object",
}


def dtype(spec: TensorSpec) -> Dtype:
    """The dtype of a tensor; `Rejected("model")` where no protocol here can carry it."""
    kind = DTYPES.get(spec.dtype)
    if kind is None:
        raise Rejected("model", f"The model has a tensor of dtype {spec.dtype}, which no protocol here can carry.")
    return kind


def free(spec: TensorSpec) -> list[int]:
    """The shape of a tensor as the protocols write it: -1 where it is free."""
    return [-1 if size is None else size for size in spec.shape]


def quoted(word: object) -> str:
    """A name that a client sent, cut to what a sentence can hold."""
    if not isinstance(word, str):
        return described(word)
    return repr(word if len(word) <= SHOWN else f"{word[:SHOWN]}...")


def described(value: object) -> str:
    """A JSON value in a sentence: numbers as they are, of others only the type."""
    return _JSON_TYPES.get(type(value)) or str(value)[:SHOWN]


def expected(name: object, signature: Signature, feeds: Mapping[str, object]) -> tuple[str, TensorSpec]:
    """The input that a client names, with its specification; refuses unknown names and those already in `feeds`."""
    spec = signature.inputs.get(name) if isinstance(name, str) else None
    if spec is None or not isinstance(name, str):
        raise Rejected("malformed", f"The model has no input {quoted(name)}, expected {_names(signature.inputs)}.")
    if name in feeds:
        raise Rejected("malformed", f"Input {name!r} is given twice, expected once.")
    return name, spec


def check_shape(name: str, spec: TensorSpec, shape: object, left: float) -> Shape:
    """The shape that a client gives an input, once it fits the signature and holds at most `left` elements.

    Every size must be at least 1: no request is empty, and a size 0 would let another one claim any number of rows.
    """
    if isinstance(shape, (list, tuple)) and len(shape) == len(spec.shape):
        for size, fixed in zip(shape, spec.shape, strict=True):
            if type(size) is not int or size < 1 or (fixed is not None and size != fixed):
                break
        else:
            check_count(name, math.prod(shape), left)
            return tuple(shape)
        whole = [_exact(size) for size in shape]
        if list(map(type, whole)) != list(map(type, shape)):
            return check_shape(name, spec, whole, left)
    raise Rejected(
        "malformed", f"Input {name!r} has shape {_shown(shape)}, expected {free(spec)}, where -1 is any size from 1."
    )


def check_count(name: str, count: int, left: float) -> None:
    """Refuse an input of more elements than the request has left."""
    if count > left:
        raise Rejected("too_large", f"Input {name!r} has {count} elements, expected at most {left} in this request.")


def check_rows(feeds: Mapping[str, Array], signature: Signature) -> int:
    """How many rows the inputs hold; refuses a request that leaves one out or whose inputs differ in rows."""
    if len(feeds) < len(signature.inputs):
        missing = [name for name in signature.inputs if name not in feeds]
        raise Rejected("malformed", f"Input {missing[0]!r} is missing, expected {_names(signature.inputs)}.")
    (first, array), *others = feeds.items()
    rows = len(array)
    for name, other in others:
        if len(other) != rows:
            raise Rejected(
                "malformed", f"Input {name!r} has {len(other)} rows, expected {rows} as input {first!r} has."
            )
    return rows


def check(feeds: Mapping[str, Array], signature: Signature, max_elements: int) -> int:
    """Hold arrays against the signature, whoever made them.

    Returns:
        The number of rows.
    """
    for name, array in feeds.items():
        _, spec = expected(name, signature, {})
        kind = dtype(spec)
        if array.dtype != kind.numpy:
            raise Rejected("malformed", f"Input {name!r} has dtype {array.dtype}, expected {spec.dtype}.")
        max_elements -= math.prod(check_shape(name, spec, array.shape, max_elements))
        if kind.oip == "BYTES":
            _check_types(name, array.ravel().tolist(), str, "strings")
    return check_rows(feeds, signature)


def measure(values: object, rank: int) -> list[int]:
    """The shape of nested lists as their first elements have it, one level deeper than `rank` at most."""
    shape: list[int] = []
    while isinstance(values, list) and len(shape) <= rank:
        shape.append(len(values))
        if not values:
            break
        values = values[0]
    return shape


def flatten(name: str, values: object, shape: Shape) -> list[Any]:
    """The elements of a checked shape, from a list that is flat and row-major or nested as the shape is."""
    if not isinstance(values, list):
        raise Rejected("malformed", f"The data of input {name!r} is {described(values)}, expected a list.")
    if not values or type(values[0]) is not list:
        if len(values) != math.prod(shape):
            raise Rejected(
                "malformed",
                f"Input {name!r} holds {len(values)} elements, expected {math.prod(shape)} for shape {list(shape)}.",
            )
        return values
    _check_length(name, len(values) == shape[0], shape)
    for size in shape[1:]:
        _check_length(name, set(map(type, values)) == {list} and set(map(len, values)) == {size}, shape)
        values = values[0] if len(values) == 1 else list(chain.from_iterable(values))
    return values


def from_values(name: str, spec: TensorSpec, values: list[Any], shape: Shape, booleans: bool = True) -> Array:
    """Convert JSON values, refusing each one whose meaning would change.

    Args:
        name: of the input.
        spec: what the signature says of it.
        values: flat, as many as the checked shape holds.
        shape: checked.
        booleans: False where the text holds none, which spares looking at the type of every number.
    """
    kind = dtype(spec)
    if kind.oip == "BYTES":
        _check_types(name, values, str, "strings")
        return _objects(values).reshape(shape)
    if kind.oip == "BOOL":
        _check_types(name, values, bool, "booleans")
        return np.frombuffer(bytes(values), kind.numpy).reshape(shape)
    if booleans and bool in set(map(type, values)):
        position = next(i for i, value in enumerate(values) if type(value) is bool)
        raise _misfit(name, kind, position, values[position])
    return np.frombuffer(_pack(name, kind, values), kind.numpy).reshape(shape)


def from_bytes(name: str, spec: TensorSpec, data: bytes, offset: int, size: int, shape: Shape) -> Array:
    """Read `size` bytes of `data` as little-endian, row-major elements of a checked shape.

    The array is a read-only view of `data` where its address allows. Not a number and infinities pass: here the client
    said exactly those bits.
    """
    kind = dtype(spec)
    count = math.prod(shape)
    if kind.oip == "BYTES":
        return _objects(_split(name, data, offset, size, count)).reshape(shape)
    if size != count * kind.numpy.itemsize:
        raise Rejected(
            "malformed",
            f"Input {name!r} holds {size} bytes, expected {count * kind.numpy.itemsize} for {kind.oip} of shape "
            f"{list(shape)}.",
        )
    if kind.oip == "BOOL" and np.frombuffer(data, np.uint8, count, offset).max() > 1:
        raise Rejected("malformed", f"Input {name!r} holds bytes other than 0 and 1, expected only those for BOOL.")
    array = np.frombuffer(data, kind.numpy, count, offset)
    return (array if array.flags.aligned else array.copy()).reshape(shape)


def to_bytes(array: Array) -> bytes:
    """The elements little-endian and row-major; each string after four bytes with its length."""
    if array.dtype != np.object_:
        return array.tobytes()
    texts = [str(text).encode() for text in array.ravel().tolist()]
    return b"".join(chain.from_iterable((struct.pack("<I", len(text)), text) for text in texts))


def is_finite(array: Array) -> bool:
    """Whether an array holds neither infinities nor not a number."""
    if array.dtype.kind != "f":
        return True
    if array.size <= FEW and math.isfinite(sum(array.ravel().tolist())):
        return True
    return bool(np.isfinite(array).all())


def _check_length(name: str, right: bool, shape: Shape) -> None:
    if not right:
        raise Rejected("malformed", f"The lists of input {name!r} differ in length or depth from shape {list(shape)}.")


def _check_types(name: str, values: list[Any], wanted: type, plural: str) -> None:
    if set(map(type, values)) != {wanted}:
        position = next(i for i, value in enumerate(values) if type(value) is not wanted)
        raise Rejected(
            "malformed",
            f"Input {name!r} holds {described(values[position])} at position {position}, expected {plural}.",
        )


def _pack(name: str, kind: Dtype, values: list[Any]) -> bytes:
    form = f"<{len(values)}{kind.code}"  # in the machine's own form numbers beyond float32 would become infinities
    try:
        return struct.pack(form, *values)
    except (struct.error, OverflowError):
        whole = [_exact(value) for value in values] if kind.numpy.kind in "iu" else values
    try:
        return struct.pack(form, *whole)
    except (struct.error, OverflowError):
        position = _first_misfit(kind.code, whole)
        raise _misfit(name, kind, position, values[position]) from None


def _exact(value: Any) -> Any:
    """An integer for a float that is one (to JSON 2.0 is the integer 2); everything else as it is."""
    return int(value) if type(value) is float and abs(value) <= EXACT and value.is_integer() else value


def _first_misfit(code: str, values: list[Any]) -> int:
    """Where the first value stands that does not pack; by halves, as looking at each would take a client's time."""
    low, high = 0, len(values)
    while high - low > 1:
        middle = (low + high) // 2
        try:
            struct.pack(f"<{middle - low}{code}", *values[low:middle])
            low = middle
        except (struct.error, OverflowError):
            high = middle
    return low


def _misfit(name: str, kind: Dtype, position: int, value: object) -> Rejected:
    if kind.numpy.kind == "f":
        wanted = f"numbers between {np.finfo(kind.numpy).min} and {np.finfo(kind.numpy).max}"
    else:
        wanted = f"whole numbers between {np.iinfo(kind.numpy).min} and {np.iinfo(kind.numpy).max}"
    return Rejected(
        "malformed",
        f"Input {name!r} holds {described(value)} at position {position}, expected {wanted} for {kind.oip}.",
    )


def _split(name: str, data: bytes, offset: int, size: int, count: int) -> list[str]:
    end = offset + size
    if count * 4 > size:
        raise Rejected(
            "malformed", f"Input {name!r} holds {size} bytes, expected at least {count * 4} for {count} strings."
        )
    texts = []
    for position in range(count):
        length = int.from_bytes(data[offset : offset + 4], "little") if end - offset >= 4 else size
        offset += 4
        if length > end - offset:
            raise Rejected("malformed", f"String {position} of input {name!r} ends after the {size} bytes of its data.")
        try:
            texts.append(data[offset : offset + length].decode())
        except UnicodeDecodeError:
            raise Rejected("malformed", f"String {position} of input {name!r} is not UTF-8, expected UTF-8.") from None
        offset += length
    if offset != end:
        raise Rejected(
            "malformed", f"Input {name!r} has {end - offset} bytes after its last string, expected none after {count}."
        )
    return texts


def _objects(values: list[str]) -> Array:
    array = np.empty(len(values), np.object_)
    array[:] = values
    return array


def _names(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in names)


def _shown(shape: object) -> str:
    if not isinstance(shape, (list, tuple)):
        return described(shape)
    words = [described(size) for size in shape[:8]]
    return f"[{', '.join(words)}{', ...' if len(shape) > 8 else ''}]"
