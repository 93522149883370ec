"""Tasks that only the user's own metrics can judge: outputs of any rank, several outputs, and honest bounds."""

import json
from pathlib import Path

import numpy as np
import pytest

from tasks.data.dataset import Split
from tasks.evaluation.assess import assess
from tasks.evaluation.assessment import AssessRequest, Entry
from tasks.evaluation.choice import Choose
from tasks.evaluation.evaluate import agreement, differences, evaluate, evaluate_slices
from tasks.evaluation.evidence import Evidence, Setting
from tasks.evaluation.gates import Gate, check_gates
from tasks.evaluation.judge import judge
from tasks.evaluation.primary import Primary, primary
from tasks.evaluation.task import Classification, Custom, Multilabel, Regression
from tasks.foundations.errors import InputError, StepFailed

CUSTOM = Custom(kind="custom")
ACCURACY = "own.py:token_accuracy"


def token_accuracy(labels, outputs):
    return float((outputs.argmax(-1) == labels).mean())


def error(labels, outputs):
    return float(((labels - outputs) ** 2).mean())


def steps(n=300, seed=0):
    """(n, 6) classes a step and outputs (n, 6, 4) that name them."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, (n, 6))
    return labels, (np.eye(4)[labels] * 4 + rng.normal(size=(n, 6, 4)) / 4).astype("float32")


def verdict(gate, function, labels, own, reference):
    setting = Setting(
        task=CUSTOM, target="cpu", labels=labels, functions={gate["metric"]: function},
        reference=Evidence("reference", "r", reference), float32=Evidence("float32", "f", reference),
    )  # fmt: skip
    (found,) = judge([Gate(**gate)], Evidence("own", "o", own), setting)
    return found


def test_only_the_users_metrics_are_computed_and_called_with_what_the_data_and_the_model_have():
    labels, outputs = steps()
    assert evaluate(CUSTOM, outputs, labels, {ACCURACY: token_accuracy}) == {ACCURACY: 1.0}
    seen = evaluate(
        CUSTOM,
        {"tags": outputs, "length": outputs[:, 0, 0]},
        {"tags": labels},
        {"f": lambda truth, said: token_accuracy(truth["tags"], said["tags"]) + len(said)},
    )
    assert seen == {"f": 3.0}


def test_the_outputs_of_a_custom_task_must_be_finite_and_one_a_row():
    labels, outputs = steps(10)
    outputs[4, 2, 1] = np.nan
    with pytest.raises(StepFailed, match="NaN or infinity in 1 of 10 rows, first in row 4"):
        evaluate(CUSTOM, outputs, labels)
    with pytest.raises(StepFailed, match="9 rows of output for 10 rows"):
        evaluate(CUSTOM, {"a": outputs[:9]}, labels)


def test_differences_with_the_reference_cover_every_output():
    reference = {"a": np.zeros((3, 2, 2)), "b": np.full((3,), 10.0)}
    outputs = {"a": reference["a"] + 0.5, "b": reference["b"] - 2}
    assert agreement(CUSTOM, outputs, reference) == {"max_abs_diff": 2.0, "max_rel_diff": 0.5}
    assert differences(outputs, reference) == {"max_abs_diff of a": 0.5, "max_abs_diff of b": 2.0}
    with pytest.raises(StepFailed, match="no output 'b'; it has a"):
        agreement(CUSTOM, {"a": outputs["a"]}, reference)


def test_a_metric_that_a_slice_does_not_define_is_left_out_there():
    labels, outputs = steps(8)

    def fussy(truth, said):
        if len(truth) < 3:
            raise ValueError("too few")
        return token_accuracy(truth, said)

    found = evaluate_slices(CUSTOM, outputs, labels, {"a": np.arange(6), "b": np.arange(6, 8)}, {"f": fussy})
    assert found == {"a": {"f": 1.0, "n": 6.0}, "b": {"n": 2.0}}


def test_no_difference_in_the_rows_leaves_open_what_three_rows_with_the_answer_of_others_would_do():
    labels, outputs = steps()
    found = verdict({"metric": ACCURACY, "max_drop": 0.02}, token_accuracy, labels, outputs + 0.01, outputs)
    assert (found.status, found.measured) == ("pass", 0)
    assert 3 / 300 * 0.5 < found.interval[1] <= 3 / 300
    tight = verdict({"metric": ACCURACY, "max_drop": 0.001}, token_accuracy, labels, outputs + 0.01, outputs)
    assert tight.status == "inconclusive"


def test_errors_that_differ_from_row_to_row_are_resampled_as_they_are():
    outputs = steps()[1]
    numbers = outputs.astype("float64")
    noisy = numbers + np.random.default_rng(1).normal(size=numbers.shape) / 100
    found = verdict(
        {"metric": "own.py:error", "max_drop_percent": 5, "higher_is_better": False},
        error, numbers + 0.1, noisy, numbers,
    )  # fmt: skip
    assert found.status == "pass"


def test_several_outputs_are_bounded_as_one():
    labels, outputs = steps()
    said = {"tags": outputs, "code": outputs[:, 0]}
    truth = {"tags": labels, "code": labels[:, 0]}

    def both(truth, said):
        return (token_accuracy(truth["tags"], said["tags"]) + token_accuracy(truth["code"], said["code"])) / 2

    worse = {**said, "code": said["code"][::-1].copy()}
    gate = {"metric": "own.py:both", "max_drop": 0.02}
    assert verdict(gate, both, truth, said, {name: each + 0.01 for name, each in said.items()}).status == "pass"
    assert verdict(gate, both, truth, worse, said).status == "fail"


def test_a_metric_that_no_answer_changes_says_nothing():
    labels, outputs = steps()
    gate = {"metric": "own.py:constant", "max_drop": 0.5}
    found = verdict(gate, lambda truth, said: 1.0, labels, outputs + 1, outputs)
    assert found.status == "inconclusive" and "Too few of these rows" in found.reason
    assert verdict(gate, lambda truth, said: 1.0, labels, outputs, outputs).status == "pass"


@pytest.mark.parametrize(
    ("task", "gates", "choose", "wanted"),
    [
        (Classification(kind="classification", output="logits"), [], {}, Primary("accuracy", True)),
        (Multilabel(kind="multilabel", output="logits"), [], {}, Primary("macro_f1", True)),
        (Regression(kind="regression"), [], {}, Primary("rmse", False)),
        (CUSTOM, [{"metric": "p50_ms", "max": 1}, {"metric": "a.py:f", "max": 1, "higher_is_better": False}], {},
         Primary("a.py:f", False)),
        (CUSTOM, [{"metric": "a.py:f", "min": 1}], {"minimize": "b.py:g"}, Primary("a.py:f", True)),
        (CUSTOM, [], {"minimize": "b.py:g"}, Primary("b.py:g", False)),
    ],
)  # fmt: skip
def test_the_metric_that_is_shown_first(task, gates, choose, wanted):
    assert primary(task, [Gate(**each) for each in gates], Choose(**choose)) == wanted


def test_a_custom_task_without_a_metric_of_its_own_is_refused():
    with pytest.raises(InputError, match="task custom needs a metric of your own: write a function"):
        primary(CUSTOM, [Gate(metric="p50_ms", max=1)], Choose())


@pytest.mark.parametrize(
    ("gate", "sentence"),
    [
        ({"metric": "accuracy", "min": 0.5}, "accuracy is no metric of a custom task, which has those of your own"),
        ({"metric": "agreement", "min": 0.5}, "agreement needs classes or labels, which a custom task does not have"),
    ],
)
def test_metrics_that_need_to_know_the_outputs_are_refused(gate, sentence):
    with pytest.raises(InputError, match=sentence):
        check_gates([Gate(**gate)], CUSTOM, ["cpu"])
    check_gates([Gate(metric="max_abs_diff", max=0.5), Gate(metric=ACCURACY, min=0.5)], CUSTOM, ["cpu"])


def predictions(folder, **outputs):
    folder.mkdir()
    for name, array in outputs.items():
        np.save(folder / f"{name}.npy", array)
    return str(folder)


def request(tmp_path, task, labels, target="tags", **more):
    """One candidate beside float32 and the reference, each of two outputs."""
    tags, code = steps()[1], np.random.default_rng(2).normal(size=(300, 5)).astype("float32")
    split = tmp_path / "test"
    (split / "labels").mkdir(parents=True)
    np.save(split / "labels.npy", labels)
    np.save(split / "labels" / "tags.npy", labels)
    (tmp_path / "own.py").write_text(
        "def token_accuracy(labels, outputs):\n"
        "    return float((outputs['tags'].argmax(-1) == labels['tags']).mean())\n"
    )
    fields = {
        "task": task, "target": "cpu", "objective": Choose(minimize="size_bytes"), "folder": str(tmp_path),
        "split": Split(folder=str(split), inputs=(), rows=300, targets=more.pop("targets", ())),
        "output": target, "reference": predictions(tmp_path / "r", tags=tags, code=code),
        "candidates": (
            Entry(name="float32", digest="f", predictions=predictions(tmp_path / "f", tags=tags, code=code),
                  size_bytes=10, gzip_bytes=10),
            Entry(name="int8", digest="i", predictions=predictions(tmp_path / "i", tags=tags + 0.01, code=code + 0.25),
                  size_bytes=5, gzip_bytes=5),
        ),
    }  # fmt: skip
    return AssessRequest(**{**fields, **more})


def test_a_custom_task_of_two_outputs_is_judged_by_its_own_metric(tmp_path):
    gates = (Gate(metric=ACCURACY, max_drop=0.02),)
    found = assess(request(tmp_path, CUSTOM, steps()[0], targets=("tags",), gates=gates))
    assert found.winner == "int8"
    int8 = next(row for row in found.candidates if row.name == "int8")
    assert int8.quality == {
        ACCURACY: 1.0,
        "max_abs_diff": pytest.approx(0.25, rel=1e-4),
        "max_rel_diff": pytest.approx(int8.quality["max_rel_diff"]),
        "max_abs_diff of tags": pytest.approx(0.01, rel=1e-3),
        "max_abs_diff of code": pytest.approx(0.25, rel=1e-4),
    }
    assert int8.drop == 0
    json.dumps(found.model_dump(mode="json"))


def test_outputs_that_no_label_belongs_to_are_compared_too(tmp_path):
    task = Classification(kind="classification", output="logits", judged="code")
    labels = np.random.default_rng(2).normal(size=(300, 5)).argmax(1)
    found = assess(request(tmp_path, task, labels, "code", gates=(Gate(metric="accuracy", min=0.5),)))
    int8 = next(row for row in found.candidates if row.name == "int8")
    assert int8.quality["max_abs_diff"] == pytest.approx(0.25, rel=1e-4)
    assert int8.quality["max_abs_diff of tags"] == pytest.approx(0.01, rel=1e-3)
    assert "accuracy" in int8.quality


@pytest.mark.parametrize("named", [True, False])
def test_a_single_output_has_a_name_where_its_labels_have_one(tmp_path, named):
    asked = request(tmp_path, CUSTOM, steps()[0], targets=("tags",) if named else (), gates=())
    for each in (asked.reference, *(entry.predictions for entry in asked.candidates)):
        Path(each, "code.npy").unlink()
    key = "['tags']" if named else ""
    code = f"def right(labels, outputs):\n    return float((outputs{key}.argmax(-1) == labels{key}).mean())\n"
    (tmp_path / f"right_{named}.py").write_text(code)
    gates = (Gate(metric=f"right_{named}.py:right", min=0.9),)
    assert assess(asked.model_copy(update={"gates": gates})).winner == "int8"
