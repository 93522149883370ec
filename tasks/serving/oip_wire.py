"""Requests and answers of the Open Inference Protocol as a client writes and reads them.

Tensors travel as bytes (the protocol's binary extension), so that no number is rounded or written out.
"""

import json
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

from tasks.serving.server.tensors import DTYPES

Array = np.ndarray[Any, Any]
HEADER_LENGTH = "Inference-Header-Content-Length"
DATATYPES = {kind.oip: dtype for dtype, kind in DTYPES.items()}
"""The protocol's word -> the signature's."""


def request(feeds: Mapping[str, Array]) -> tuple[bytes, dict[str, str]]:
    """Body and headers of an `infer` request for all outputs.

    Args:
        feeds: input -> (batch, ...); strings as objects, unicode or UTF-8 bytes.
    """
    parts = {name: _to_bytes(values) for name, values in feeds.items()}
    inputs = [
        {
            "name": name,
            "datatype": DTYPES[values.dtype.name].oip if values.dtype.name in DTYPES else "BYTES",
            "shape": list(values.shape),
            "parameters": {"binary_data_size": len(parts[name])},
        }
        for name, values in feeds.items()
    ]
    head = json.dumps({"inputs": inputs, "parameters": {"binary_data_output": True}}).encode()
    headers = {"Content-Type": "application/octet-stream", HEADER_LENGTH: str(len(head))}
    return b"".join((head, *parts.values())), headers


def answer(body: bytes, header_length: str | None) -> tuple[str, dict[str, Array]]:
    """The version that answered, and output -> (batch, ...); strings as objects.

    Args:
        body: of a good answer.
        header_length: the answer's header of this name; None where it is all JSON.

    Raises:
        ValueError, KeyError, TypeError, struct.error: it is not in the protocol.
    """
    length = int(header_length) if header_length else len(body)
    content, tail = json.loads(body[:length]), memoryview(body)[length:]
    arrays = {}
    for tensor in content["outputs"]:
        size, dtype = tensor.get("parameters", {}).get("binary_data_size"), DATATYPES[tensor["datatype"]]
        if size is None:
            values = np.array(tensor["data"], object if dtype == "str" else dtype)
        else:
            values, tail = _from_bytes(tail[:size], dtype), tail[size:]
        arrays[tensor["name"]] = values.reshape(tensor["shape"])
    return str(content.get("model_version", "")), arrays


def _to_bytes(values: Array) -> bytes:
    if values.dtype.kind not in "OUS":
        return np.ascontiguousarray(values, values.dtype.newbyteorder("<")).tobytes()
    texts = [each if isinstance(each, bytes) else str(each).encode() for each in values.reshape(-1)]
    return b"".join(struct.pack("<I", len(text)) + text for text in texts)


def _from_bytes(content: memoryview, dtype: str) -> Array:
    if dtype != "str":
        return np.frombuffer(content, np.dtype(dtype).newbyteorder("<"))
    texts, at = [], 0
    while at < len(content):
        (size,) = struct.unpack_from("<I", content, at)
        texts.append(bytes(content[at + 4 : at + 4 + size]).decode("utf-8", "replace"))
        at += 4 + size
    values = np.empty(len(texts), object)
    values[:] = texts
    return values
