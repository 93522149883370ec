"""JSON schemas of what one model takes and gives, from its signature: what `openapi.py` cites.

They say what JSON Schema can say. It cannot count: that the elements of `data` are as many as `shape` says, that all
inputs have the same number of rows, and that base64 holds UTF-8 is for the server's sentences to say.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from tasks.models.signature import Signature, TensorSpec
from tasks.serving.server import tensors
from tasks.serving.server.tfserving_rest import B64, BYTES_SUFFIX, SIGNATURE

Schema = dict[str, Any]

MOST_EXAMPLE = 1024  # elements of an example; a longer one helps nobody
TEXT: Schema = {"type": "string"}
BASE64: Schema = {
    "type": "object",
    "required": [B64],
    "properties": {B64: {"type": "string", "contentEncoding": "base64"}},
    "additionalProperties": False,
}
EITHER: Schema = {"anyOf": [TEXT, BASE64]}
# From where on a number rounds to infinity; of float64 the largest finite number, as JSON has larger ones.
_FLOATS: dict[str, Schema] = {
    "FP16": {"exclusiveMinimum": -65520.0, "exclusiveMaximum": 65520.0},
    "FP32": {"exclusiveMinimum": -(2.0**128 - 2.0**103), "exclusiveMaximum": 2.0**128 - 2.0**103},
    "FP64": {"minimum": float(np.finfo(np.float64).min), "maximum": float(np.finfo(np.float64).max)},
}


def infer_request(signature: Signature) -> Schema:
    """A request of the Open Inference Protocol, all of it JSON."""
    tensor = [_oip_input(name, spec) for name, spec in signature.inputs.items()]
    wanted = {
        "type": "object",
        "required": ["name"],
        "properties": {"name": {"enum": list(signature.outputs)}, "parameters": _parameters("binary_data")},
    }
    return {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": {"type": ["string", "null"]},
            "parameters": _parameters("binary_data_output"),
            "inputs": {"type": "array", "minItems": len(tensor), "maxItems": len(tensor), "items": _any(tensor)},
            "outputs": {"type": ["array", "null"], "uniqueItems": True, "items": wanted},
        },
    }


def infer_response(model: str, signature: Signature) -> Schema:
    """Its answer, all of it JSON."""
    return {
        "type": "object",
        "required": ["model_name", "model_version", "outputs"],
        "properties": {
            "model_name": {"const": model},
            "model_version": {"type": "string"},
            "id": {"type": "string"},
            "outputs": {
                "type": "array",
                "minItems": 1,
                "items": _any([_oip_output(name, spec) for name, spec in signature.outputs.items()]),
            },
        },
    }


def predict_request(signature: Signature) -> Schema:
    """A request of TensorFlow Serving, in rows or columns."""
    specs = signature.inputs
    row = _named({name: _nested(spec, spec.shape[1:], EITHER) for name, spec in specs.items()})
    rows: list[Schema] = [{"type": "array", "minItems": 1, "items": row}]
    columns = [_named({name: _nested(spec, spec.shape, EITHER) for name, spec in specs.items()})]
    if len(specs) == 1:
        (spec,) = specs.values()
        rows.insert(0, _nested(spec, spec.shape, EITHER))
        columns.insert(0, _nested(spec, spec.shape, EITHER))
    return {
        "type": "object",
        "properties": {
            "signature_name": {"enum": [SIGNATURE, ""]},
            "instances": _any(rows),
            "inputs": _any(columns),
        },
        "oneOf": [{"required": ["instances"]}, {"required": ["inputs"]}],
    }


def predict_response(signature: Signature) -> Schema:
    """Its answer, in rows or columns as the request was."""
    specs = signature.outputs
    row = _named({name: _nested(spec, spec.shape[1:], _written(name), 0) for name, spec in specs.items()})
    columns = _named({name: _nested(spec, spec.shape, _written(name), 0) for name, spec in specs.items()})
    if len(specs) == 1:
        (row,), (columns,) = row["properties"].values(), columns["properties"].values()
    return {
        "oneOf": [
            _named({"predictions": {"type": "array", "minItems": 1, "items": row}}),
            _named({"outputs": columns}),
        ]
    }


def infer_example(signature: Signature) -> Any:
    """One row of zeros; None if it is too long to help."""
    inputs = [
        {
            "name": name,
            "shape": list(_one_row(spec)),
            "datatype": tensors.dtype(spec).oip,
            "data": [_zero(spec)] * math.prod(_one_row(spec)),
        }
        for name, spec in signature.inputs.items()
        if math.prod(_one_row(spec)) <= MOST_EXAMPLE
    ]
    return {"inputs": inputs} if len(inputs) == len(signature.inputs) else None


def predict_example(signature: Signature) -> Any:
    """One row of zeros; None if it is too long to help."""
    if any(math.prod(_one_row(spec)) > MOST_EXAMPLE for spec in signature.inputs.values()):
        return None
    return {
        "instances": [
            {name: np.full(_one_row(spec)[1:], _zero(spec), object).tolist() for name, spec in signature.inputs.items()}
        ]
    }


def _oip_input(name: str, spec: TensorSpec) -> Schema:
    kind = tensors.dtype(spec)
    sizes: list[Schema] = [
        {"type": "integer", "minimum": 1} if size is None else {"const": size} for size in spec.shape
    ]
    least = math.prod(_one_row(spec))
    flat = {"type": "array", "minItems": least, "items": _element(spec)}
    return {
        "type": "object",
        "required": ["name", "shape", "datatype", "data"],
        "properties": {
            "name": {"const": name},
            "shape": {"type": "array", "prefixItems": sizes, "minItems": len(sizes), "maxItems": len(sizes)},
            "datatype": {"const": kind.oip},
            "parameters": _parameters(),
            "data": flat if len(spec.shape) == 1 else {"anyOf": [flat, _nested(spec, spec.shape)]},
        },
    }


def _oip_output(name: str, spec: TensorSpec) -> Schema:
    return {
        "type": "object",
        "required": ["name", "shape", "datatype", "data"],
        "properties": {
            "name": {"const": name},
            "shape": {
                "type": "array",
                "items": {"type": "integer"},
                "minItems": len(spec.shape),
                "maxItems": len(spec.shape),
            },
            "datatype": {"const": tensors.dtype(spec).oip},
            "data": {"type": "array", "items": _element(spec)},
        },
    }


def _element(spec: TensorSpec, text: Schema = TEXT) -> Schema:
    kind = tensors.dtype(spec)
    if kind.oip == "BYTES":
        return text
    if kind.oip == "BOOL":
        return {"type": "boolean"}
    if kind.oip in _FLOATS:
        return {"type": "number", **_FLOATS[kind.oip]}
    limits = np.iinfo(kind.numpy)
    return {"type": "integer", "minimum": int(limits.min), "maximum": int(limits.max)}


def _nested(spec: TensorSpec, shape: tuple[int | None, ...], text: Schema = TEXT, least: int = 1) -> Schema:
    schema = _element(spec, text)
    for size in reversed(shape):
        sizes = {"minItems": least} if size is None else {"minItems": size, "maxItems": size}
        schema = {"type": "array", **sizes, "items": schema}
    return schema


def _named(properties: Mapping[str, Schema]) -> Schema:
    return {
        "type": "object",
        "required": list(properties),
        "properties": dict(properties),
        "additionalProperties": False,
    }


def _parameters(*flags: str) -> Schema:
    return {"type": ["object", "null"], "properties": {flag: {"type": "boolean"} for flag in flags}}


def _any(schemas: list[Schema]) -> Schema:
    return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}


def _written(name: str) -> Schema:
    return BASE64 if name.endswith(BYTES_SUFFIX) else TEXT


def _one_row(spec: TensorSpec) -> tuple[int, ...]:
    return tuple(1 if size is None else size for size in spec.shape)


def _zero(spec: TensorSpec) -> Any:
    kind = tensors.dtype(spec)
    return "" if kind.oip == "BYTES" else kind.numpy.type(0).item()
