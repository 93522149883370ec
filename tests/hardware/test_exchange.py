"""Orders, answers and pulses between two machines that share a store and nothing else."""

import time

import pytest

from tasks.evaluation.gates import Gate
from tasks.evaluation.task import Classification
from tasks.foundations.errors import DigestMismatch, InputError
from tasks.hardware.exchange import Listener, place_order, pulse, read_answer, read_order, write_answer
from tasks.hardware.order import Answer, Order, Place
from tasks.runtimes.onnxruntime import OnnxRuntime
from tasks.store.artifact import Artifact
from tasks.store.store import Store

ORDER = Order(
    release="r1",
    model="digits",
    place="edge",
    target=OnnxRuntime(runtime="onnxruntime", threads=2, work_pool="edge"),
    dataset="d" * 64,
    candidates={"int8": Place(artifact="a" * 64, digest="a" * 64, format="onnx")},
    champion=Place(artifact="b" * 64, folder="targets/edge", digest="c" * 64, format="onnx"),
    task=Classification(kind="classification", output="logits"),
    gates=(Gate(metric="accuracy", max_drop=0.01),),
    seed=3,
    step_timeout_s=60,
)


@pytest.fixture(params=["local", "memory"])
def store(request, tmp_path):
    url = str(tmp_path / "store") if request.param == "local" else f"memory://exchange-{tmp_path.name}"
    return Store(url, tmp_path / "cache")


def listen_for(listener: Listener, seconds: float = 10) -> str:
    end = time.monotonic() + seconds
    while (said := listener.listen()) is None:
        assert time.monotonic() < end, "nothing was heard"
        time.sleep(0.01)
    return said


def test_an_order_comes_as_it_was_placed_with_the_menus_own_classes(store):
    assert read_order(store, place_order(store, ORDER)) == ORDER


def test_the_same_order_has_the_same_id(store):
    assert place_order(store, ORDER) == place_order(store, ORDER)
    assert place_order(store, ORDER) != place_order(store, ORDER.model_copy(update={"seed": 4}))


def test_an_order_of_another_store_is_told_from_one_that_was_changed(store):
    order = place_order(store, ORDER)
    store.write(f"orders/{order}.json", ORDER.model_copy(update={"seed": 4}).model_dump_json())

    with pytest.raises(InputError, match="SLIPWAY_STORE_URL"):
        read_order(store, "0" * 64)
    with pytest.raises(DigestMismatch, match="was changed"):
        read_order(store, order)


def test_an_order_of_another_version_says_what_to_install(store):
    import hashlib

    content = '{"release": "r2", "news": true}'
    order = hashlib.sha256(content.encode()).hexdigest()
    store.write(f"orders/{order}.json", content)

    with pytest.raises(InputError, match="Install the release's version of Slipway"):
        read_order(store, order)


def test_an_answer_is_there_once_it_is_written(store):
    answer = Answer(
        golden={"int8": Artifact(uri="u", format="golden", digest="e" * 64, size_bytes=3)}, failures={"x": "y"}
    )

    assert read_answer(store, "run") is None
    write_answer(store, "run", answer)
    assert read_answer(store, "run") == answer


@pytest.mark.parametrize("content", ["", "[]", '{"news": true}', '{"predictions": 3}'])
def test_an_answer_of_another_version_says_what_to_install(store, content):
    store.write("answers/run.json", content)

    with pytest.raises(InputError, match="Install the release's version of Slipway"):
        read_answer(store, "run")


def test_a_living_run_is_heard_and_a_dead_one_falls_silent(store):
    listener = Listener(store, "run")
    assert listener.listen() is None

    with pulse(store, "run", every_s=0.05) as living:
        assert listen_for(listener) == "started"
        living.text = "predict int8"
        while (said := listen_for(listener)) != "predict int8":
            assert said == "started"
        heard = listener.silent_s
    time.sleep(0.2)
    listener.listen()  # what came before the end
    silent = listener.silent_s
    time.sleep(0.2)

    assert listener.listen() is None
    assert listener.silent_s > silent and heard < 10


@pytest.mark.parametrize("content", ["", '{"beat": 3, "te', "[]", "{}"])
def test_a_beat_that_is_read_while_it_is_written_is_none(store, content):
    listener = Listener(store, "run")
    store.write("pulses/run.json", content)
    assert listener.listen() is None

    store.write("pulses/run.json", '{"beat": 3, "text": "measure"}')
    assert listener.listen() == "measure"


def test_whoever_begins_to_listen_late_does_not_take_an_old_beat_for_two(store):
    with pulse(store, "run", every_s=60):
        pass
    listener = Listener(store, "run")

    assert listen_for(listener) == "started"
    assert listener.listen() is None
