"""The Open Inference Protocol: the specification's own examples, Triton's own client, and everybody else's bodies."""

import struct
import tracemalloc
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput, InferResult
from tritonclient.utils import np_to_triton_dtype

from tasks.models.signature import Signature, TensorSpec
from tasks.serving.server import oip
from tasks.serving.server.oip import Infer
from tasks.serving.server.rejected import Rejected
from tasks.serving.server.tensors import DTYPES
from tests.serving.server.mangled import attempt, mangled


def spec(dtype: str, *shape: int | None) -> TensorSpec:
    return TensorSpec(dtype=dtype, shape=shape)


# The model of the specification's example; its second input has one row there, which no batch can have.
EXAMPLE = Signature(
    inputs={"input0": spec("uint32", None, 2), "input1": spec("bool", None)},
    outputs={"output0": spec("float32", None, 2), "output1": spec("str", None)},
)
REQUEST: dict[str, Any] = {
    "id": "42",
    "inputs": [
        {"name": "input0", "shape": [2, 2], "datatype": "UINT32", "data": [1, 2, 3, 4]},
        {"name": "input1", "shape": [2], "datatype": "BOOL", "data": [True, False]},
    ],
    "outputs": [{"name": "output0"}],
}
OUTPUTS = {
    "output0": np.array([[1.0, 1.1], [2.0, 2.1], [3.0, 3.1]], np.float32),
    "output1": np.array(["a", "", "é"], object),
}


def decode(request: Any, signature: Signature = EXAMPLE, most: int = 1000) -> Infer:
    return oip.decode(orjson.dumps(request), None, signature, most)


def binary_request() -> tuple[bytes, bytes]:
    head = orjson.dumps(
        {
            "inputs": [
                {"name": "input0", "shape": [2, 2], "datatype": "UINT32", "parameters": {"binary_data_size": 16}},
                {"name": "input1", "shape": [2], "datatype": "BOOL", "parameters": {"binary_data_size": 2}},
            ],
            "outputs": [{"name": "output0", "parameters": {"binary_data": True}}],
        }
    )
    return head + struct.pack("<4I", 1, 2, 3, 4) + b"\1\0", str(len(head)).encode()


def test_the_specifications_request_is_understood() -> None:
    infer = decode(REQUEST)

    assert infer.id == "42" and infer.rows == 2 and infer.outputs == {"output0": False}
    assert infer.feeds["input0"].tolist() == [[1, 2], [3, 4]] and infer.feeds["input0"].dtype == np.uint32
    assert infer.feeds["input1"].tolist() == [True, False] and infer.feeds["input1"].dtype == np.bool_


def test_the_specifications_response_is_written() -> None:
    body, headers = oip.encode(decode(REQUEST), "mymodel", 3, OUTPUTS)

    assert headers == [(b"content-type", b"application/json")]
    assert orjson.loads(body) == {
        "model_name": "mymodel",
        "model_version": "3",
        "id": "42",
        "outputs": [
            {"name": "output0", "shape": [3, 2], "datatype": "FP32", "data": [1.0, 1.1, 2.0, 2.1, 3.0, 3.1]},
        ],
    }


def test_the_binary_extensions_example_is_understood_and_answered() -> None:
    body, length = binary_request()

    infer = oip.decode(body, length, EXAMPLE, 1000)
    answer, headers = oip.encode(infer, "mymodel", 3, OUTPUTS)

    assert infer.feeds["input0"].tolist() == [[1, 2], [3, 4]] and infer.feeds["input1"].tolist() == [True, False]
    assert dict(headers)[b"content-type"] == b"application/octet-stream"
    head = int(dict(headers)[b"inference-header-content-length"])
    (output,) = orjson.loads(answer[:head])["outputs"]
    assert output == {"name": "output0", "shape": [3, 2], "datatype": "FP32", "parameters": {"binary_data_size": 24}}
    assert answer[head:] == OUTPUTS["output0"].tobytes()


@pytest.mark.parametrize("extra", [{}, {"id": None, "parameters": None, "outputs": None}, {"outputs": []}])
def test_all_outputs_come_where_none_is_named(extra: dict[str, Any]) -> None:
    infer = decode({"inputs": REQUEST["inputs"], "model_name": "ignored", **extra})

    assert infer.outputs == {"output0": False, "output1": False} and infer.id is None
    response = orjson.loads(oip.encode(infer, "m", 1, OUTPUTS)[0])
    assert "id" not in response and response["outputs"][1]["data"] == ["a", "", "é"]


def test_an_outputs_own_flag_wins_over_the_requests() -> None:
    outputs = [{"name": "output1"}, {"name": "output0", "parameters": {"binary_data": False, "hint": 1}}]
    infer = decode(REQUEST | {"parameters": {"binary_data_output": True, "timeout": 3}, "outputs": outputs})

    assert infer.outputs == {"output1": True, "output0": False} and list(infer.outputs) == ["output1", "output0"]


def _of_dtype(dtype: str, data: st.DataObject) -> Any:
    if dtype == "str":
        text = st.text(st.characters(exclude_categories=["Cs"]), max_size=4)
        return np.array(data.draw(st.lists(text, min_size=6, max_size=6)), object).reshape(2, 3)
    raw = data.draw(st.binary(min_size=6 * DTYPES[dtype].numpy.itemsize, max_size=6 * DTYPES[dtype].numpy.itemsize))
    array = np.frombuffer(raw, np.uint8) % 2 == 1 if dtype == "bool" else np.frombuffer(raw, DTYPES[dtype].numpy)
    return np.nan_to_num(array[:6], posinf=1, neginf=-1).astype(DTYPES[dtype].numpy).reshape(2, 3)


@given(st.data(), st.sampled_from(list(DTYPES)), st.booleans(), st.booleans())
@settings(max_examples=100, deadline=None)
def test_tritons_client_sends_and_gets_every_dtype(
    data: st.DataObject, dtype: str, sends_bytes: bool, gets_bytes: bool
) -> None:
    array = _of_dtype(dtype, data)
    signature = Signature(inputs={"x": spec(dtype, None, 3)}, outputs={"y": spec(dtype, None, 3)})
    tensor = InferInput("x", [2, 3], np_to_triton_dtype(array.dtype))
    tensor.set_data_from_numpy(array, binary_data=sends_bytes)
    wanted = InferRequestedOutput("y", binary_data=gets_bytes)
    body, length = InferenceServerClient.generate_request_body([tensor], outputs=[wanted], request_id="7")

    infer = oip.decode(body, None if length is None else str(length).encode(), signature, 6)
    answer, headers = oip.encode(infer, "m", 1, {"y": infer.feeds["x"]})

    size = dict(headers).get(b"inference-header-content-length")
    assert gets_bytes == (size is not None)
    result = InferResult.from_response_body(answer, header_length=size and int(size))
    there = result.as_numpy("y")
    if dtype == "str":
        texts = [text.decode() if isinstance(text, bytes) else text for text in there.ravel().tolist()]
        assert texts == array.ravel().tolist()
    else:
        assert there.dtype == array.dtype and np.array_equal(there, array)
    assert there.shape == (2, 3) and result.get_response()["id"] == "7"


def test_bits_that_are_no_number_pass_only_as_bytes() -> None:
    signature = Signature(inputs={"x": spec("float32", None)}, outputs={"y": spec("float32", None)})
    odd = np.array([np.nan, np.inf, -np.inf], np.float32)
    tensor = InferInput("x", [3], "FP32").set_data_from_numpy(odd)
    body, length = InferenceServerClient.generate_request_body([tensor])

    infer = oip.decode(body, str(length).encode(), signature, 3)
    answer, _ = oip.encode(infer, "m", 1, {"y": infer.feeds["x"]})

    assert answer.endswith(odd.tobytes())


def change(place: str, value: Any) -> dict[str, Any]:
    first, second = REQUEST["inputs"]
    return REQUEST | {"inputs": [first | {place: value}, second]}


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        ([], "The body is a list, expected a JSON object"),
        ({}, "The inputs are null, expected a list"),
        ({"inputs": {}}, "The inputs are an object, expected a list"),
        ({"inputs": []}, "Input 'input0' is missing, expected 'input0', 'input1'"),
        ({"inputs": ["x"]}, "One of the inputs is a string, expected an object"),
        (REQUEST | {"inputs": REQUEST["inputs"][:1]}, "Input 'input1' is missing"),
        (REQUEST | {"inputs": REQUEST["inputs"] * 2}, "Input 'input0' is given twice"),
        (change("name", "other"), "The model has no input 'other', expected 'input0', 'input1'"),
        (change("name", None), "The model has no input null"),
        (change("datatype", "INT64"), "Input 'input0' has datatype 'INT64', expected UINT32"),
        (change("datatype", None), "Input 'input0' has datatype null, expected UINT32"),
        (change("shape", [4]), r"Input 'input0' has shape \[4\], expected \[-1, 2\]"),
        (change("shape", None), "Input 'input0' has shape null"),
        (change("shape", [3, 2]), r"'input0' holds 4 elements, expected 6 for shape \[3, 2\]"),
        (change("data", None), "The data of input 'input0' is null, expected a list"),
        (
            change("data", [1, 2, 3, -4]),
            "'input0' holds -4 at position 3, expected whole numbers between 0 and 4294967295",
        ),
        (change("data", [1, 2, 3, True]), "'input0' holds a boolean at position 3"),
        (change("parameters", []), "Input 'input0' has a list as parameters, expected an object"),
        (change("parameters", {"shared_memory_region": "r"}), "does not support"),
        (change("parameters", {"binary_data_size": 16}), "both data and binary_data_size"),
        (REQUEST | {"id": 42}, "The id is 42, expected a string"),
        (REQUEST | {"outputs": "output0"}, "The outputs are a string"),
        (REQUEST | {"outputs": [{"name": "other"}]}, "The model has no output 'other', expected 'output0', 'output1'"),
        (REQUEST | {"outputs": [{"name": "output0"}] * 2}, "Output 'output0' is asked for twice"),
        (
            REQUEST | {"outputs": [{"name": "output0", "parameters": {"binary_data": 1}}]},
            "'binary_data' is 1, expected",
        ),
        (REQUEST | {"outputs": [{"name": "output0", "parameters": {"classification": 3}}]}, "'classification'"),
        (REQUEST | {"parameters": {"binary_data_output": "yes"}}, "'binary_data_output' is a string"),
        (REQUEST | {"parameters": 3}, "The request has 3 as parameters"),
    ],
)
def test_what_is_wrong_with_a_request_is_said(request_: Any, says: str) -> None:
    with pytest.raises(Rejected, match=says) as no:
        decode(request_)
    assert no.value.status == 400


def test_inputs_of_different_rows_are_refused() -> None:
    first, second = REQUEST["inputs"]
    with pytest.raises(Rejected, match="'input1' has 1 rows, expected 2 as input 'input0' has"):
        decode(REQUEST | {"inputs": [first, second | {"shape": [1], "data": [True]}]})


def test_the_elements_of_all_inputs_count_together() -> None:
    assert decode(REQUEST, most=6).rows == 2
    with pytest.raises(Rejected, match="'input1' has 2 elements, expected at most 1") as no:
        decode(REQUEST, most=5)
    assert no.value.status == 413


def test_a_shape_that_promises_more_than_was_sent_is_malformed_not_too_large() -> None:
    with pytest.raises(Rejected, match="'input0' holds 4 elements, expected 2000000000") as no:
        decode(change("shape", [10**9, 2]))
    assert no.value.status == 400


@pytest.mark.parametrize(
    "length", [b"", b"-1", b"1.5", b"0x10", b" 7", b"1_0", b"\xb2", b"9" * 5000, b"999", "٣".encode()]
)
def test_a_header_that_is_no_length_is_refused(length: bytes) -> None:
    with pytest.raises(Rejected, match="The header Inference-Header-Content-Length is") as no:
        oip.decode(binary_request()[0], length, EXAMPLE, 1000)
    assert no.value.status == 400 and len(no.value.message) < 300


@pytest.mark.parametrize(
    ("size", "says"),
    [
        (15, "'input0' holds 15 bytes, expected 16 for UINT32"),
        (17, "'input0' holds 17 bytes"),
        (19, "'input0' has binary_data_size 19, expected at most the 18 bytes"),
        (-1, "binary_data_size -1"),
        (True, "binary_data_size a boolean"),
        (16.0, "binary_data_size 16.0"),
        (2**63, "binary_data_size 9223372036854775808"),
        ("16", "binary_data_size a string"),
        (None, "The data of input 'input0' is null"),
    ],
)
def test_a_binary_size_that_is_not_right_is_refused(size: Any, says: str) -> None:
    body, length = binary_request()
    head = orjson.loads(body[: int(length)])
    head["inputs"][0]["parameters"]["binary_data_size"] = size
    text = orjson.dumps(head)
    with pytest.raises(Rejected, match=says):
        oip.decode(text + body[int(length) :], str(len(text)).encode(), EXAMPLE, 1000)


def test_bytes_that_belong_to_no_input_are_refused() -> None:
    body, length = binary_request()
    with pytest.raises(Rejected, match="3 bytes after its last input"):
        oip.decode(body + b"abc", length, EXAMPLE, 1000)
    with pytest.raises(Rejected, match="not JSON"):  # without the header the bytes are part of the JSON
        oip.decode(body, None, EXAMPLE, 1000)


@given(mangled(REQUEST), st.booleans())
@settings(max_examples=100, deadline=None)
def test_a_body_is_understood_or_rejected(request_: Any, has_header: bool) -> None:
    body = orjson.dumps(request_)
    infer = attempt(oip.decode, body, str(len(body)).encode() if has_header else None, EXAMPLE, 100)
    if isinstance(infer, Rejected):
        assert infer.reason in ("malformed", "too_large") and len(infer.message) < 500
        return
    shapes = {name: array.shape for name, array in infer.feeds.items()}
    assert shapes == {"input0": (infer.rows, 2), "input1": (infer.rows,)} and infer.rows > 0


@given(st.binary(max_size=60), st.none() | st.binary(max_size=3), st.integers(0, 120))
@settings(max_examples=100, deadline=None)
def test_any_bytes_are_understood_or_rejected(noise: bytes, length: bytes | None, at: int) -> None:
    body, right = binary_request()
    for content, header in ((noise, length), (body[:at] + noise + body[at:], right), (body[:at] + noise, right)):
        infer = attempt(oip.decode, content, header, EXAMPLE, 100)
        assert infer.rows == 2 if isinstance(infer, Infer) else infer.reason in ("malformed", "too_large")


def bombs() -> dict[str, bytes]:
    tensor = b'{"inputs":[{"name":"x","datatype":"%s","shape":[%s],"data":%s}]}'
    return {
        "size": tensor % (b"FP32", b"1000000000,1", b"[]"),
        "sizes": tensor % (b"FP32", b"1000000000,1000000000000", b"[1]"),
        "dimensions": tensor % (b"FP32", b",".join([b"1000000"] * 10_000), b"[]"),
        "digits": tensor % (b"FP32", b"9" * 100_000 + b",1", b"[]"),
        "number": tensor % (b"FP32", b"1,1", b"[1" + b"0" * 100_000 + b"]"),
        "depth": tensor % (b"FP32", b"1,1", b"[" * 100_000 + b"]" * 100_000),
        "deep": tensor % (b"FP32", b"1,1", b"[" * 900 + b"]" * 900),
        "wide": tensor % (b"FP32", b"30000,1", b"[" + b"[]," * 30_000 + b"[]]"),
        "name": b'{"inputs":[{"name":"%s"}]}' % (b"n" * 100_000),
        "strings": tensor % (b"BYTES", b"1,1", b'["%s"]' % (b"s" * 100_000)),
    }


@pytest.mark.parametrize("name", list(bombs()))
def test_a_bomb_is_rejected_in_little_memory(name: str) -> None:
    body, signature = bombs()[name], Signature(inputs={"x": spec("float32", None, None)}, outputs={})
    tracemalloc.start()
    try:
        with pytest.raises(Rejected) as no:
            oip.decode(body, None, signature, 10**15)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 40 * len(body) + 50_000 and len(no.value.message) < 500


def test_a_string_bomb_in_bytes_is_rejected_in_little_memory() -> None:
    signature = Signature(inputs={"x": spec("str", None)}, outputs={})
    tensor = {"name": "x", "datatype": "BYTES", "shape": [10**9], "parameters": {"binary_data_size": 8}}
    head = orjson.dumps({"inputs": [tensor]})
    tracemalloc.start()
    try:
        with pytest.raises(Rejected, match="expected at least 4000000000 for 1000000000 strings"):
            oip.decode(head + bytes(8), str(len(head)).encode(), signature, 10**15)
        assert tracemalloc.get_traced_memory()[1] < 50_000
    finally:
        tracemalloc.stop()


def test_metadata_say_what_the_server_and_the_model_are() -> None:
    server = oip.server_metadata()
    assert server["name"] == "slipway" and server["version"] and server["extensions"] == ["binary_tensor_data"]
    assert oip.model_metadata("m", [2, 3], EXAMPLE) == {
        "name": "m",
        "versions": ["2", "3"],
        "platform": "onnx_onnxv1",
        "inputs": [
            {"name": "input0", "datatype": "UINT32", "shape": [-1, 2]},
            {"name": "input1", "datatype": "BOOL", "shape": [-1]},
        ],
        "outputs": [
            {"name": "output0", "datatype": "FP32", "shape": [-1, 2]},
            {"name": "output1", "datatype": "BYTES", "shape": [-1]},
        ],
    }
