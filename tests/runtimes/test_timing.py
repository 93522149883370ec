import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.data.dataset import Split
from tasks.foundations.errors import InputError, TimedOut, WorkerKilled
from tasks.runtimes._timed import wait_until_idle
from tasks.runtimes.samples import Contender, Effort, MeasureRequest, read_measurement, read_samples
from tasks.runtimes.timing import Bench, _blocks, _calls, _order, measure

QUICK = Effort(rounds=2, most_rounds=3, calls=60, blocks=3, block_ms=0.1)
CONTROL = "float32 (control)"


@pytest.fixture
def make_request(tmp_path: Path, make_split: Callable[..., Split]) -> Callable[..., MeasureRequest]:
    def make(contenders: dict[str, Path], rows: int = 100, **more: Any) -> MeasureRequest:
        out = tmp_path / "out"
        out.mkdir()
        return MeasureRequest.model_validate(
            {
                "contenders": [Contender(name=name, folder=str(folder)) for name, folder in contenders.items()],
                "target": {"runtime": "onnxruntime", "threads": 1, "batch_size": 1},
                "split": make_split(rows),
                "out": str(out),
                "effort": QUICK,
                **more,
            }
        )

    return make


def test_every_round_has_the_same_turns_for_all_and_the_calls_asked_for(
    tiny_onnx: Path, make_request: Callable[..., MeasureRequest]
) -> None:
    request = make_request({"float32": tiny_onnx, CONTROL: tiny_onnx})

    result = measure(request)

    samples = read_samples(Path(request.out))
    assert set(samples) == {"float32", CONTROL}
    assert result.rounds == 2 and result.failures == {}
    for name, rounds in samples.items():
        assert [array.shape[0] for array in rounds] == [3, 3]
        assert all((array > 0).all() for array in rounds)
        assert result.contenders[name].calls == sum(array.size for array in rounds) >= 60
        assert all(value > 0 for value in result.contenders[name].load_ms + result.contenders[name].first_call_ms)


def test_the_record_says_how_and_where_it_was_measured(
    tiny_onnx: Path, make_request: Callable[..., MeasureRequest]
) -> None:
    request = make_request({"float32": tiny_onnx})

    result = measure(request)

    assert read_measurement(Path(request.out)) == result
    assert result.options["intra_op_num_threads"] == 1
    assert result.environment.cores >= 1
    assert "onnxruntime" in result.environment.libraries
    assert len(result.noise) == 2
    assert result.distinct_rows == 64


def test_fewer_rows_than_asked_are_all_used_and_counted(
    tiny_onnx: Path, make_request: Callable[..., MeasureRequest]
) -> None:
    target = {"runtime": "onnxruntime", "threads": 1, "batch_size": 8}

    result = measure(make_request({"float32": tiny_onnx}, rows=5, target=target))

    assert result.distinct_rows == 5
    assert result.failures == {}


def test_memory_is_the_childs_own_and_not_inherited_from_a_large_parent(
    tiny_onnx: Path, make_request: Callable[..., MeasureRequest]
) -> None:
    ballast = np.ones(400_000_000 // 8)

    result = measure(make_request({"float32": tiny_onnx}, effort=QUICK.model_copy(update={"rounds": 1})))

    (round_,) = result.contenders["float32"].rounds
    assert ballast.nbytes > round_.peak_memory_bytes >= round_.base_memory_bytes > 10_000_000


def test_rounds_go_on_while_a_decision_is_open_and_no_longer_than_allowed(
    tiny_onnx: Path, make_request: Callable[..., MeasureRequest]
) -> None:
    seen: list[int] = []

    def more(samples: dict[str, list[Any]]) -> bool:
        seen.append(len(samples["float32"]))
        return True

    result = measure(make_request({"float32": tiny_onnx}), more)

    assert seen == [2]
    assert result.rounds == 3


def test_a_killed_process_costs_only_its_contender(
    tiny_onnx: Path, make_request: Callable[..., MeasureRequest]
) -> None:
    request = make_request({"float32": tiny_onnx, "victim": tiny_onnx})
    with Bench(request) as bench:
        bench.round()

        def kill(text: str) -> None:
            if "measuring" in text:
                os.kill(bench.pids()["victim"], signal.SIGKILL)

        bench.on_progress(kill)
        bench.round()
        result = bench.finish()

    assert isinstance(bench.failures["victim"], WorkerKilled)
    assert "victim" in result.failures["victim"] and "SIGKILL" in result.failures["victim"]
    assert list(result.contenders) == ["float32"]
    assert len(read_samples(Path(request.out))["float32"]) == 2


def test_a_model_that_never_answers_is_stopped_and_costs_only_itself(
    tiny_onnx: Path, tmp_path: Path, make_onnx: Callable[..., Path], make_request: Callable[..., MeasureRequest]
) -> None:
    endless = make_onnx(tmp_path / "endless", nodes=_endless())
    request = make_request(
        {"endless": endless, "float32": tiny_onnx}, effort=QUICK.model_copy(update={"reply_seconds": 5.0})
    )

    with Bench(request) as bench:
        bench.round()

    assert isinstance(bench.failures["endless"], TimedOut)
    assert "endless: the measuring process did not answer 'open' within 5 s" in str(bench.failures["endless"])
    assert len(bench.samples["float32"]) == 1


def test_a_model_that_does_not_open_says_why_and_is_not_tried_again(
    tiny_onnx: Path, tmp_path: Path, make_request: Callable[..., MeasureRequest]
) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "signature.json").write_bytes((tiny_onnx / "signature.json").read_bytes())
    (broken / "model.onnx").write_bytes(b"not a model")
    said: list[str] = []

    result = measure(make_request({"float32": tiny_onnx, "broken": broken}), progress=said.append)

    assert "broken could not be measured: ONNX Runtime" in result.failures["broken"]
    assert said.count("round 1: opening broken") == 1 and "round 2: opening broken" not in said
    assert result.contenders["float32"].calls >= 60


def test_a_model_whose_timed_outputs_differ_is_refused(
    tiny_onnx: Path, tmp_path: Path, make_onnx: Callable[..., Path], make_request: Callable[..., MeasureRequest]
) -> None:
    from onnx import helper

    noise = [
        helper.make_node("MatMul", ["x", "w"], ["clean"]),
        helper.make_node("RandomNormalLike", ["clean"], ["noise"]),
        helper.make_node("Add", ["clean", "noise"], ["y"]),
    ]
    random = make_onnx(tmp_path / "random", nodes=noise)

    result = measure(make_request({"float32": tiny_onnx, "random": random}))

    assert "output 'y' of a timed call differs" in result.failures["random"]
    assert list(result.contenders) == ["float32"]


def test_a_fixed_batch_other_than_the_targets_is_refused(
    tmp_path: Path, make_onnx: Callable[..., Path], make_request: Callable[..., MeasureRequest]
) -> None:
    result = measure(make_request({"fixed": make_onnx(tmp_path / "fixed", batch=8)}))

    assert "takes batches of 8 only, the target asks for 1" in result.failures["fixed"]
    assert result.contenders == {}


def test_two_contenders_of_one_name_are_refused(tiny_onnx: Path, make_request: Callable[..., MeasureRequest]) -> None:
    request = make_request({"float32": tiny_onnx})
    twice = request.model_copy(update={"contenders": request.contenders * 2})

    with pytest.raises(InputError, match="different names"):
        Bench(twice)


def test_no_process_is_left_when_the_measurement_is_broken_off(
    tiny_onnx: Path, make_request: Callable[..., MeasureRequest]
) -> None:
    pids: list[int] = []

    def interrupt(text: str) -> None:
        if "measuring" in text:
            pids.extend(bench.pids().values())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), Bench(make_request({"float32": tiny_onnx}), interrupt) as bench:
        bench.round()

    assert pids
    assert _all_gone(pids)


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
def test_processes_end_when_their_parent_is_killed(
    busy: bool, tmp_path: Path, make_onnx: Callable[..., Path], make_request: Callable[..., MeasureRequest]
) -> None:
    model = make_onnx(tmp_path / "model", nodes=_endless() if busy else None)
    script = tmp_path / "parent.py"
    script.write_text(
        "import os, signal, sys, threading\n"
        "from tasks.runtimes.samples import MeasureRequest\n"
        "from tasks.runtimes.timing import Bench\n"
        "def progress(text):\n"
        f"    if '{'opening' if busy else 'measuring'}' in text:\n"
        "        print(*bench.pids().values(), bench._nursery._popen.pid, flush=True)\n"
        f"        threading.Timer({1.0 if busy else 0.0}, os.kill, (os.getpid(), signal.SIGKILL)).start()\n"
        "        busy or threading.Event().wait()\n"
        f"busy = {busy}\n"
        "bench = Bench(MeasureRequest.model_validate_json(sys.argv[1]), progress)\n"
        "bench.round()\n"
    )

    parent = subprocess.run(
        [sys.executable, script, make_request({"float32": model}).model_dump_json()],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )

    assert parent.returncode == -signal.SIGKILL
    pids = [int(word) for word in parent.stdout.split()]
    assert len(pids) == 2
    assert _all_gone(pids)


def test_a_saved_model_is_measured_without_importing_keras(
    tiny_saved_model: Path, make_request: Callable[..., MeasureRequest]
) -> None:
    target = {"runtime": "tensorflow", "threads": 1, "batch_size": 1}
    effort = QUICK.model_copy(update={"rounds": 1})
    modules: list[str] = []

    def look(text: str) -> None:
        if "measuring" in text:
            maps = Path(f"/proc/{bench.pids()['float32']}/maps").read_text()
            modules.extend(line.rpartition("/")[2] for line in maps.splitlines())

    with Bench(make_request({"float32": tiny_saved_model}, target=target, effort=effort), look) as bench:
        bench.round()
        result = bench.finish()

    assert result.failures == {}
    assert any("tensorflow" in module for module in modules)
    assert not any("_hough" in module or "ft2font" in module for module in modules)  # matplotlib, drawn in by Keras
    assert result.contenders["float32"].calls >= 60


def test_a_process_rests_only_when_its_spinning_threads_do() -> None:
    spinner = threading.Thread(target=lambda: sum(range(20_000_000)))
    spinner.start()

    wait_until_idle(most_seconds=60.0)

    assert not spinner.is_alive()


def test_two_threads_are_measured_too(tiny_onnx: Path, make_request: Callable[..., MeasureRequest]) -> None:
    target = {"runtime": "onnxruntime", "threads": 2, "batch_size": 4}

    result = measure(make_request({"float32": tiny_onnx, CONTROL: tiny_onnx}, target=target))

    assert result.failures == {}
    assert result.options["intra_op_num_threads"] == 2


def test_the_order_turns_round_and_gives_every_contender_every_place() -> None:
    places: Counter[tuple[str, int]] = Counter()
    for round_ in range(5):
        for block in range(10):
            order = _order(["a", "b", "c", "d", "e"], block, round_)
            places.update((name, place) for place, name in enumerate(order))

    assert len(places) == 25
    assert set(places.values()) == {10}
    assert _order(["a", "b"], 0, 0) == _order(["a", "b"], 1, 0)[::-1]


@pytest.mark.parametrize(
    ("call_ms", "blocks", "calls"),
    [
        (0.02, 10, 250),  # fast: a turn of 5 ms
        (1.0, 10, 20),  # 1,000 calls in 5 rounds
        (50.0, 10, 6),  # slow: 3 s a round
        (2000.0, 3, 1),  # slower than a turn: three calls
    ],
)
def test_calls_follow_the_speed_of_the_model(
    tiny_onnx: Path, make_request: Callable[..., MeasureRequest], call_ms: float, blocks: int, calls: int
) -> None:
    request = make_request({"float32": tiny_onnx}, effort=Effort())

    assert _blocks(request, {"float32": call_ms}) == blocks
    assert _calls(request, blocks, call_ms) == calls


def _endless() -> list[Any]:
    """Nodes of a model that stays in native code for minutes: y = x @ w, 10^9 times."""
    from onnx import TensorProto, helper

    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["go_on"]),
            helper.make_node("MatMul", ["x", "w"], ["product"]),
            helper.make_node("Add", ["product", "before"], ["after"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("before", TensorProto.FLOAT, [None, 3]),
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("after", TensorProto.FLOAT, [None, 3]),
        ],
    )
    return [
        helper.make_node("Constant", [], ["times"], value_ints=[10**9]),
        helper.make_node("MatMul", ["x", "w"], ["start"]),
        helper.make_node("Loop", ["times", "", "start"], ["y"], body=body),
    ]


def _all_gone(pids: list[int], seconds: float = 20.0) -> bool:
    """Whether all processes end; waits for them."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not any(_alive(pid) for pid in pids):
            return True
        time.sleep(0.1)
    return False


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"
