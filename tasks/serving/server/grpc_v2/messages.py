"""Tensors in and out of the protocol's messages. Whether they fit the model is for `tensors` to say."""

from collections.abc import Iterable, Mapping
from math import prod
from typing import Any

import numpy as np

from tasks.models.signature import Signature, TensorSpec
from tasks.serving.server import oip, tensors
from tasks.serving.server.grpc_v2 import open_inference_pb2
from tasks.serving.server.rejected import Rejected
from tasks.serving.server.tensors import Array, Dtype, Shape, quoted

FIELDS: dict[str, str] = {
    "BOOL": "bool_contents",
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    "INT64": "int64_contents",
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
"""Which field of InferTensorContents holds a datatype; FP16 has none."""


def version_number(version: str) -> int | None:
    """The number in a request's version, None for the one in production.

    Raises:
        Rejected: versions are numbers, and it is none.
    """
    if not version:
        return None
    if not (version.isascii() and version.isdecimal() and len(version) < 19):
        raise Rejected("unknown", f"{quoted(version)} is no version: a version is a whole number.")
    return int(version)


def wanted(request: Any, signature: Signature) -> list[str]:
    """Names of the outputs that a request asks for, all of the model's if it names none.

    Raises:
        Rejected: the model has no such output, or one is asked for twice.
    """
    names: dict[str, None] = {}
    for output in request.outputs:
        if output.name not in signature.outputs:
            there = ", ".join(map(repr, signature.outputs))
            raise Rejected("malformed", f"The model has no output {quoted(output.name)}, expected {there}.")
        if output.name in names:
            raise Rejected("malformed", f"Output {output.name!r} is asked for twice, expected once.")
        _check_parameters(output, f"Output {output.name!r}")
        names[output.name] = None
    return list(names or signature.outputs)


def feeds(request: Any, signature: Signature, max_elements: int) -> dict[str, Array]:
    """The tensors of a request, as the model takes them.

    Args:
        request: a ModelInferRequest.
        signature: of the model.
        max_elements: of all tensors together.

    Returns:
        Input -> (batch, ...) of the signature's dtype.

    Raises:
        Rejected: they are not what the message says, not what the model takes, or too many.
    """
    _check_parameters(request, "The request")
    arrays: dict[str, Array] = {}
    for tensor, raw in zip(request.inputs, _raws(request), strict=True):
        name, spec = tensors.expected(tensor.name, signature, arrays)
        _check_parameters(tensor, f"Input {name!r}")
        kind = tensors.dtype(spec)
        if tensor.datatype != kind.oip:
            raise Rejected("malformed", f"Input {name!r} has datatype {quoted(tensor.datatype)}, expected {kind.oip}.")
        shape = tensors.check_shape(name, spec, list(tensor.shape), max_elements)
        max_elements -= prod(shape)
        if raw is None:
            arrays[name] = _typed(name, spec, tensor.contents, shape)
        else:
            arrays[name] = tensors.from_bytes(name, spec, raw, 0, len(raw), shape)
    tensors.check_rows(arrays, signature)
    return arrays


def response(request: Any, version: int, outputs: Mapping[str, Array]) -> Any:
    """The answer to a request, in the form that the request has.

    Args:
        request: a ModelInferRequest.
        version: the one that answered.
        outputs: name -> (batch, ...), those that are asked for, in that order.
    """
    answer = open_inference_pb2.ModelInferResponse(
        model_name=request.model_name, model_version=str(version), id=request.id
    )
    kinds = {name: tensors.BY_NUMPY[values.dtype] for name, values in outputs.items()}
    is_raw = bool(request.raw_input_contents) or any(kind.oip not in FIELDS for kind in kinds.values())
    for name, values in outputs.items():
        tensor = answer.outputs.add(name=name, datatype=kinds[name].oip, shape=values.shape)
        if is_raw:
            answer.raw_output_contents.append(tensors.to_bytes(values))
        else:
            _fill(tensor.contents, kinds[name], values)
    return answer


def _check_parameters(owner: Any, what: str) -> None:
    for name in oip.UNSUPPORTED:
        if name in owner.parameters:
            raise Rejected("malformed", f"{what} has the parameter {name!r}, which this server does not support.")


def _raws(request: Any) -> Iterable[bytes | None]:
    """The raw contents of each input; None where it has contents of its own."""
    raws, inputs = request.raw_input_contents, request.inputs
    if not raws:
        return [None] * len(inputs)
    if len(raws) != len(inputs):
        raise Rejected("malformed", f"raw_input_contents has {len(raws)} entries, expected one for each of the inputs.")
    if any(tensor.HasField("contents") for tensor in inputs):
        raise Rejected("malformed", "An input has contents beside raw_input_contents, expected one of them.")
    return raws  # type: ignore[no-any-return]


def _typed(name: str, spec: TensorSpec, contents: Any, shape: Shape) -> Array:
    kind = tensors.dtype(spec)
    field = FIELDS.get(kind.oip)
    if field is None:
        raise Rejected("malformed", f"Input {name!r} is {kind.oip}, which only raw_input_contents can hold.")
    for other, _ in contents.ListFields():
        if other.name != field:
            raise Rejected("malformed", f"Input {name!r} has {other.name}, expected {field} for {kind.oip}.")
    values = getattr(contents, field)
    if len(values) != prod(shape):
        raise Rejected(
            "malformed",
            f"Input {name!r} holds {len(values)} elements, expected {prod(shape)} for shape {list(shape)}.",
        )
    return (_strings(name, values) if kind.oip == "BYTES" else _numbers(name, kind, values)).reshape(shape)


def _numbers(name: str, kind: Dtype, values: Any) -> Array:
    wide = np.array(values)
    narrow = wide.astype(kind.numpy)
    if kind.numpy.itemsize < wide.itemsize and (narrow != wide).any():
        raise Rejected("malformed", f"Input {name!r} holds {wide[narrow != wide][0]}, which is no {kind.oip}.")
    return narrow


def _strings(name: str, values: Iterable[bytes]) -> Array:
    try:
        texts = [value.decode() for value in values]
    except UnicodeDecodeError:
        raise Rejected("malformed", f"Input {name!r} holds a string that is not UTF-8, expected UTF-8.") from None
    array = np.empty(len(texts), np.object_)
    array[:] = texts
    return array


def _fill(contents: Any, kind: Dtype, values: Array) -> None:
    flat = values.ravel().tolist()
    getattr(contents, FIELDS[kind.oip]).extend([text.encode() for text in flat] if kind.oip == "BYTES" else flat)
