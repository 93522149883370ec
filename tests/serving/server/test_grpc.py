import asyncio
import math
import subprocess
import sys
import threading
from pathlib import Path

import grpc
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.foundations.errors import InputError
from tasks.serving.server.grpc_v2 import calls, service
from tasks.serving.server.grpc_v2 import open_inference_pb2 as pb
from tests.serving.server.grpc_world import (
    DATATYPES,
    HANG_S,
    HeldResident,
    SlowResident,
    World,
    wait_until,
    write_models,
)

MAX_BODY = 1 << 20
MAX_ELEMENTS = 10_000
FIELDS = {
    "bool": "bool_contents",
    "int8": "int_contents",
    "int16": "int_contents",
    "int32": "int_contents",
    "int64": "int64_contents",
    "uint8": "uint_contents",
    "uint16": "uint_contents",
    "uint32": "uint_contents",
    "uint64": "uint64_contents",
    "float32": "fp32_contents",
    "float64": "fp64_contents",
    "str": "bytes_contents",
}
ROWS = np.arange(6, dtype=np.float32).reshape(2, 3)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("grpc")
    write_models(folder)
    return folder


@pytest.fixture(scope="module")
def world(root):
    world = World(root, max_body_bytes=MAX_BODY, max_elements=MAX_ELEMENTS)
    for name in ("every", "words", "half", *DATATYPES):
        world.add(name, 1, deadline_ms=60_000)
    for version in (3, 12):
        world.add("add", version, deadline_ms=60_000)
    world.empty("coming")
    with world.serving():
        yield world


def tensor(name, values, raw=False, **changes):
    """An InferInputTensor; without contents if they go into raw_input_contents."""
    datatype = DATATYPES["str" if values.dtype == object else values.dtype.name]
    made = pb.ModelInferRequest.InferInputTensor(
        **{"name": name, "datatype": datatype, "shape": values.shape, **changes}
    )
    if not raw:
        flat = values.ravel().tolist()
        field = FIELDS["str" if values.dtype == object else values.dtype.name]
        getattr(made.contents, field).extend([each.encode() for each in flat] if values.dtype == object else flat)
    return made


def raw_bytes(values):
    if values.dtype == object:
        return b"".join(len(each.encode()).to_bytes(4, "little") + each.encode() for each in values.ravel())
    return values.astype(values.dtype.newbyteorder("<")).tobytes()


def request(arrays, raw=False, model="add", **fields):
    return pb.ModelInferRequest(
        model_name=model,
        inputs=[tensor(name, values, raw) for name, values in arrays.items()],
        raw_input_contents=[raw_bytes(values) for values in arrays.values()] if raw else [],
        **fields,
    )


def infer(world, asked, timeout=HANG_S):
    return world.stub.ModelInfer(asked, timeout=timeout)


def refused(world, asked, timeout=HANG_S):
    """(code, sentence) of a request without an answer."""
    with pytest.raises(grpc.RpcError) as caught:
        infer(world, asked, timeout)
    return caught.value.code(), caught.value.details()


def malformed(world, asked):
    code, details = refused(world, asked)
    assert code == grpc.StatusCode.INVALID_ARGUMENT, details
    return details


def every():
    """A row of each dtype with the ends of its range."""
    arrays = {"bool": np.array([[True, False]]), "str": np.array([["", "grüße\0"]], object)}
    for name in DATATYPES:
        if name.startswith("float"):
            arrays[name] = np.array([[np.finfo(name).max, -0.5]], name)
        elif "int" in name:
            arrays[name] = np.array([[np.iinfo(name).min, np.iinfo(name).max]], name)
    return arrays


# ---- health and metadata


def test_the_server_is_live(world):
    assert world.stub.ServerLive(pb.ServerLiveRequest()).live


def test_ready_is_what_the_host_says(world):
    assert world.stub.ServerReady(pb.ServerReadyRequest()).ready
    world.host.draining = True
    try:
        assert not world.stub.ServerReady(pb.ServerReadyRequest()).ready
    finally:
        world.host.draining = False


def test_a_model_is_ready_once_a_version_is_in_memory(world):
    def ready(**asked):
        return world.stub.ModelReady(pb.ModelReadyRequest(**asked)).ready

    assert ready(name="add") and ready(name="add", version="3")
    assert not ready(name="coming")


@pytest.mark.parametrize(("name", "version"), [("none", ""), ("add", "4"), ("add", "stable"), ("add", "9" * 5000)])
@pytest.mark.parametrize("call", ["ModelReady", "ModelMetadata"])
def test_models_and_versions_that_are_not_here_are_not_found(world, call, name, version):
    with pytest.raises(grpc.RpcError) as caught:
        getattr(world.stub, call)(getattr(pb, f"{call}Request")(name=name, version=version))
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND


def test_server_metadata_name_the_product(world):
    told = world.stub.ServerMetadata(pb.ServerMetadataRequest())
    assert told.name == "slipway" and told.version[0].isdecimal() and not told.extensions


def test_model_metadata_are_the_signature(world):
    told = world.stub.ModelMetadata(pb.ModelMetadataRequest(name="every"))
    assert {each.name: (each.datatype, list(each.shape)) for each in told.inputs} == {
        name: (datatype, [-1, 2]) for name, datatype in DATATYPES.items()
    }
    assert [each.name for each in told.outputs] == [f"{name}_out" for name in DATATYPES]
    assert told.platform == "onnx_onnxv1"


def test_model_metadata_name_the_versions_in_memory(world):
    told = world.stub.ModelMetadata(pb.ModelMetadataRequest(name="add", version="3"))
    assert told.name == "add" and list(told.versions) == ["3", "12"]


def test_metadata_of_a_model_that_is_not_loaded_are_unavailable(world):
    with pytest.raises(grpc.RpcError) as caught:
        world.stub.ModelMetadata(pb.ModelMetadataRequest(name="coming"))
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE


# ---- answers


def test_typed_contents_get_typed_contents(world):
    answer = infer(world, request({"a": ROWS, "b": ROWS}, id="seven"))
    assert (answer.model_name, answer.model_version, answer.id) == ("add", "12", "seven")
    assert [(each.name, each.datatype, list(each.shape)) for each in answer.outputs] == [
        ("sum", "FP32", [2, 3]),
        ("difference", "FP32", [2, 3]),
    ]
    assert list(answer.outputs[0].contents.fp32_contents) == (2 * ROWS).ravel().tolist()
    assert not answer.raw_output_contents


def test_raw_contents_get_raw_contents(world):
    answer = infer(world, request({"a": 3 * ROWS, "b": ROWS}, raw=True))
    assert list(answer.raw_output_contents) == [(4 * ROWS).tobytes(), (2 * ROWS).tobytes()]
    assert not any(each.HasField("contents") for each in answer.outputs)


def test_inputs_go_by_name_not_by_place(world):
    answer = infer(world, request({"b": ROWS, "a": 3 * ROWS}, raw=True))
    assert np.frombuffer(answer.raw_output_contents[1], np.float32).tolist() == (2 * ROWS).ravel().tolist()


def test_only_the_outputs_that_are_asked_for_come_back_in_that_order(world):
    asked = request({"a": ROWS, "b": ROWS}, raw=True, outputs=[{"name": "difference"}])
    answer = infer(world, asked)
    assert [each.name for each in answer.outputs] == ["difference"] and len(answer.raw_output_contents) == 1
    both = request({"a": ROWS, "b": ROWS}, outputs=[{"name": "difference"}, {"name": "sum"}])
    answer = infer(world, both)
    assert [each.name for each in answer.outputs] == ["difference", "sum"]
    assert list(answer.outputs[1].contents.fp32_contents) == (2 * ROWS).ravel().tolist()


def test_a_version_can_be_asked_for(world):
    assert infer(world, request({"a": ROWS, "b": ROWS}, model_version="3")).model_version == "3"


def test_every_dtype_goes_and_comes_raw(world):
    arrays = every()
    answer = infer(world, request(arrays, raw=True, model="every"))
    got = dict(zip((each.name for each in answer.outputs), answer.raw_output_contents, strict=True))
    assert got == {f"{name}_out": raw_bytes(values) for name, values in arrays.items()}
    assert [each.datatype for each in answer.outputs] == list(DATATYPES.values())


@pytest.mark.parametrize("name", FIELDS)
def test_every_dtype_with_a_field_goes_and_comes_typed(world, name):
    values = every()[name]
    output = infer(world, request({"x": values}, model=name)).outputs[0]
    filled = [field.name for field, _ in output.contents.ListFields()]
    assert (output.datatype, list(output.shape), filled) == (DATATYPES[name], [1, 2], [FIELDS[name]])
    got = list(getattr(output.contents, FIELDS[name]))
    assert ([each.decode() for each in got] if name == "str" else got) == values[0].tolist()


def test_an_fp16_output_comes_raw_even_to_a_typed_request(world):
    answer = infer(world, request({"a": ROWS}, model="half"))
    assert answer.outputs[0].datatype == "FP16" and not answer.outputs[0].HasField("contents")
    assert list(answer.raw_output_contents) == [ROWS.astype(np.float16).tobytes()]


@pytest.mark.parametrize("raw", [False, True])
def test_strings_of_any_length_in_any_number(world, raw):
    words = np.array([["", "a", "ü"], ["\0", "x" * 1000, "日本"]], object)
    answer = infer(world, request({"w": words}, raw=raw, model="words"))
    assert list(answer.outputs[0].shape) == [2, 3]
    if raw:
        assert list(answer.raw_output_contents) == [raw_bytes(words)]
    else:
        assert [each.decode() for each in answer.outputs[0].contents.bytes_contents] == words.ravel().tolist()


def test_requests_are_counted_by_the_answer_they_got(world):
    def counted(code):
        world.host.models["add"].metrics.count()
        name = "slipway_requests_total"
        labels = {"model": "add", "protocol": "grpc", "code": code}
        return world.host.metrics.registry.get_sample_value(name, labels) or 0

    before = [counted("200"), counted("400")]
    infer(world, request({"a": ROWS, "b": ROWS}))
    malformed(world, request({"a": ROWS}))
    assert [counted("200"), counted("400")] == [before[0] + 1, before[1] + 1]


def test_a_client_that_others_wrote(world):
    script = str(Path(__file__).with_name("triton_grpc.py"))
    ended = subprocess.run([sys.executable, script, world.address], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout) == (0, "served\n"), ended.stderr


# ---- requests that are wrong


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"a": ROWS}, "b"),
        ({"a": ROWS, "b": ROWS, "c": ROWS}, "c"),
        ({"a": ROWS, "B": ROWS}, "B"),
        ({}, "a"),
        ({"a": ROWS, "b": ROWS.astype(np.float64)}, "FP64"),
        ({"a": ROWS, "b": ROWS.astype(np.int32)}, "INT32"),
        ({"a": ROWS, "b": ROWS[:, :2]}, "2"),
        ({"a": ROWS, "b": ROWS[0]}, "3"),
        ({"a": ROWS, "b": ROWS[None]}, "1"),
        ({"a": ROWS, "b": ROWS[:1]}, "1"),
        ({"a": ROWS[:0], "b": ROWS[:0]}, "0"),
    ],
)
def test_wrong_names_dtypes_and_shapes_are_named(world, raw, arrays, said):
    assert said in malformed(world, request(arrays, raw=raw))


def test_an_input_that_is_there_twice(world):
    asked = request({"a": ROWS, "b": ROWS})
    asked.inputs.append(asked.inputs[0])
    assert "twice" in malformed(world, asked)


@pytest.mark.parametrize("names", [["product"], ["sum", "sum"]])
def test_outputs_that_cannot_be_given(world, names):
    malformed(world, request({"a": ROWS, "b": ROWS}, outputs=[{"name": name} for name in names]))


@pytest.mark.parametrize("datatype", ["", "fp32", "BF16", "float32", "FP32\0"])
def test_datatypes_that_are_none(world, datatype):
    asked = request({"a": ROWS, "b": ROWS})
    asked.inputs[1].datatype = datatype
    assert "b" in malformed(world, asked)


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize(
    "shape",
    [
        [],
        [6],
        [-2, -3],
        [2, -3],
        [-1, 3],
        [3, 3],
        [2, 3, 1],
        [0, 3],
        [2**62, 3],
        [0, 2**62],
        [0, 2**62, 2**62],
        [1] * 70,
    ],
)
def test_shapes_that_the_elements_do_not_have(world, raw, shape):
    asked = request({"a": ROWS, "b": ROWS}, raw=raw)
    del asked.inputs[1].shape[:]
    asked.inputs[1].shape.extend(shape)
    code, details = refused(world, asked)
    assert code in {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED}, details


@pytest.mark.parametrize("change", [b"", b"x", ROWS.tobytes()[:-1], ROWS.tobytes() + b"xxxx"])
def test_raw_contents_of_the_wrong_size(world, change):
    asked = request({"a": ROWS, "b": ROWS}, raw=True)
    asked.raw_input_contents[1] = change
    assert "b" in malformed(world, asked)


@pytest.mark.parametrize("count", [1, 3])
def test_raw_contents_are_one_an_input(world, count):
    asked = request({"a": ROWS, "b": ROWS}, raw=True)
    del asked.raw_input_contents[:]
    asked.raw_input_contents.extend([ROWS.tobytes()] * count)
    assert str(count) in malformed(world, asked)


def test_raw_and_typed_contents_together(world):
    asked = request({"a": ROWS, "b": ROWS}, raw=True)
    asked.inputs[0].contents.fp32_contents.extend([1.0] * 6)
    malformed(world, asked)


@pytest.mark.parametrize("field", ["fp64_contents", "int_contents"])
def test_typed_contents_in_the_field_of_another_datatype(world, field):
    asked = request({"a": ROWS, "b": ROWS})
    asked.inputs[1].ClearField("contents")
    getattr(asked.inputs[1].contents, field).extend([1] * 6)
    assert field in malformed(world, asked)


def test_typed_contents_in_two_fields(world):
    asked = request({"a": ROWS, "b": ROWS})
    asked.inputs[1].contents.int_contents.append(1)
    malformed(world, asked)


@pytest.mark.parametrize("count", [0, 5, 7])
def test_typed_contents_of_the_wrong_number(world, count):
    asked = request({"a": ROWS, "b": ROWS})
    del asked.inputs[1].contents.fp32_contents[:]
    asked.inputs[1].contents.fp32_contents.extend([1.0] * count)
    assert "b" in malformed(world, asked)


@pytest.mark.parametrize(
    ("name", "value"), [("int8", 128), ("int8", -129), ("int16", 2**15), ("uint8", 256), ("uint16", 2**16)]
)
def test_typed_contents_beyond_the_datatype_do_not_wrap_around(world, name, value):
    asked = request({"x": every()[name]}, model=name)
    getattr(asked.inputs[0].contents, FIELDS[name])[1] = value
    assert DATATYPES[name] in malformed(world, asked)


def test_fp16_cannot_be_typed(world):
    asked = request({"x": every()["float16"]}, raw=True, model="float16")
    del asked.raw_input_contents[:]
    asked.inputs[0].contents.fp32_contents.extend([1.0, 2.0])
    assert "raw_input_contents" in malformed(world, asked)


def test_a_bool_is_0_or_1(world):
    asked = request({"x": every()["bool"]}, raw=True, model="bool")
    asked.raw_input_contents[0] = b"\x01\x02"
    malformed(world, asked)


@pytest.mark.parametrize("raw", [False, True])
def test_strings_are_utf_8(world, raw):
    asked = request({"x": every()["str"]}, raw=raw, model="str")
    if raw:
        asked.raw_input_contents[0] = b"\0\0\0\0\1\0\0\0\xff"
    else:
        asked.inputs[0].contents.bytes_contents[1] = b"\xff"
    assert "UTF-8" in malformed(world, asked)


@pytest.mark.parametrize("raw", [b"\0", b"\1\0\0\0", b"\0\0\0\0\xff\xff\xff\xffx", b"\0\0\0\0" * 3])
def test_raw_strings_that_do_not_end_where_they_say(world, raw):
    asked = request({"x": every()["str"]}, raw=True, model="str")
    asked.raw_input_contents[0] = raw
    malformed(world, asked)


@pytest.mark.parametrize(("model", "version"), [("none", ""), ("add", "4"), ("add", "stable"), ("add", "-3")])
def test_models_and_versions_that_do_not_answer(world, model, version):
    code, details = refused(world, request({"a": ROWS, "b": ROWS}, model=model, model_version=version))
    assert code == grpc.StatusCode.NOT_FOUND and (version or model) in details


def test_names_as_long_as_the_message_do_not_come_back(world):
    name = "日" * 100_000
    code, details = refused(world, request({"a": ROWS}, model=name))
    assert code == grpc.StatusCode.NOT_FOUND and len(details) <= 500
    assert len(malformed(world, request({name: ROWS, "b": ROWS}))) <= 500
    assert len(malformed(world, request({"a": ROWS, "b": ROWS}, outputs=[{"name": name}]))) <= 500
    asked = request({"a": ROWS, "b": ROWS})
    asked.inputs[0].datatype = name
    assert len(malformed(world, asked)) <= 500


def test_a_model_that_is_not_loaded_is_unavailable_and_says_when_to_come_back(world):
    with pytest.raises(grpc.RpcError) as caught:
        infer(world, request({"a": ROWS}, model="coming"))
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
    assert dict(caught.value.trailing_metadata())["retry-pushback-ms"] == "1000"


@pytest.mark.parametrize("parameter", ["classification", "shared_memory_region"])
@pytest.mark.parametrize("place", ["request", "input", "output"])
def test_parameters_that_would_change_what_an_answer_means(world, place, parameter):
    asked = request({"a": ROWS, "b": ROWS}, outputs=[{"name": "sum"}])
    owner = {"request": asked, "input": asked.inputs[1], "output": asked.outputs[0]}[place]
    owner.parameters["priority"].int64_param = 1
    infer(world, asked)
    owner.parameters[parameter].int64_param = 2
    assert parameter in malformed(world, asked)


# ---- limits


@pytest.mark.parametrize("raw", [False, True])
def test_more_elements_than_a_request_may_have(world, raw):
    half = np.zeros((MAX_ELEMENTS // 6 + 1, 3), np.float32)
    code, details = refused(world, request({"a": half, "b": half}, raw=raw))
    assert code == grpc.StatusCode.RESOURCE_EXHAUSTED and "elements" in details


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
def test_a_message_that_is_too_large_packed_or_not(world, compression):
    asked = request({"a": ROWS, "b": ROWS}, raw=True)
    asked.raw_input_contents[0] = bytes(MAX_BODY)
    with pytest.raises(grpc.RpcError) as caught:
        world.stub.ModelInfer(asked, timeout=HANG_S, compression=compression)
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED and "elements" not in caught.value.details()
    assert infer(world, request({"a": ROWS, "b": ROWS})).model_version == "12"


def test_an_answer_after_the_models_deadline_is_none(root):
    world = World(root)
    world.add("add", 1, SlowResident, deadline_ms=200)
    with world.serving():
        code, details = refused(world, request({"a": ROWS, "b": ROWS}))
    assert code == grpc.StatusCode.DEADLINE_EXCEEDED and "model" in details


def test_the_clients_deadline_counts_where_it_is_the_sooner_one(world, root):
    """Calls of this model take ten minutes, it is told: within the client's deadline there is no use in a try."""
    world = World(root)
    world.add("add", 1, run_s=600, deadline_ms=3_600_000)
    with world.serving():
        assert infer(world, request({"a": ROWS, "b": ROWS}), timeout=3_000).model_version == "1"
        code, details = refused(world, request({"a": ROWS, "b": ROWS}), timeout=HANG_S)
    assert code == grpc.StatusCode.UNAVAILABLE and "deadline" in details


def test_a_full_line_pushes_back(root):
    world = World(root)
    hosted = world.add("add", 1, HeldResident, run_s=0.01, deadline_ms=60_000, queue=1)
    asked = request({"a": ROWS, "b": ROWS})
    with world.serving():
        # One is being run, one waits; the line may be full before the first is run.
        asking = [world.stub.ModelInfer.future(asked, timeout=HANG_S) for _ in range(4)]
        wait_until(lambda: sum(call.done() for call in asking) >= 2)
        hosted.current.let_go.set()
        codes = [call.code() for call in asking]
        pushed = [dict(call.trailing_metadata()) for call in asking if call.code() == grpc.StatusCode.UNAVAILABLE]
    assert set(codes) == {grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE}
    assert [int(each["retry-pushback-ms"]) >= 1000 for each in pushed] in ([True] * 2, [True] * 3)
    assert hosted.current.active == 0


def test_more_calls_at_once_than_their_messages_have_room_are_refused(root, monkeypatch):
    monkeypatch.setattr(calls, "MOST_CALLS", 2)
    world = World(root)
    resident = world.add("add", 1, HeldResident, run_s=0.01, deadline_ms=60_000).current
    asked = request({"a": ROWS, "b": ROWS})
    with world.serving():
        held = [world.stub.ModelInfer.future(asked, timeout=HANG_S) for _ in range(2)]
        wait_until(lambda: resident.active == 2)
        code, _ = refused(world, asked)
        resident.let_go.set()
        assert [call.code() for call in held] == [grpc.StatusCode.OK] * 2
        assert infer(world, asked).model_version == "1"
    assert code == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_client_that_leaves_frees_its_version(root):
    world = World(root)
    resident = world.add("add", 1, HeldResident, run_s=0.01, deadline_ms=60_000).current
    with world.serving():
        call = world.stub.ModelInfer.future(request({"a": ROWS, "b": ROWS}), timeout=HANG_S)
        wait_until(lambda: resident.active)
        call.cancel()
        resident.let_go.set()  # a call that is being made keeps its version until it ends
        wait_until(lambda: not resident.active)
        assert world.stub.ServerLive(pb.ServerLiveRequest()).live


def test_what_nobody_foresaw_is_internal_and_stays_in_the_log(root, caplog):
    world = World(root)
    hosted = world.add("add", 1)
    hosted.predict = None
    with world.serving():
        code, details = refused(world, request({"a": ROWS, "b": ROWS}))
    assert code == grpc.StatusCode.INTERNAL and "NoneType" not in details
    assert "NoneType" in caplog.text


def test_a_model_that_answers_nan_is_internal(world):
    infinite = np.full((1, 3), np.finfo(np.float32).max, np.float32)
    code, _ = refused(world, request({"a": infinite, "b": infinite}))
    assert code == grpc.StatusCode.INTERNAL


def outcome(world, asked):
    """(code, sentence) of any request."""
    try:
        infer(world, asked)
    except grpc.RpcError as error:
        return error.code(), error.details()
    return grpc.StatusCode.OK, ""


sizes = st.integers(-2, 4) | st.sampled_from([2**31, 2**62, 2**63 - 1, -(2**63)])
tensors = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["x", "y", ""]) | st.text(max_size=5),
        "datatype": st.sampled_from([*DATATYPES.values(), "BF16"]) | st.text(max_size=5),
        "shape": st.lists(sizes, max_size=5) | st.sampled_from([[1, 2], [2, 2]]),
    }
)
contents = st.fixed_dictionaries(
    {},
    optional={
        "bool_contents": st.lists(st.booleans(), max_size=4),
        "int_contents": st.lists(st.integers(-(2**31), 2**31 - 1), max_size=4),
        "uint_contents": st.lists(st.integers(0, 2**32 - 1), max_size=4),
        "fp32_contents": st.lists(st.floats(width=32), max_size=4),
        "bytes_contents": st.lists(st.binary(max_size=4), max_size=4),
    },
)
ALLOWED = {grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED}


@settings(max_examples=150, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(tensors, st.none() | contents), max_size=3),
    st.lists(st.binary(max_size=20) | st.sampled_from([bytes(4), bytes(8), bytes(16)]), max_size=3),
    st.sampled_from(["str", "bool", "int8", "uint16", "float16", "every"]),
)
def test_whatever_comes_is_refused_with_a_sentence_or_answered(world, given_tensors, raws, model):
    inputs = [{**one, "contents": held} if held is not None else one for one, held in given_tensors]
    asked = pb.ModelInferRequest(model_name=model, inputs=inputs, raw_input_contents=raws)
    code, details = outcome(world, asked)
    assert code in ALLOWED and (details or code == grpc.StatusCode.OK), details


@settings(max_examples=200, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(list(DATATYPES)), st.lists(sizes, max_size=4), st.binary(max_size=40))
def test_any_bytes_in_any_shape_are_refused_unless_they_fit(world, name, shape, raw):
    one = {"name": "x", "datatype": DATATYPES[name], "shape": shape}
    asked = pb.ModelInferRequest(model_name=name, inputs=[one], raw_input_contents=[raw])
    code, details = outcome(world, asked)
    if name == "str":
        assert code in ALLOWED, details
        return
    fits = len(shape) == 2 and shape[1] == 2 and shape[0] > 0 and math.prod(shape) * np.dtype(name).itemsize == len(raw)
    if name == "bool":
        fits = fits and set(raw) <= {0, 1}
    if fits and name.startswith("float") and not np.isfinite(np.frombuffer(raw, name)).all():
        assert code == grpc.StatusCode.INTERNAL and "NaN" in details  # what goes in comes out of this model
    else:
        assert code in (ALLOWED - {grpc.StatusCode.OK}, {grpc.StatusCode.OK})[fits], details


@settings(max_examples=100, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200))
def test_bytes_that_are_no_message_do_not_hurt(world, garbage):
    call = world.channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
    with pytest.raises(grpc.RpcError) as caught:
        call(garbage, timeout=HANG_S)
    assert caught.value.code() in {grpc.StatusCode.UNKNOWN, grpc.StatusCode.NOT_FOUND}  # no message; one of no model
    assert world.stub.ServerLive(pb.ServerLiveRequest()).live


# ---- the server


def test_it_answers_from_the_standard_event_loop_too(root):
    world = World(root)
    world.add("add", 1)
    with world.serving(asyncio.new_event_loop):
        assert infer(world, request({"a": ROWS, "b": ROWS})).model_version == "1"


def test_calls_in_flight_are_answered_before_it_ends(root):
    world = World(root)
    resident = world.add("add", 1, HeldResident, run_s=0.01, deadline_ms=60_000).current
    answered = []
    with world.serving(at_end=lambda: answered.append(call.result())):
        call = world.stub.ModelInfer.future(request({"a": ROWS, "b": ROWS}), timeout=HANG_S)
        wait_until(lambda: resident.active)
        threading.Timer(0.3, resident.let_go.set).start()
        # Leaving the block stops the server, which by then has a call to answer.
    assert [each.model_version for each in answered] == ["1"]


def test_a_port_that_is_taken_is_said_to_be(world, root):
    port = int(world.address.rpartition(":")[2])
    with pytest.raises(InputError, match=f"127.0.0.1:{port}"):
        asyncio.run(service.start(World(root).host, "127.0.0.1", port))


def test_workers_share_a_port(root):
    async def twice():
        host = World(root, parent=1).host
        one, port = await service.start(host, "127.0.0.1", 0)
        other, same = await service.start(host, "127.0.0.1", port)
        await service.stop(one, 0)
        await service.stop(other, 0)
        assert port == same

    asyncio.run(twice())


def test_an_address_of_ip_version_6(root):
    async def once():
        server, port = await service.start(World(root).host, "::1", 0)
        async with grpc.aio.insecure_channel(f"[::1]:{port}") as channel:
            from tasks.serving.server.grpc_v2.open_inference_pb2_grpc import GRPCInferenceServiceStub

            assert (await GRPCInferenceServiceStub(channel).ServerLive(pb.ServerLiveRequest())).live
        await service.stop(server, 0)

    asyncio.run(once())


@pytest.mark.parametrize("missing", ["grpc", "google.protobuf"])
def test_without_the_extra_it_says_what_to_install(missing):
    script = (
        "import sys, asyncio\n"
        "from tasks.serving.server.grpc_v2 import service\n"
        "assert not {'grpc', 'google.protobuf'} & set(sys.modules), 'loaded for nothing'\n"
        f"sys.modules[{missing!r}] = None\n"
        "try:\n    asyncio.run(service.start(None, '127.0.0.1', 0))\n"
        "except Exception as error:\n    print(type(error).__name__, error)\n"
    )
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert told.startswith("InputError") and "`pip install slipway[grpc]`" in told
