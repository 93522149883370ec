"""TensorFlow Serving's REST API: predict, status and metadata, as far as one signature of one dtype of strings goes.

See https://github.com/tensorflow/serving (tensorflow_serving/g3doc/api_rest.md). It has two formats: rows
(`instances` in, `predictions` out) and columns (`inputs` in, `outputs` out).
"""

import base64
import binascii
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from tasks.models.signature import Signature, TensorSpec
from tasks.serving.server import tensors
from tasks.serving.server.body import may_hold_booleans, read
from tasks.serving.server.rejected import Rejected
from tasks.serving.server.tensors import Array, described, quoted

SIGNATURE = "serving_default"
METHOD = "tensorflow/serving/predict"
B64 = "b64"
BYTES_SUFFIX = "_bytes"  # strings of outputs with such a name are written as base64


@dataclass(slots=True)
class Predict:
    """One request, checked.

    Attributes:
        feeds: input name -> (rows, ...) of exactly the signature's dtype.
        rows: of every input.
        by_row: whether it came as rows, and the answer goes back as rows.
    """

    feeds: dict[str, Array]
    rows: int
    by_row: bool


def decode(body: bytes, signature: Signature, max_elements: int) -> Predict:
    """Read a request for a prediction.

    Raises:
        Rejected: `malformed` or `too_large`.
    """
    request = read(body)
    _check_signature_name(request.get("signature_name", SIGNATURE))
    by_row = "instances" in request
    if by_row == ("inputs" in request):
        both = "both instances and inputs" if by_row else "neither instances nor inputs"
        raise Rejected("malformed", f"The body has {both}, expected one of them.")
    columns = _of_rows(request["instances"], signature) if by_row else _of_columns(request["inputs"], signature)
    booleans = may_hold_booleans(body)
    feeds: dict[str, Array] = {}
    for given, values in columns.items():
        name, spec = tensors.expected(given, signature, feeds)
        shape = tensors.check_shape(name, spec, tensors.measure(values, len(spec.shape)), max_elements)
        max_elements -= math.prod(shape)
        flat = tensors.flatten(name, values, shape)
        if spec.dtype == "str":
            flat = _unpacked(name, flat)
        feeds[name] = tensors.from_values(name, spec, flat, shape, booleans)
    return Predict(feeds, tensors.check_rows(feeds, signature), by_row)


def encode(predict: Predict, outputs: Mapping[str, Array]) -> bytes:
    """Write the response in the format of the request; one output goes without its name.

    The outputs are finite, as the line sees to: JSON has no other numbers.
    """
    columns = {name: _writable(name, array) for name, array in outputs.items()}
    content: Any = columns
    if len(columns) == 1:
        (content,) = columns.values()
    elif predict.by_row:
        content = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    word = "predictions" if predict.by_row else "outputs"
    return orjson.dumps({word: content}, option=orjson.OPT_SERIALIZE_NUMPY)


def model_status(versions: Iterable[int]) -> dict[str, Any]:
    """`GET /v1/models/{model}`: the versions that can be asked for, in the order given."""
    status = {"error_code": "OK", "error_message": ""}
    return {
        "model_version_status": [
            {"version": str(version), "state": "AVAILABLE", "status": status} for version in versions
        ]
    }


def metadata(model: str, version: int, signature: Signature) -> dict[str, Any]:
    """`GET /v1/models/{model}/metadata`; the tensors of a graph are called as the signature calls them."""
    default = {
        "inputs": {name: _tensor_info(name, spec) for name, spec in signature.inputs.items()},
        "outputs": {name: _tensor_info(name, spec) for name, spec in signature.outputs.items()},
        "method_name": METHOD,
        "defaults": {},
    }
    return {
        "model_spec": {"name": model, "signature_name": "", "version": str(version)},
        "metadata": {"signature_def": {"signature_def": {SIGNATURE: default}}},
    }


def _check_signature_name(name: object) -> None:
    if name not in (SIGNATURE, ""):
        raise Rejected("malformed", f"The model has no signature {quoted(name)}, expected {SIGNATURE!r}.")


def _of_rows(instances: object, signature: Signature) -> dict[str, list[Any]]:
    """Rows as columns: each row is an object with every input, or the value of the only one."""
    if not isinstance(instances, list) or not instances:
        came = described(instances) if instances != [] else "an empty list"
        raise Rejected("malformed", f"The instances are {came}, expected a list with a value for each row.")
    if not _is_named(instances[0]):
        return {_only(signature, "instance"): instances}
    names = list(signature.inputs)
    for position, row in enumerate(instances):
        if not _is_named(row) or len(row) != len(names) or any(name not in row for name in names):
            raise Rejected("malformed", f"Instance {position} is not an object with the keys {', '.join(names)}.")
    return {name: [row[name] for row in instances] for name in names}


def _of_columns(inputs: object, signature: Signature) -> dict[str, Any]:
    return inputs if _is_named(inputs) else {_only(signature, "value of inputs"): inputs}  # type: ignore[return-value]


def _only(signature: Signature, what: str) -> str:
    if len(signature.inputs) > 1:
        names = ", ".join(map(repr, signature.inputs))
        raise Rejected("malformed", f"The {what} is no object, expected one with the keys {names}.")
    return next(iter(signature.inputs))


def _is_named(value: object) -> bool:
    return isinstance(value, dict) and not _is_packed(value)


def _is_packed(value: object) -> bool:
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get(B64), str)


def _unpacked(name: str, values: list[Any]) -> list[Any]:
    """Strings out of base64; everything that is no base64 stays as it is."""
    if dict not in set(map(type, values)):
        return values
    try:
        return [
            base64.b64decode(value[B64], validate=True).decode() if _is_packed(value) else value for value in values
        ]
    except (binascii.Error, ValueError):
        raise Rejected(
            "malformed", f"Input {name!r} holds {B64!r} that is no base64 of UTF-8, expected that."
        ) from None


def _writable(name: str, array: Array) -> Any:
    if not array.dtype.hasobject:
        return np.ascontiguousarray(array)
    if not name.endswith(BYTES_SUFFIX):
        return array.tolist()
    packed = np.empty(array.size, np.object_)
    packed[:] = [{B64: base64.b64encode(text.encode()).decode()} for text in array.ravel().tolist()]
    return packed.reshape(array.shape).tolist()


def _tensor_info(name: str, spec: TensorSpec) -> dict[str, Any]:
    return {
        "dtype": tensors.dtype(spec).tf,
        "tensor_shape": {
            "dim": [{"size": str(size), "name": ""} for size in tensors.free(spec)],
            "unknown_rank": False,
        },
        "name": name,
    }
