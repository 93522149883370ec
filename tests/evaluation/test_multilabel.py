"""Metrics of several labels a row: by hand, against scikit-learn, and what unseen rows leave open."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tasks.evaluation.evaluate import agreement, evaluate, evaluate_classes
from tasks.evaluation.evidence import Evidence, Setting
from tasks.evaluation.gates import Gate, check_gates
from tasks.evaluation.judge import judge
from tasks.evaluation.task import Multilabel
from tasks.foundations.errors import InputError, StepFailed

LOGITS = Multilabel(kind="multilabel", output="logits")
SURE = Multilabel(kind="multilabel", output="probabilities", threshold=0.8)
LABELS = np.array([[1, 0, 1], [0, 0, 1], [1, 1, 0], [0, 0, 0]])
SCORES = np.array([[2.0, -1, 1], [1, -2, 3], [1, -1, -1], [-1, -2, -3]])  # predicted: 101 101 100 000


def test_the_figures_of_four_rows_by_hand():
    found = evaluate(LOGITS, SCORES, LABELS)
    assert found["exact_match"] == 0.5
    assert found["hamming_accuracy"] == pytest.approx(10 / 12)
    assert found["macro_f1"] == pytest.approx((2 * 2 / (3 + 2) + 0 + 1) / 3)
    assert found["micro_f1"] == pytest.approx(2 * 4 / (5 + 5))
    assert found["roc_auc"] == pytest.approx((3.5 / 4 + 2.5 / 3 + 1) / 3)  # pairs in order, ties half


def test_a_label_is_predicted_above_the_threshold_and_not_at_it():
    outputs = np.array([[0.8, 0.81], [0.79, 1.0]])
    assert evaluate(SURE, outputs, np.array([[0, 1], [0, 1]]))["exact_match"] == 1
    logits = np.log(outputs.clip(0, 0.99) / (1 - outputs.clip(0, 0.99)))
    lower = np.nextafter(logits[0, 0], -np.inf)
    task = SURE.model_copy(update={"output": "logits"})
    assert evaluate(task, np.array([[lower, 2.0]]), np.array([[0, 1]]))["exact_match"] == 1


@pytest.mark.parametrize("output", ["logits", "probabilities"])
def test_every_metric_is_that_of_scikit_learn(output):
    sklearn = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(3)
    labels = (rng.random((300, 5)) < [0.5, 0.3, 0.1, 0.7, 0.05]).astype(int)
    logits = rng.normal(size=labels.shape) + 1.5 * labels - 1
    probabilities = 1 / (1 + np.exp(-logits))
    predicted = (logits > 0).astype(int)
    found = evaluate(
        Multilabel(kind="multilabel", output=output), logits if output == "logits" else probabilities, labels
    )
    wanted = {
        "exact_match": sklearn.accuracy_score(labels, predicted),
        "hamming_accuracy": 1 - sklearn.hamming_loss(labels, predicted),
        "macro_f1": sklearn.f1_score(labels, predicted, average="macro"),
        "micro_f1": sklearn.f1_score(labels, predicted, average="micro"),
        "roc_auc": sklearn.roc_auc_score(labels, logits, average="macro"),
        "log_loss": np.mean([sklearn.log_loss(labels[:, each], probabilities[:, each]) for each in range(5)]),
    }
    assert found == {name: pytest.approx(value) for name, value in wanted.items()}


def test_a_label_that_never_occurs_counts_nowhere_and_one_without_both_values_has_no_area():
    labels, scores = np.c_[LABELS, np.zeros(4, int)], np.c_[SCORES, np.full(4, -5.0)]
    assert evaluate(LOGITS, scores, labels)["macro_f1"] == evaluate(LOGITS, SCORES, LABELS)["macro_f1"]
    assert evaluate(LOGITS, scores, labels)["roc_auc"] == evaluate(LOGITS, SCORES, LABELS)["roc_auc"]
    nothing = evaluate(LOGITS, np.full((3, 2), -1.0), np.zeros((3, 2), int))
    assert "macro_f1" not in nothing and "roc_auc" not in nothing and nothing["exact_match"] == 1


@given(st.data())
def test_shares_stay_shares_and_exact_match_is_the_strictest(data):
    shape = (data.draw(st.integers(1, 12)), data.draw(st.integers(1, 4)))
    labels = data.draw(arrays.arrays(np.int64, shape, elements=st.integers(0, 1)))
    scores = data.draw(arrays.arrays(np.float64, shape, elements=st.floats(-50, 50)))
    found = evaluate(LOGITS, scores, labels)
    assert all(0 <= value <= 1 + 1e-9 for name, value in found.items() if name != "log_loss")
    assert found["exact_match"] <= found["hamming_accuracy"] + 1e-12
    order = np.random.default_rng(0).permutation(shape[1])
    shuffled = evaluate(LOGITS, scores[:, order], labels[:, order])
    assert shuffled == {name: pytest.approx(value, abs=1e-9) for name, value in found.items()}
    assert evaluate(LOGITS, np.where(labels == 1, 5.0, -5.0), labels)["exact_match"] == 1


def test_figures_of_every_label_that_occurs():
    found = evaluate_classes(LOGITS, SCORES, LABELS)
    assert found["0"] == {"f1": pytest.approx(0.8), "recall": 1, "n": 2}
    assert found["1"] == {"f1": 0, "recall": 0, "n": 1}
    assert evaluate_classes(LOGITS, SCORES, LABELS, ("red", "green", "blue"))["green"] == found["1"]


def test_agreement_asks_for_the_same_labels_whatever_is_true():
    other = SCORES.copy()
    other[2, 1] = 4.0
    assert agreement(LOGITS, other, SCORES) == {
        "agreement": 0.75, "max_abs_diff": 5.0, "max_rel_diff": pytest.approx(5 / 3)
    }  # fmt: skip


@pytest.mark.parametrize(
    ("task", "outputs", "labels", "kind", "sentence"),
    [
        (LOGITS, SCORES, LABELS[:, :2], InputError, r"do not fit a model of 3 labels. Expected \(rows, 3\)"),
        (LOGITS, SCORES, LABELS * 2, InputError, "must be 0 or 1"),
        (LOGITS, SCORES[:, 0], LABELS, StepFailed, r"must be \(rows, labels\)"),
        (SURE, SCORES, LABELS, StepFailed, "are no probabilities"),
    ],
)
def test_outputs_and_labels_that_do_not_fit_are_refused(task, outputs, labels, kind, sentence):
    with pytest.raises(kind, match=sentence):
        evaluate(task, outputs, labels)


def verdict(gate, own, reference, labels):
    setting = Setting(
        task=LOGITS, target="cpu", labels=labels,
        reference=Evidence("reference", "r", reference), float32=Evidence("float32", "f", reference),
    )  # fmt: skip
    (found,) = judge([Gate(**gate)], Evidence("own", "o", own), setting)
    return found


def many(n=400):
    rng = np.random.default_rng(0)
    labels = (rng.random((n, 3)) < [0.5, 0.3, 0.1]).astype(int)
    return labels, np.where(labels == 1, 3.0, -3.0) + rng.normal(size=labels.shape) / 10


def test_exact_match_has_tangos_bound():
    labels, scores = many()
    found = verdict({"metric": "exact_match", "max_drop": 0.01}, scores, scores + 0.01, labels)
    z2 = 1.6448536**2
    assert found.status == "pass" and found.interval[1] == pytest.approx(z2 / (400 + z2), rel=1e-4)


@pytest.mark.parametrize("metric", ["hamming_accuracy", "macro_f1", "micro_f1"])
def test_no_difference_in_the_rows_leaves_open_what_three_wrong_rows_would_do(metric):
    labels, scores = many()
    found = verdict({"metric": metric, "max_drop": 0.1}, scores, scores + 0.01, labels)
    assert found.measured == 0 and found.status == "pass"
    expected = {"hamming_accuracy": 3 / 400}.get(metric, 0.01)
    assert found.interval[1] == pytest.approx(expected, rel=0.02) or found.interval[1] > expected
    assert verdict({"metric": metric, "max_drop": 0.001}, scores, scores + 0.01, labels).status == "inconclusive"


def test_a_model_that_loses_a_rare_label_is_told_by_macro_f1():
    labels, scores = many()
    worse = scores.copy()
    worse[:, 2] = -3.0
    found = verdict({"metric": "macro_f1", "max_drop": 0.05}, worse, scores, labels)
    assert found.status == "fail" and found.measured == pytest.approx(1 / 3)


def test_gates_of_other_tasks_are_refused_by_name():
    with pytest.raises(InputError, match="accuracy is no metric of this multilabel task. It has: exact_match"):
        check_gates([Gate(metric="accuracy", max_drop=0.1)], LOGITS, ["cpu"])
    check_gates([Gate(metric="agreement", min=0.9), Gate(metric="exact_match", min=0.5)], LOGITS, ["cpu"])
