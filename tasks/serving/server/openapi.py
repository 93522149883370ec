"""`GET /openapi.json`: the public port, described for the models that it serves at this moment.

Predictions have a path of each model, with the schema of its own inputs; everything else has one path for all models.
"""

from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any

from tasks.models.signature import Signature
from tasks.serving.server import schemas
from tasks.serving.server.oip import HEADER
from tasks.serving.server.tfserving_rest import SIGNATURE

Item = dict[str, Any]

OIP, TFS, NODE = "Open Inference Protocol v2", "TensorFlow Serving REST", "Node"
STABLE = "stable"
ERRORS = {
    400: "The request is no JSON, or does not fit the model; the sentence says where.",
    404: "No such model, version or label here.",
    405: "The path does not have this method; `Allow` says which it has.",
    413: "The body or its tensors are larger than the server takes.",
    500: "The model failed, or answered with an infinity or not a number.",
    503: "Too many requests wait, the answer would come too late, or the model is not loaded.",
    504: "The answer did not come before the deadline of the model.",
}
_OF_PAGES, _OF_MODELS, _OF_PREDICTIONS = (405, 500), (404, 405, 500, 503), tuple(ERRORS)
_BINARY = (
    "Inputs may also stand as bytes behind the JSON (Triton's extension `binary_tensor_data`): an input without `data` "
    f"has the parameter `binary_data_size`, and the header `{HEADER}` gives the length of the JSON. The parameters "
    "`binary_data_output` of the request and `binary_data` of an output ask for bytes in the answer. The elements of "
    "`data` are as many as `shape` says; all inputs have the same number of rows."
)


def document(models: Mapping[str, Signature], versions: Mapping[str, Sequence[int]] | None = None) -> Item:
    """The OpenAPI 3.1 description.

    Args:
        models: those that are served -> what they take and give.
        versions: model -> those that can be asked for by number, for the examples.
    """
    paths = _pages() | _models(list(models), versions or {})
    for model, signature in models.items():
        paths |= _infer(model, signature, versions or {}) | _predict(model, signature, versions or {})
    return {
        "openapi": "3.1.0",
        "info": {"title": "Slipway", "version": metadata.version("slipway"), "description": "Predictions of models."},
        "paths": paths,
        "components": {"schemas": _components(), "responses": _errors()},
    }


def _pages() -> Item:
    ready = _answer("Ready", 200)
    return {
        "/v2": _get("server", OIP, "Name, version and extensions of the server.", _answer("Server")),
        "/v2/health/live": _get("live", OIP, "Whether the process answers.", _answer("Live")),
        "/v2/health/ready": _get(
            "ready", OIP, "Whether a model is there to answer.", ready | _answer("Ready", 503, "It is not.")
        ),
        "/metrics": _get(
            "metrics", NODE, "Metrics of this process.", {"200": _content("Prometheus text.", "text/plain", "string")}
        ),
        "/openapi.json": _get(
            "openapi", NODE, "This document.", {"200": _content("OpenAPI 3.1.", "application/json", "object")}
        ),
    }


def _models(names: list[str], versions: Mapping[str, Sequence[int]]) -> Item:
    model = _model_parameter(names)
    version = _version_parameter(versions.get(names[0], ()) if names else ())
    places = {
        "": ("", [model]),
        "_version": ("/versions/{version}", [model, version]),
        "_label": ("/labels/{label}", [model, _label_parameter()]),
    }
    paths: Item = {}
    for word, (place, parameters) in places.items():
        v1 = f"/v1/models/{{model}}{place}"
        status, signature = "Versions that answer.", "The model's signature."
        paths[v1] = _get(f"status{word}", TFS, status, _answer("Status"), parameters)
        paths[f"{v1}/metadata"] = _get(f"metadata{word}", TFS, signature, _answer("Metadata"), parameters)
        if word == "_label":
            continue
        v2 = f"/v2/models/{{model}}{place}"
        answers = _answer("ModelReady") | _answer("ModelReady", 503, "It is not.")
        paths[v2] = _get(f"model{word}", OIP, "What the model takes and gives.", _answer("Model"), parameters)
        paths[f"{v2}/ready"] = _get(f"model_ready{word}", OIP, "Whether the model answers.", answers, parameters)
    return paths


def _infer(model: str, signature: Signature, versions: Mapping[str, Sequence[int]]) -> Item:
    answer = _content("The outputs.", "application/json", schemas.infer_response(model, signature))
    answer["content"]["application/octet-stream"] = {}
    request = _request(schemas.infer_request(signature), schemas.infer_example(signature))
    post = _prediction(model, OIP, request, answer) | {"description": _BINARY}
    version = [_version_parameter(versions.get(model, ()))]
    path, name = f"/v2/models/{model}", f"{model}.infer"
    return {
        f"{path}/infer": {"post": post | {"operationId": name}},
        f"{path}/versions/{{version}}/infer": {
            "post": post | {"operationId": f"{name}.version", "parameters": version}
        },
    }


def _predict(model: str, signature: Signature, versions: Mapping[str, Sequence[int]]) -> Item:
    answer = _content("The outputs.", "application/json", schemas.predict_response(signature))
    request = _request(schemas.predict_request(signature), schemas.predict_example(signature))
    post = _prediction(model, TFS, request, answer) | {"description": "All inputs have the same number of rows."}
    version, label = [_version_parameter(versions.get(model, ()))], [_label_parameter()]
    path, name = f"/v1/models/{model}", f"{model}.predict"
    return {
        f"{path}:predict": {"post": post | {"operationId": name}},
        f"{path}/versions/{{version}}:predict": {
            "post": post | {"operationId": f"{name}.version", "parameters": version}
        },
        f"{path}/labels/{{label}}:predict": {"post": post | {"operationId": f"{name}.label", "parameters": label}},
    }


def _get(name: str, tag: str, summary: str, answers: Item, parameters: Sequence[Item] = ()) -> Item:
    errors = _cited(_OF_MODELS if parameters else _OF_PAGES)
    operation = {"operationId": name, "tags": [tag], "summary": summary, "responses": errors | answers}
    return {"get": operation | ({"parameters": list(parameters)} if parameters else {})}


def _prediction(model: str, tag: str, request: Item, answer: Item) -> Item:
    responses = {"200": answer} | _cited(_OF_PREDICTIONS)
    return {"tags": [tag], "summary": f"Predict with {model}.", "requestBody": request, "responses": responses}


def _request(schema: Item, example: Any) -> Item:
    media = {"schema": schema} | ({} if example is None else {"example": example})
    return {"required": True, "content": {"application/json": media}}


def _cited(statuses: Sequence[int]) -> Item:
    return {str(status): {"$ref": f"#/components/responses/{status}"} for status in statuses}


def _answer(schema: str, status: int = 200, says: str = "It is so.") -> Item:
    return {str(status): _content(says, "application/json", {"$ref": f"#/components/schemas/{schema}"})}


def _content(says: str, media_type: str, schema: Item | str) -> Item:
    schema = {"type": schema} if isinstance(schema, str) else schema
    return {"description": says, "content": {media_type: {"schema": schema}}}


def _model_parameter(names: list[str]) -> Item:
    schema: Item = {"type": "string", "minLength": 1} | ({"enum": names} if names else {})
    return {"name": "model", "in": "path", "required": True, "schema": schema}


def _version_parameter(there: Sequence[int]) -> Item:
    parameter = {"name": "version", "in": "path", "required": True, "schema": {"type": "integer", "minimum": 1}}
    return parameter | ({"example": max(there)} if there else {})


def _label_parameter() -> Item:
    return {
        "name": "label",
        "in": "path",
        "required": True,
        "schema": {"type": "string", "enum": [STABLE]},
        "example": STABLE,
    }


def _errors() -> Item:
    responses = {
        str(status): _content(says, "application/json", {"$ref": "#/components/schemas/Error"})
        for status, says in ERRORS.items()
    }
    responses["405"]["headers"] = {"Allow": {"schema": {"type": "string"}}}
    seconds = {"description": "Seconds after which trying again makes sense.", "schema": {"type": "integer"}}
    responses["503"]["headers"] = {"Retry-After": seconds}
    return responses


def _components() -> Item:
    text, flag, texts = {"type": "string"}, {"type": "boolean"}, {"type": "array", "items": {"type": "string"}}
    shape = {"type": "array", "items": {"type": "integer", "minimum": -1}}
    tensor = {"type": "array", "items": _object({"name": text, "datatype": text, "shape": shape})}
    status = _object({"error_code": text, "error_message": text})
    return {
        "Error": _object({"error": text}),
        "Server": _object({"name": text, "version": text, "extensions": texts}),
        "Live": _object({"live": flag}),
        "Ready": _object({"ready": flag}),
        "ModelReady": _object({"name": text, "ready": flag}),
        "Model": _object({"name": text, "versions": texts, "platform": text, "inputs": tensor, "outputs": tensor}),
        "Status": _object(
            {
                "model_version_status": {
                    "type": "array",
                    "items": _object({"version": text, "state": {"enum": ["AVAILABLE"]}, "status": status}),
                }
            }
        ),
        "Metadata": _tf_metadata(text),
    }


def _tf_metadata(text: Item) -> Item:
    dims = {"type": "array", "items": _object({"size": text, "name": text})}
    shape = _object({"dim": dims, "unknown_rank": {"type": "boolean"}})
    infos = {"type": "object", "additionalProperties": _object({"dtype": text, "tensor_shape": shape, "name": text})}
    default = _object({"inputs": infos, "outputs": infos, "method_name": text, "defaults": {"type": "object"}})
    return _object(
        {
            "model_spec": _object({"name": text, "signature_name": text, "version": text}),
            "metadata": _object({"signature_def": _object({"signature_def": _object({SIGNATURE: default})})}),
        }
    )


def _object(properties: Item) -> Item:
    return {"type": "object", "required": list(properties), "properties": properties}
