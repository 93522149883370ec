"""The Open Inference Protocol v2 over REST, with the binary tensors that Triton's clients send.

See https://github.com/kserve/open-inference-protocol (specification/protocol/inference_rest.md) and Triton's extension
`binary_tensor_data`: tensors stand as bytes behind the JSON, whose length a header gives.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from typing import Any

import orjson

from tasks.models.signature import Signature, TensorSpec
from tasks.serving.server import tensors
from tasks.serving.server.body import may_hold_booleans, read
from tasks.serving.server.rejected import Rejected
from tasks.serving.server.tensors import BY_NUMPY, Array, described, quoted

HEADER = "Inference-Header-Content-Length"
EXTENSIONS = ("binary_tensor_data",)
PLATFORM = "onnx_onnxv1"
JSON_TYPE = (b"content-type", b"application/json")
BINARY_TYPE = (b"content-type", b"application/octet-stream")
# Triton's extensions that change what an answer means; every other parameter is a hint, which a server may ignore.
UNSUPPORTED = ("classification", "shared_memory_region")

Headers = list[tuple[bytes, bytes]]


@dataclass(slots=True)
class Infer:
    """One request, checked.

    Attributes:
        feeds: input name -> (rows, ...) of exactly the signature's dtype.
        rows: of every input.
        outputs: those wanted, in the client's order -> whether as bytes.
        id: given back as it came.
    """

    feeds: dict[str, Array]
    rows: int
    outputs: dict[str, bool]
    id: str | None = None


def decode(body: bytes, header_length: bytes | None, signature: Signature, max_elements: int) -> Infer:
    """Read a request for inference.

    Args:
        body: JSON, and behind it the bytes of those inputs that have a `binary_data_size`.
        header_length: the header `Inference-Header-Content-Length` as it came; None if it did not.
        signature: of the model.
        max_elements: of all inputs together.

    Raises:
        Rejected: `malformed` or `too_large`.
    """
    head = body if header_length is None else body[: _head_size(header_length, len(body))]
    request = read(head)
    name = request.get("id")
    if name is not None and not isinstance(name, str):
        raise Rejected("malformed", f"The id is {described(name)}, expected a string.")
    feeds = _feeds(request, head, body, signature, max_elements)
    return Infer(feeds, tensors.check_rows(feeds, signature), _wanted(request, signature), name)


def encode(infer: Infer, model: str, version: int, outputs: Mapping[str, Array]) -> tuple[bytes, Headers]:
    """Write the response.

    Args:
        infer: what was asked.
        model: its name.
        version: that answered.
        outputs: finite, as the line sees to: JSON has no other numbers.

    Returns:
        The body, and the headers that say what it is.
    """
    entries, chunks = [], []
    for name, binary in infer.outputs.items():
        array = outputs[name]
        entry: dict[str, Any] = {"name": name, "datatype": BY_NUMPY[array.dtype].oip, "shape": array.shape}
        if binary:
            chunks.append(tensors.to_bytes(array))
            entry["parameters"] = {"binary_data_size": len(chunks[-1])}
        else:
            entry["data"] = array.ravel().tolist() if array.dtype.hasobject else array.ravel()
        entries.append(entry)
    response: dict[str, Any] = {"model_name": model, "model_version": str(version), "outputs": entries}
    if infer.id is not None:
        response["id"] = infer.id
    head = orjson.dumps(response, option=orjson.OPT_SERIALIZE_NUMPY)
    if not chunks:
        return head, [JSON_TYPE]
    return b"".join((head, *chunks)), [BINARY_TYPE, (HEADER.lower().encode(), str(len(head)).encode())]


@cache
def server_metadata() -> dict[str, Any]:
    """`GET /v2`."""
    return {"name": "slipway", "version": metadata.version("slipway"), "extensions": list(EXTENSIONS)}


def model_metadata(model: str, versions: Iterable[int], signature: Signature) -> dict[str, Any]:
    """`GET /v2/models/{model}`: what it takes and gives; `versions` are those that can be asked for."""
    return {
        "name": model,
        "versions": [str(version) for version in versions],
        "platform": PLATFORM,
        "inputs": _described(signature.inputs),
        "outputs": _described(signature.outputs),
    }


def _described(specs: Mapping[str, TensorSpec]) -> list[dict[str, Any]]:
    return [
        {"name": name, "datatype": tensors.dtype(spec).oip, "shape": tensors.free(spec)} for name, spec in specs.items()
    ]


def _head_size(header_length: bytes, most: int) -> int:
    if header_length.isdigit() and len(header_length) < 19 and int(header_length) <= most:
        return int(header_length)
    came = quoted(header_length.decode("latin-1"))
    raise Rejected("malformed", f"The header {HEADER} is {came}, expected the bytes of JSON, of {most} in the body.")


def _feeds(
    request: dict[str, Any], head: bytes, body: bytes, signature: Signature, max_elements: int
) -> dict[str, Array]:
    booleans, offset = may_hold_booleans(head), len(head)
    feeds: dict[str, Array] = {}
    for entry in _entries(request.get("inputs"), "inputs"):
        name, spec = tensors.expected(entry.get("name"), signature, feeds)
        kind = tensors.dtype(spec)
        if entry.get("datatype") != kind.oip:
            came = quoted(entry.get("datatype"))
            raise Rejected("malformed", f"Input {name!r} has datatype {came}, expected {kind.oip}.")
        size = _binary_size(name, entry, len(body) - offset) if "parameters" in entry else None
        # JSON is counted first: a shape that promises more than was sent is malformed, not too large.
        shape = tensors.check_shape(name, spec, entry.get("shape"), math.inf if size is None else max_elements)
        if size is None:
            values = tensors.flatten(name, entry.get("data"), shape)
            tensors.check_count(name, len(values), max_elements)
            feeds[name] = tensors.from_values(name, spec, values, shape, booleans)
        else:
            feeds[name] = tensors.from_bytes(name, spec, body, offset, size, shape)
            offset += size
        max_elements -= math.prod(shape)
    if offset != len(body):
        raise Rejected("malformed", f"The body has {len(body) - offset} bytes after its last input, expected none.")
    return feeds


def _wanted(request: dict[str, Any], signature: Signature) -> dict[str, bool]:
    binary = False
    if "parameters" in request:
        binary = _flag(_parameters(request, "The request"), "binary_data_output", False)
    outputs = request.get("outputs")
    if outputs is None or outputs == []:
        return dict.fromkeys(signature.outputs, binary)
    wanted: dict[str, bool] = {}
    for entry in _entries(outputs, "outputs"):
        name = entry.get("name")
        if not isinstance(name, str) or name not in signature.outputs:
            names = ", ".join(map(repr, signature.outputs))
            raise Rejected("malformed", f"The model has no output {quoted(name)}, expected {names}.")
        if name in wanted:
            raise Rejected("malformed", f"Output {name!r} is asked for twice, expected once.")
        wanted[name] = _flag(_parameters(entry, f"Output {name!r}"), "binary_data", binary)
    return wanted


def _entries(content: object, what: str) -> Iterator[dict[str, Any]]:
    if not isinstance(content, list):
        raise Rejected("malformed", f"The {what} are {described(content)}, expected a list of objects.")
    for entry in content:
        if not isinstance(entry, dict):
            raise Rejected("malformed", f"One of the {what} is {described(entry)}, expected an object.")
        yield entry


def _parameters(owner: dict[str, Any], what: str) -> dict[str, Any]:
    parameters = owner.get("parameters")
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        raise Rejected("malformed", f"{what} has {described(parameters)} as parameters, expected an object.")
    for name in UNSUPPORTED:
        if name in parameters:
            raise Rejected("malformed", f"{what} has the parameter {name!r}, which this server does not support.")
    return parameters


def _flag(parameters: dict[str, Any], name: str, default: bool) -> bool:
    flag = parameters.get(name, default)
    if not isinstance(flag, bool):
        raise Rejected("malformed", f"The parameter {name!r} is {described(flag)}, expected true or false.")
    return flag


def _binary_size(name: str, entry: dict[str, Any], left: int) -> int | None:
    size = _parameters(entry, f"Input {name!r}").get("binary_data_size")
    if size is None:
        return None
    if entry.get("data") is not None:
        raise Rejected("malformed", f"Input {name!r} has both data and binary_data_size, expected one of them.")
    if type(size) is not int or not 0 <= size <= left:
        raise Rejected(
            "malformed",
            f"Input {name!r} has binary_data_size {described(size)}, expected at most the {left} bytes that are left "
            f"after the JSON, whose length the header {HEADER} gives.",
        )
    return size
