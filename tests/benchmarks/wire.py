"""Requests as bytes, made before anything is measured: of the Open Inference Protocol, and of MLflow's server."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
DATATYPES = {"float32": "FP32", "int64": "INT64", "uint8": "UINT8"}


def oip(model: str, name: str, rows: Array) -> bytes:
    """Numbers as JSON, row after row."""
    tensor = {**_tensor(name, rows), "data": rows.ravel().tolist()}
    return post(f"/v2/models/{model}/infer", _json({"id": "b", "inputs": [tensor]}))


def oip_binary(model: str, name: str, rows: Array) -> bytes:
    """Numbers as they lie in memory, in both directions: the extension of binary tensors."""
    data = np.ascontiguousarray(rows).tobytes()
    tensor = {**_tensor(name, rows), "parameters": {"binary_data_size": len(data)}}
    head = _json({"id": "b", "inputs": [tensor], "parameters": {"binary_data_output": True}})
    headers = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(head))}
    return post(f"/v2/models/{model}/infer", head + data, headers)


def invocations(rows: Array) -> bytes:
    """What `mlflow models serve` takes for a model with one tensor."""
    return post("/invocations", _json({"inputs": rows.tolist()}))


def post(path: str, body: bytes, headers: Mapping[str, str] | None = None) -> bytes:
    """One request of a connection that stays."""
    fields = {"Host": "localhost", "Content-Type": "application/json", **(headers or {})}
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body


def _tensor(name: str, rows: Array) -> dict[str, Any]:
    return {"name": name, "datatype": DATATYPES[rows.dtype.name], "shape": list(rows.shape)}


def _json(content: object) -> bytes:
    return json.dumps(content).encode()
