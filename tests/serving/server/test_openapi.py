"""The description says what the codecs do: what it calls invalid is refused, and every answer is as it says."""

from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from tasks.models.signature import Signature, TensorSpec
from tasks.serving.server import oip, openapi, schemas, tfserving_rest
from tasks.serving.server.rejected import Rejected
from tasks.serving.server.tensors import DTYPES
from tests.serving.server.mangled import attempt, mangled


def spec(dtype: str, *shape: int | None) -> TensorSpec:
    return TensorSpec(dtype=dtype, shape=shape)


MODELS = {
    "one": Signature(inputs={"x": spec("float32", None, 2)}, outputs={"y": spec("float32", None, 1)}),
    "many": Signature(
        inputs={"a": spec("int8", None), "b": spec("bool", None, 1, 2), "c": spec("str", None)},
        outputs={"p": spec("float64", None), "q_bytes": spec("str", None, 2)},
    ),
}
DOCUMENT = openapi.document(MODELS, {"one": [3, 7]})
PATHS: dict[str, Any] = DOCUMENT["paths"]
OUTPUTS: dict[str, dict[str, Any]] = {
    "one": {"y": np.ones((2, 1), np.float32)},
    "many": {"p": np.ones(2), "q_bytes": np.full((2, 2), "é", object)},
}
INFER: dict[str, Any] = {
    "one": {"id": "1", "inputs": [{"name": "x", "shape": [2, 2], "datatype": "FP32", "data": [[1, 2], [3, 4]]}]},
    "many": {
        "parameters": {},
        "inputs": [
            {"name": "c", "shape": [2], "datatype": "BYTES", "data": ["", "c"]},
            {"name": "a", "shape": [2], "datatype": "INT8", "data": [-128, 127]},
            {"name": "b", "shape": [2, 1, 2], "datatype": "BOOL", "data": [True, False, True, False]},
        ],
        "outputs": [{"name": "q_bytes", "parameters": {"binary_data": False}}],
    },
}
PREDICT: list[tuple[str, Any]] = [
    ("one", {"instances": [[1, 2], [3.5, 4]], "signature_name": "serving_default"}),
    ("one", {"instances": [{"x": [1, 2]}, {"x": [3.5, 4]}]}),
    ("one", {"inputs": [[1, 2], [3, 4]]}),
    ("one", {"inputs": {"x": [[1, 2], [3, 4]]}}),
    (
        "many",
        {"instances": [{"a": 1, "b": [[True, False]], "c": "d"}, {"a": 1, "b": [[True, True]], "c": {"b64": ""}}]},
    ),
    ("many", {"inputs": {"a": [1, 2], "b": [[[True, False]], [[True, False]]], "c": ["d", ""]}}),
]


def validator(schema: Any) -> Draft202012Validator:
    return Draft202012Validator({**schema, "components": DOCUMENT["components"]})


def request_schema(path: str) -> Any:
    return PATHS[path]["post"]["requestBody"]["content"]["application/json"]["schema"]


def answer_schema(path: str, method: str = "get", status: str = "200") -> Any:
    answer = PATHS[path][method]["responses"][status]
    if "$ref" in answer:
        answer = DOCUMENT["components"]["responses"][answer["$ref"].rpartition("/")[2]]
    return answer["content"]["application/json"]["schema"]


INFER_SCHEMAS = {model: validator(request_schema(f"/v2/models/{model}/infer")) for model in MODELS}
PREDICT_SCHEMAS = {model: validator(request_schema(f"/v1/models/{model}:predict")) for model in MODELS}


def infer(model: str, request: Any) -> Any:
    return oip.decode(orjson.dumps(request), None, MODELS[model], 1000)


def predict(model: str, request: Any) -> Any:
    return tfserving_rest.decode(orjson.dumps(request), MODELS[model], 1000)


def test_every_path_of_both_protocols_is_there() -> None:
    gets = {"/v2", "/v2/health/live", "/v2/health/ready", "/metrics", "/openapi.json"}
    gets |= {f"/v2/models/{{model}}{place}{end}" for place in ("", "/versions/{version}") for end in ("", "/ready")}
    places = ("", "/versions/{version}", "/labels/{label}")
    gets |= {f"/v1/models/{{model}}{place}{end}" for place in places for end in ("", "/metadata")}
    posts = {f"/v2/models/{name}{place}/infer" for name in MODELS for place in places[:2]}
    posts |= {f"/v1/models/{name}{place}:predict" for name in MODELS for place in places}

    assert {path for path, item in PATHS.items() if "get" in item} == gets
    assert {path for path, item in PATHS.items() if "post" in item} == posts
    for path in posts:
        assert set(PATHS[path]["post"]["responses"]) == {"200", "400", "404", "405", "413", "500", "503", "504"}
    assert "Retry-After" in DOCUMENT["components"]["responses"]["503"]["headers"]


def test_the_document_is_whole() -> None:
    names = [operation["operationId"] for item in PATHS.values() for operation in item.values()]
    assert len(names) == len(set(names)) == len(PATHS)
    for path, item in PATHS.items():
        for operation in item.values():
            there = {parameter["name"] for parameter in operation.get("parameters", [])}
            assert there == {word.partition("}")[0] for word in path.split("{")[1:]}
    for text in orjson.dumps(DOCUMENT).decode().split('"$ref":"#/')[1:]:
        place: Any = DOCUMENT
        for key in text.partition('"')[0].split("/"):
            place = place[key]


def test_without_models_there_is_nothing_to_predict_with() -> None:
    paths = openapi.document({})["paths"]
    assert not [path for path, item in paths.items() if "post" in item]
    assert set(paths) == {path for path, item in PATHS.items() if "get" in item}


@pytest.mark.parametrize("model", list(MODELS))
def test_inference_is_as_described(model: str) -> None:
    path = f"/v2/models/{model}/infer"
    validator(request_schema(path)).validate(INFER[model])
    body, _ = oip.encode(infer(model, INFER[model]), model, 3, OUTPUTS[model])
    validator(answer_schema(path, "post")).validate(orjson.loads(body))
    assert not validator(answer_schema(path, "post")).is_valid({"error": "no"})


@pytest.mark.parametrize(("model", "request_"), PREDICT)
def test_prediction_is_as_described(model: str, request_: Any) -> None:
    path = f"/v1/models/{model}:predict"
    validator(request_schema(path)).validate(request_)
    body = tfserving_rest.encode(predict(model, request_), OUTPUTS[model])
    validator(answer_schema(path, "post")).validate(orjson.loads(body))
    assert not validator(answer_schema(path, "post")).is_valid({"predictions": [None]})


@pytest.mark.parametrize("model", list(MODELS))
def test_pages_are_as_described(model: str) -> None:
    validator(answer_schema("/v2")).validate(oip.server_metadata())
    validator(answer_schema("/v2/models/{model}")).validate(oip.model_metadata(model, [1], MODELS[model]))
    validator(answer_schema("/v1/models/{model}")).validate(tfserving_rest.model_status([1]))
    validator(answer_schema("/v1/models/{model}/metadata")).validate(tfserving_rest.metadata(model, 1, MODELS[model]))
    for status in ("404", "503"):
        validator(answer_schema("/v2/models/{model}", status=status)).validate({"error": "no"})
    assert not validator(answer_schema("/v2/models/{model}")).is_valid({"name": model})


@given(st.sampled_from(list(MODELS)).flatmap(lambda model: st.tuples(st.just(model), mangled(INFER[model]))))
@settings(max_examples=80, deadline=None)
def test_what_is_no_request_for_inference_is_refused(case: tuple[str, Any]) -> None:
    model, request = case
    asked = attempt(infer, model, request)
    assert isinstance(asked, Rejected) or INFER_SCHEMAS[model].is_valid(request)


@given(st.sampled_from(PREDICT).flatmap(lambda right: st.tuples(st.just(right[0]), mangled(right[1]))))
@settings(max_examples=100, deadline=None)
def test_what_is_no_request_for_a_prediction_is_refused_and_the_rest_taken(case: tuple[str, Any]) -> None:
    model, request = case
    asked = attempt(predict, model, request)
    if PREDICT_SCHEMAS[model].is_valid(request):
        # JSON Schema can neither compare rows nor decode base64
        assert not isinstance(asked, Rejected) or " rows, expected " in asked.message or "base64" in asked.message
    else:
        assert isinstance(asked, Rejected)


@pytest.mark.parametrize("dtype", list(DTYPES))
@pytest.mark.parametrize("shape", [(None,), (None, 3), (None, None, 2)])
def test_the_examples_are_requests(dtype: str, shape: tuple[int | None, ...]) -> None:
    signature = Signature(inputs={"x": spec(dtype, *shape)}, outputs={"y": spec(dtype, *shape)})

    asked = oip.decode(orjson.dumps(schemas.infer_example(signature)), None, signature, 100)
    rows = tfserving_rest.decode(orjson.dumps(schemas.predict_example(signature)), signature, 100)

    assert asked.rows == rows.rows == 1
    validator(schemas.infer_request(signature)).validate(schemas.infer_example(signature))
    validator(schemas.predict_request(signature)).validate(schemas.predict_example(signature))


def test_a_long_example_is_left_out() -> None:
    signature = Signature(inputs={"x": spec("int8", None, 2000)}, outputs={"y": spec("int8", None)})
    assert schemas.infer_example(signature) is None and schemas.predict_example(signature) is None
    request = openapi.document({"long": signature})["paths"]["/v2/models/long/infer"]["post"]["requestBody"]
    assert "example" not in request["content"]["application/json"]
