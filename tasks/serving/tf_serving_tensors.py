"""Arrays to and from TensorFlow's `TensorProto`.

TensorFlow's own functions do the same, but importing it takes longer than a whole promote (see `_tf_serving_protos`).
"""

import math
from typing import Any, NamedTuple

import numpy as np

from tasks.serving._tf_serving_protos import protos

Array = np.ndarray[Any, Any]


class _Kind(NamedTuple):
    """Where a dtype stands in a message.

    Attributes:
        name: TensorFlow's.
        field: of single values.
        carrier: dtype of these; float16 is carried as its bits.
    """

    name: str
    field: str
    carrier: str


_KINDS = {
    "bool": _Kind("DT_BOOL", "bool_val", "bool"),
    "uint8": _Kind("DT_UINT8", "int_val", "uint8"),
    "uint16": _Kind("DT_UINT16", "int_val", "uint16"),
    "uint32": _Kind("DT_UINT32", "uint32_val", "uint32"),
    "uint64": _Kind("DT_UINT64", "uint64_val", "uint64"),
    "int8": _Kind("DT_INT8", "int_val", "int8"),
    "int16": _Kind("DT_INT16", "int_val", "int16"),
    "int32": _Kind("DT_INT32", "int_val", "int32"),
    "int64": _Kind("DT_INT64", "int64_val", "int64"),
    "float16": _Kind("DT_HALF", "half_val", "uint16"),
    "float32": _Kind("DT_FLOAT", "float_val", "float32"),
    "float64": _Kind("DT_DOUBLE", "double_val", "float64"),
}
_DTYPES = {kind.name: dtype for dtype, kind in _KINDS.items()}
_STRING = "DT_STRING"


def to_proto(values: Array) -> Any:
    """A `TensorProto` of an array; strings may be `str` or bytes.

    Raises:
        ValueError: its dtype is none that a model here may have.
    """
    modules = protos()
    tensor = modules.tensor_pb2.TensorProto()
    for size in values.shape:
        tensor.tensor_shape.dim.add(size=size)
    if values.dtype.kind in "OSU":
        tensor.dtype = modules.types_pb2.DataType.Value(_STRING)
        tensor.string_val.extend(word.encode() if isinstance(word, str) else word for word in values.ravel().tolist())
    elif values.dtype.name in _KINDS:
        tensor.dtype = modules.types_pb2.DataType.Value(_KINDS[values.dtype.name].name)
        tensor.tensor_content = values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes()
    else:
        raise ValueError(f"an array of {values.dtype} cannot be sent; expected str or one of {', '.join(_KINDS)}")
    return tensor


def to_array(tensor: Any) -> Array:
    """The array in a `TensorProto`; strings as an object array of bytes.

    Raises:
        ValueError: its dtype is none that a model here may have, or it holds another number of values than its shape.
    """
    shape = tuple(dim.size for dim in tensor.tensor_shape.dim)
    name = protos().types_pb2.DataType.Name(tensor.dtype)
    if name == _STRING and not tensor.tensor_content:
        return _filled(np.array(list(tensor.string_val), dtype=object), math.prod(shape), b"").reshape(shape)
    if name not in _DTYPES:
        raise ValueError(f"a tensor of {name} cannot be read; expected one of {', '.join((_STRING, *_DTYPES))}")
    dtype = np.dtype(_DTYPES[name])
    if tensor.tensor_content:
        return np.frombuffer(tensor.tensor_content, dtype.newbyteorder("<")).astype(dtype).reshape(shape)
    kind = _KINDS[dtype.name]
    values = np.array(list(getattr(tensor, kind.field)), kind.carrier).view(dtype)
    return _filled(values, math.prod(shape), 0).reshape(shape)


def _filled(values: Array, count: int, nothing: Any) -> Array:
    """All values, where equal ones at the end were sent once, and none of them where all are zero."""
    last = values[-1] if len(values) else nothing
    return np.concatenate([values, np.full(max(0, count - len(values)), last, values.dtype)])
