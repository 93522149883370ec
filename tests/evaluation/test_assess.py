import json

import numpy as np
import pytest

from tasks.data.dataset import Split
from tasks.evaluation.assess import CONTROL, assess
from tasks.evaluation.assessment import AssessRequest, Entry
from tasks.evaluation.choice import Choose
from tasks.evaluation.gates import Gate
from tasks.evaluation.task import Classification
from tasks.runtimes.environment import Noise, read_environment
from tasks.runtimes.onnxruntime import OnnxRuntime
from tasks.runtimes.samples import FILE, ContenderResult, Measurement, RoundOf

ROWS, CLASSES = 400, 3


@pytest.fixture
def folder(tmp_path):
    """A test split of 400 rows, and the reference's predictions, right in 95 % of them."""
    generator = np.random.default_rng(0)
    labels = generator.integers(0, CLASSES, ROWS)
    split = tmp_path / "test"
    (split / "slices").mkdir(parents=True)
    np.save(split / "labels.npy", labels)
    np.save(split / "slices" / "half.npy", np.where(np.arange(ROWS) < ROWS // 2, "first", "second"))
    logits = np.eye(CLASSES)[labels] * 4 + generator.normal(size=(ROWS, CLASSES))
    predictions(tmp_path, "reference", logits)
    return tmp_path


def predictions(folder, name, logits):
    (folder / name).mkdir(exist_ok=True)
    np.save(folder / name / "logits.npy", np.asarray(logits, dtype=np.float32))
    return str(folder / name)


def measurement(folder, p50_ms):
    """Samples of five rounds, contender -> its p50."""
    out = folder / "measurement"
    (out / "samples").mkdir(parents=True)
    generator = np.random.default_rng(1)
    contenders = {}
    for number, (name, p50) in enumerate({**p50_ms, CONTROL: p50_ms["float32"]}.items()):
        rounds = []
        for each in range(5):
            file = f"samples/{number}-{each}.npy"
            np.save(out / file, p50 * generator.uniform(0.99, 1.01, (10, 40)))
            rounds.append(
                RoundOf(file=file, load_ms=1, first_call_ms=1, settled=True, peak_memory_bytes=10, base_memory_bytes=5)
            )
        contenders[name] = ContenderResult(name=name, folder="", calls=2000, rounds=tuple(rounds))
    record = Measurement(
        target=OnnxRuntime(runtime="onnxruntime"),
        options={},
        batch_size=1,
        distinct_rows=64,
        rounds=5,
        contenders=contenders,
        failures={},
        environment=read_environment(),
        noise=(Noise(steal_percent=None, throttled=None, load_average=0),),
        seconds=1,
    )
    (out / FILE).write_text(record.model_dump_json())
    return str(out)


def entry(folder, name, logits=None, **changes):
    path = predictions(folder, name, logits) if logits is not None else None
    return Entry(**{"name": name, "digest": name, "predictions": path, "size_bytes": 100, "gzip_bytes": 90, **changes})


def request(folder, candidates, gates=(), **changes):
    fields = {
        "task": Classification(kind="classification", output="logits"),
        "target": "cpu",
        "gates": tuple(gates),
        "objective": Choose(minimize="p50_ms"),
        "folder": str(folder),
        "split": Split(folder=str(folder / "test"), inputs=(), rows=ROWS, slices=("half",)),
        "output": "logits",
        "reference": str(folder / "reference"),
        "candidates": tuple(candidates),
    }
    return AssessRequest(**{**fields, **changes})


def reference(folder):
    return np.load(folder / "reference" / "logits.npy")


def test_the_fastest_candidate_that_passes_every_gate_wins(folder):
    logits = reference(folder)
    wrong = np.roll(logits, 1, axis=1)
    candidates = [entry(folder, "float32", logits), entry(folder, "int8", logits), entry(folder, "broken", wrong)]
    samples = measurement(folder, {"float32": 1.0, "int8": 0.5, "broken": 0.1})

    answer = assess(request(folder, candidates, [Gate(metric="accuracy", max_drop=0.02)], measurement=samples))

    assert answer.winner == "int8"
    assert [row.outcome for row in answer.candidates] == ["pass", "pass", "fail"]
    assert answer.candidates[1].times["speedup_p50"] == pytest.approx(2, rel=0.02)
    assert set(answer.candidates[1].slices) == {"half=first", "half=second"}
    assert answer.control_ratio == pytest.approx(1, rel=0.02)


def test_a_candidate_that_broke_cannot_win_even_without_gates(folder):
    candidates = [entry(folder, "float32", reference(folder)), entry(folder, "int8", failure="the worker died")]

    answer = assess(request(folder, candidates, objective=Choose(minimize="size_bytes")))

    assert answer.winner == "float32"
    assert answer.candidates[1].outcome == "fail"
    assert "the worker died" in answer.candidates[1].reason


def test_predictions_that_are_not_finite_fail_even_without_gates(folder):
    bad = reference(folder).copy()
    bad[3, 1] = np.nan
    candidates = [entry(folder, "float32", reference(folder)), entry(folder, "int8", bad, size_bytes=1)]

    answer = assess(request(folder, candidates, objective=Choose(minimize="size_bytes")))

    assert answer.winner == "float32"
    assert answer.candidates[1].verdicts[0].status == "fail"


def test_a_candidate_that_is_the_champions_file_passes_against_it_without_being_measured_twice(folder):
    logits = reference(folder)
    samples = measurement(folder, {"float32": 1.0, "int8": 0.5})
    champion = entry(folder, "champion", logits, digest="int8")
    gates = [Gate(metric="p50_ms", min_speedup=1.0, against="champion")]
    candidates = [entry(folder, "float32", logits), entry(folder, "int8", logits)]

    answer = assess(request(folder, candidates, gates, measurement=samples, champion=champion))

    assert [row.outcome for row in answer.candidates] == ["fail", "pass"]
    assert answer.winner == "int8"


def test_a_first_release_is_not_held_to_gates_against_a_champion(folder):
    gates = [Gate(metric="accuracy", max_drop=0.0, against="champion")]
    samples = measurement(folder, {"float32": 1.0})

    answer = assess(request(folder, [entry(folder, "float32", reference(folder))], gates, measurement=samples))

    assert answer.candidates[0].verdicts[0].status == "not_applicable"
    assert answer.winner == "float32"


def test_a_champion_that_cannot_be_loaded_fails_the_gates_against_it(folder):
    gates = [Gate(metric="accuracy", max_drop=0.1, against="champion")]
    champion = Entry(name="champion", failure="its bundle is gone")

    answer = assess(request(folder, [entry(folder, "float32", reference(folder))], gates, champion=champion))

    assert answer.exit_code == 3
    assert "its bundle is gone" in answer.candidates[0].reason


def test_another_signature_than_the_champions_fails(folder):
    answer = assess(
        request(folder, [entry(folder, "float32", reference(folder))], foreign_signature="Version 1 takes (a).")
    )

    assert answer.winner is None
    assert "allow_signature_change" in answer.candidates[0].reason


def test_a_metric_of_the_users_own_is_called_with_labels_and_outputs(folder):
    (folder / "own_metric_of_assess.py").write_text(
        "def rightness(labels, outputs):\n    return float((outputs.argmax(1) == labels).mean())\n"
    )
    gates = [Gate(metric="own_metric_of_assess.py:rightness", min=0.5)]
    samples = measurement(folder, {"float32": 1.0})

    answer = assess(request(folder, [entry(folder, "float32", reference(folder))], gates, measurement=samples))

    row = answer.candidates[0]
    assert row.verdicts[0].status == "pass"
    assert row.quality["own_metric_of_assess.py:rightness"] == pytest.approx(row.quality["accuracy"])


def test_what_is_said_is_json(folder):
    answer = assess(request(folder, [entry(folder, "float32", reference(folder))]))

    assert json.loads(answer.model_dump_json())["exit_code"] == 3  # p50_ms, the objective, was not measured


def test_candidates_have_a_cost_where_the_target_has_one_and_the_cheapest_can_win(folder):
    logits = reference(folder)
    candidates = [entry(folder, "float32", logits), entry(folder, "int8", logits)]
    samples = measurement(folder, {"float32": 1.0, "int8": 0.5})

    asked = request(folder, candidates, objective=Choose(minimize="cost_per_million"), measurement=samples)
    priced, free = assess(asked.model_copy(update={"cost_per_hour": 3.6})), assess(asked)

    assert [row.times["cost_per_million"] for row in priced.candidates] == pytest.approx([1.0, 0.5], rel=0.02)
    assert priced.winner == "int8"
    assert free.winner is None and "cost_per_million is not known" in free.reason
