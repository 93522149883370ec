"""TensorFlow Serving's REST API: the examples of its own documentation, and everybody else's bodies."""

import tracemalloc
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.models.signature import Signature, TensorSpec
from tasks.serving.server import tfserving_rest
from tasks.serving.server.rejected import Rejected
from tasks.serving.server.tensors import DTYPES
from tasks.serving.server.tfserving_rest import Predict
from tests.serving.server.mangled import attempt, mangled


def spec(dtype: str, *shape: int | None) -> TensorSpec:
    return TensorSpec(dtype=dtype, shape=shape)


def one(dtype: str, *shape: int | None) -> Signature:
    return Signature(inputs={"x": spec(dtype, *shape)}, outputs={"y": spec(dtype, *shape)})


MANY = Signature(
    inputs={"tag": spec("str", None), "signal": spec("float32", None, 5), "sensor": spec("int32", None, 2, 2)},
    outputs={"p": spec("float32", None), "word": spec("str", None, 1)},
)
ROWS = {
    "instances": [
        {"tag": "foo", "signal": [1, 2, 3, 4, 5], "sensor": [[1, 2], [3, 4]]},
        {"tag": "bar", "signal": [3, 4, 1, 2, 5], "sensor": [[4, 5], [6, 8]]},
    ]
}
COLUMNS = {
    "inputs": {
        "tag": ["foo", "bar"],
        "signal": [[1, 2, 3, 4, 5], [3, 4, 1, 2, 5]],
        "sensor": [[[1, 2], [3, 4]], [[4, 5], [6, 8]]],
    }
}


def decode(request: Any, signature: Signature, most: int = 1000) -> Predict:
    return tfserving_rest.decode(orjson.dumps(request), signature, most)


def encode(predict: Predict, outputs: dict[str, Any]) -> Any:
    return orjson.loads(tfserving_rest.encode(predict, outputs))


def test_half_plus_three_answers_as_documented() -> None:
    predict = decode({"instances": [1.0, 2.0, 5.0]}, one("float32", None))

    assert predict.rows == 3 and predict.feeds["x"].tolist() == [1.0, 2.0, 5.0]
    body = tfserving_rest.encode(predict, {"y": np.array([3.5, 4.0, 5.5], np.float32)})
    assert body == b'{"predictions":[3.5,4.0,5.5]}'  # whole numbers keep their point, as there


@pytest.mark.parametrize(
    ("instances", "signature"),
    [
        (["foo", "bar", "baz"], one("str", None)),
        ([[[1, 2]], [[3, 4]]], one("int64", None, 1, 2)),
        ([{"x": [[1, 2]]}, {"x": [[3, 4]]}], one("int64", None, None, None)),
    ],
)
def test_rows_of_one_input_come_with_or_without_its_name(instances: Any, signature: Signature) -> None:
    array = decode({"instances": instances}, signature).feeds["x"]
    assert array.tolist() == [row["x"] if isinstance(row, dict) else row for row in instances]
    assert array.dtype == DTYPES[signature.inputs["x"].dtype].numpy


@pytest.mark.parametrize("request_", [ROWS, COLUMNS, COLUMNS | {"signature_name": ""}])
def test_rows_and_columns_are_the_same_request(request_: dict[str, Any]) -> None:
    predict = decode(request_ | {"ignored": 1}, MANY)

    assert predict.rows == 2 and predict.by_row == ("instances" in request_)
    assert predict.feeds["tag"].tolist() == ["foo", "bar"]
    assert predict.feeds["signal"].dtype == np.float32 and predict.feeds["sensor"].dtype == np.int32
    assert predict.feeds["signal"].tolist() == COLUMNS["inputs"]["signal"]
    assert predict.feeds["sensor"].tolist() == COLUMNS["inputs"]["sensor"]


@pytest.mark.parametrize("inputs", [[[1.5], [2.5]], {"x": [[1.5], [2.5]]}])
def test_columns_of_one_input_come_with_or_without_its_name(inputs: Any) -> None:
    predict = decode({"inputs": inputs, "signature_name": "serving_default"}, one("float64", None, 1))

    assert predict.feeds["x"].tolist() == [[1.5], [2.5]] and not predict.by_row
    assert encode(predict, {"y": np.array([[1.0], [2.0]])}) == {"outputs": [[1.0], [2.0]]}


def test_several_outputs_go_back_in_the_form_of_the_request() -> None:
    outputs = {"p": np.array([0.1, 0.2], np.float32), "word": np.array([["a"], ["b"]], object)}

    assert encode(decode(ROWS, MANY), outputs) == {
        "predictions": [{"p": 0.1, "word": ["a"]}, {"p": 0.2, "word": ["b"]}]
    }
    assert encode(decode(COLUMNS, MANY), outputs) == {"outputs": {"p": [0.1, 0.2], "word": [["a"], ["b"]]}}


def test_strings_come_and_go_as_base64() -> None:
    predict = decode({"instances": ["a", {"b64": "w6k="}, {"b64": ""}]}, one("str", None))
    assert predict.feeds["x"].tolist() == ["a", "é", ""]
    assert decode({"inputs": [{"b64": "w6k="}]}, one("str", None)).feeds["x"].tolist() == ["é"]
    assert decode({"instances": [[{"b64": "w6k="}, "b"]]}, one("str", None, 2)).feeds["x"].tolist() == [["é", "b"]]

    assert encode(predict, {"y_bytes": np.array([["é"]], object)}) == {"predictions": [[{"b64": "w6k="}]]}


@given(st.data(), st.sampled_from(list(DTYPES)), st.booleans(), st.booleans())
@settings(max_examples=100, deadline=None)
def test_every_value_of_every_dtype_comes_back(data: st.DataObject, dtype: str, by_row: bool, with_names: bool) -> None:
    if dtype == "str":
        text = st.text(st.characters(exclude_categories=["Cs"]), max_size=4)
        array = np.array(data.draw(st.lists(text, min_size=6, max_size=6)), object)
    else:
        raw = data.draw(st.binary(min_size=48, max_size=48))
        numbers = np.frombuffer(raw, np.uint8) % 2 if dtype == "bool" else np.frombuffer(raw, dtype)
        array = np.nan_to_num(numbers[:6], posinf=1, neginf=-1).astype(dtype)
    array = array.reshape(3, 2)
    values = array.tolist()
    if with_names:
        content: Any = [{"x": row} for row in values] if by_row else {"x": values}
    else:
        content = values

    predict = decode({"instances" if by_row else "inputs": content}, one(dtype, None, 2))
    answer = encode(predict, {"y": predict.feeds["x"]})["predictions" if by_row else "outputs"]

    assert predict.feeds["x"].dtype == array.dtype and predict.feeds["x"].tolist() == values
    # float32 travels as its shortest decimal, which is the same float32 only
    assert np.array(answer, array.dtype).tolist() == values


@pytest.mark.parametrize(
    ("request_", "signature", "says"),
    [
        (3, MANY, "The body is 3, expected a JSON object"),
        ({}, MANY, "neither instances nor inputs"),
        (ROWS | COLUMNS, MANY, "both instances and inputs"),
        (ROWS | {"signature_name": "other"}, MANY, "no signature 'other', expected 'serving_default'"),
        (ROWS | {"signature_name": None}, MANY, "no signature null"),
        (ROWS | {"signature_name": ["serving_default"]}, MANY, "no signature a list"),
        ({"instances": []}, MANY, "The instances are an empty list"),
        ({"instances": {}}, MANY, "The instances are an object, expected a list"),
        ({"instances": None}, MANY, "The instances are null"),
        ({"instances": [1]}, MANY, "The instance is no object, expected one with the keys 'tag', 'signal', 'sensor'"),
        ({"instances": [{"tag": "a"}]}, MANY, "Instance 0 is not an object with the keys tag, signal, sensor"),
        ({"instances": [*ROWS["instances"], [1]]}, MANY, "Instance 2 is not an object"),
        ({"instances": [ROWS["instances"][0] | {"more": 1}]}, MANY, "Instance 0 is not an object"),
        ({"inputs": [1]}, MANY, "The value of inputs is no object"),
        ({"inputs": COLUMNS["inputs"] | {"more": [1]}}, MANY, "no input 'more'"),
        ({"inputs": {"tag": ["a"]}}, MANY, "Input 'signal' is missing"),
        ({"inputs": COLUMNS["inputs"] | {"tag": ["a"]}}, MANY, "'signal' has 2 rows, expected 1 as input 'tag' has"),
        ({"instances": [{"y": 1}]}, one("int8", None), "Instance 0 is not an object with the keys x"),
        ({"instances": [1, {"x": 1}]}, one("int8", None), "holds an object at position 1"),
        ({"instances": [1, "1"]}, one("int8", None), "holds a string at position 1"),
        ({"instances": [1, True]}, one("int8", None), "holds a boolean at position 1"),
        ({"instances": [1, False]}, one("float64", None), "holds a boolean at position 1"),
        ({"instances": [[1, 2], [3]]}, one("int8", None, 2), r"differ in length or depth from shape \[2, 2\]"),
        ({"instances": [1, 2]}, one("int8", None, 2), r"has shape \[2\], expected \[-1, 2\]"),
        ({"instances": [[[1, 2]]]}, one("int8", None, 2), r"has shape \[1, 1, 2\], expected \[-1, 2\]"),
        ({"instances": [[]]}, one("int8", None, None), r"has shape \[1, 0\]"),
        ({"inputs": 1}, one("int8", None), r"has shape \[\], expected \[-1\]"),
        ({"inputs": {"x": None}}, one("int8", None), r"has shape \[\]"),
        ({"instances": [{"b64": "AQ=="}]}, one("int8", None), "holds an object at position 0"),
        ({"instances": [{"b64": "?"}]}, one("str", None), "'b64' that is no base64 of UTF-8"),
        ({"instances": [{"b64": "AQ"}]}, one("str", None), "'b64' that is no base64"),
        ({"instances": [{"b64": "/w=="}]}, one("str", None), "'b64' that is no base64 of UTF-8"),
        ({"instances": ["a", {"b64": 1}]}, one("str", None), "holds an object at position 1, expected strings"),
    ],
)
def test_what_is_wrong_with_a_request_is_said(request_: Any, signature: Signature, says: str) -> None:
    with pytest.raises(Rejected, match=says) as no:
        decode(request_, signature)
    assert no.value.status == 400


@pytest.mark.parametrize(
    "text", [b"", b"{", b'{"instances": [NaN]}', b'{"instances": [Infinity]}', b'{"instances": [1e999]}']
)
def test_what_is_no_json_is_refused(text: bytes) -> None:
    with pytest.raises(Rejected, match="The body is (empty|not JSON)"):
        tfserving_rest.decode(text, one("float32", None), 10)


def test_the_elements_of_all_inputs_count_together() -> None:
    assert decode(ROWS, MANY, most=20).rows == 2
    with pytest.raises(Rejected, match="'sensor' has 8 elements, expected at most 7") as no:
        decode(ROWS, MANY, most=19)
    assert no.value.status == 413


@given(st.one_of(mangled(ROWS), mangled(COLUMNS), mangled(ROWS | {"signature_name": "serving_default"})))
@settings(max_examples=100, deadline=None)
def test_a_body_is_understood_or_rejected(request_: Any) -> None:
    predict = attempt(decode, request_, MANY, 100)
    if isinstance(predict, Rejected):
        assert predict.reason in ("malformed", "too_large") and len(predict.message) < 500
        return
    shapes = {name: array.shape[1:] for name, array in predict.feeds.items()}
    assert shapes == {"tag": (), "signal": (5,), "sensor": (2, 2)}


@pytest.mark.parametrize(
    "body",
    [
        b'{"instances":' + b"[" * 900 + b"]" * 900 + b"}",
        b'{"instances":' + b"[" * 100_000,
        b'{"instances":[' + b"{}," * 30_000 + b"1]}",
        b'{"instances":["' + b"a" * 100_000 + b'"]}',
        b'{"inputs":{"' + b"n" * 100_000 + b'":[1]}}',
        b'{"signature_name":"' + b"n" * 100_000 + b'","inputs":[1]}',
    ],
    ids=["deep", "deeper", "wide", "string", "name", "signature"],
)
def test_a_bomb_is_rejected_in_little_memory(body: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(Rejected) as no:
            tfserving_rest.decode(body, one("float32", None), 10**15)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 40 * len(body) + 50_000 and len(no.value.message) < 500


def test_status_and_metadata_are_as_documented() -> None:
    available = {"state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    assert tfserving_rest.model_status([3, 2]) == {
        "model_version_status": [{"version": "3"} | available, {"version": "2"} | available]
    }
    half = Signature(inputs={"x": spec("float32", None, 1)}, outputs={"y": spec("str", None)})
    free, single = {"size": "-1", "name": ""}, {"size": "1", "name": ""}
    assert tfserving_rest.metadata("half", 123, half) == {
        "model_spec": {"name": "half", "signature_name": "", "version": "123"},
        "metadata": {
            "signature_def": {
                "signature_def": {
                    "serving_default": {
                        "inputs": {
                            "x": {
                                "dtype": "DT_FLOAT",
                                "tensor_shape": {"dim": [free, single], "unknown_rank": False},
                                "name": "x",
                            }
                        },
                        "outputs": {
                            "y": {
                                "dtype": "DT_STRING",
                                "tensor_shape": {"dim": [free], "unknown_rank": False},
                                "name": "y",
                            }
                        },
                        "method_name": "tensorflow/serving/predict",
                        "defaults": {},
                    }
                }
            }
        },
    }
