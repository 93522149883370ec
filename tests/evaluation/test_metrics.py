import numpy as np
import pytest
import sklearn.metrics as oracle
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, softmax

from tasks.evaluation.evaluate import agreement, evaluate, evaluate_classes, evaluate_slices
from tasks.evaluation.metrics import metrics_of
from tasks.evaluation.slices import slice_rows
from tasks.evaluation.task import Classification, Regression
from tasks.foundations.errors import InputError, StepFailed

LOGITS = Classification(kind="classification", output="logits", top_k=3)
PROBABILITIES = Classification(kind="classification", output="probabilities", top_k=3)
REGRESSION = Regression(kind="regression")


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(3, 7), st.integers(20, 200))
def test_every_classification_metric_is_scikit_learns(seed, classes, n):
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes), rng.integers(classes, size=n)])
    logits = rng.normal(size=(labels.size, classes))
    probabilities = softmax(logits, axis=1)
    figures = evaluate(LOGITS, logits, labels)
    predicted = logits.argmax(axis=1)
    assert figures["accuracy"] == pytest.approx(oracle.accuracy_score(labels, predicted))
    assert figures["macro_f1"] == pytest.approx(oracle.f1_score(labels, predicted, average="macro"))
    assert figures["log_loss"] == pytest.approx(oracle.log_loss(labels, probabilities))
    assert figures["roc_auc"] == pytest.approx(oracle.roc_auc_score(labels, probabilities, multi_class="ovr"), abs=1e-9)
    if classes > 3:
        assert figures["top_3_accuracy"] == pytest.approx(oracle.top_k_accuracy_score(labels, logits, k=3))
    else:
        assert "top_3_accuracy" not in figures
    again = evaluate(PROBABILITIES, probabilities, labels)
    assert again["log_loss"] == pytest.approx(figures["log_loss"], rel=1e-4)


def test_tied_scores_count_half_in_the_area_and_go_to_the_lower_class_elsewhere():
    labels = np.array([0, 1, 1, 0, 1, 0])
    scores = np.array([1.0, 1.0, 2.0, 0.0, 0.0, 0.0])
    assert evaluate(LOGITS, scores, labels)["roc_auc"] == pytest.approx(oracle.roc_auc_score(labels, scores))
    figures = evaluate(LOGITS, np.zeros((4, 4)), np.arange(4))
    assert figures["accuracy"] == 0.25 and figures["top_3_accuracy"] == 0.75


@pytest.mark.parametrize("columns", [1, 2])
def test_a_binary_model_may_have_one_column_or_two(columns):
    rng = np.random.default_rng(0)
    labels = rng.integers(2, size=200)
    logit = rng.normal(size=200) + labels
    figures = [
        evaluate(LOGITS, np.stack([np.zeros(200), logit], axis=1) if columns == 2 else logit[:, None], labels),
        evaluate(
            PROBABILITIES,
            np.stack([1 - expit(logit), expit(logit)], axis=1) if columns == 2 else expit(logit),
            labels[:, None],
        ),
    ]
    for each in figures:
        assert each["accuracy"] == np.mean((logit > 0) == labels)
        assert each["roc_auc"] == pytest.approx(oracle.roc_auc_score(labels, logit))
        assert each["log_loss"] == pytest.approx(oracle.log_loss(labels, expit(logit)))


def test_one_hot_labels_are_class_numbers():
    logits = np.random.default_rng(0).normal(size=(50, 4))
    labels = np.arange(50) % 4
    assert evaluate(LOGITS, logits, np.eye(4)[labels]) == evaluate(LOGITS, logits, labels)


def test_enormous_logits_do_not_overflow():
    logits = np.array([[1e5, 0.0], [-1e5, 0.0], [3e4, -3e4]], dtype=np.float32)
    figures = evaluate(LOGITS, logits, np.array([0, 1, 1]))
    assert figures["log_loss"] == pytest.approx(6e4 / 3)


def test_a_certain_and_wrong_probability_costs_a_finite_loss():
    figures = evaluate(PROBABILITIES, np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([1, 1]))
    assert figures["log_loss"] == pytest.approx(-np.log(np.finfo(np.float32).eps) / 2, rel=1e-5)


def test_half_precision_and_quantized_outputs_are_read():
    labels = np.array([0, 1, 2])
    assert evaluate(LOGITS, np.eye(3, dtype=np.float16), labels)["accuracy"] == 1
    assert evaluate(LOGITS, np.eye(3, dtype=np.uint8), labels)["accuracy"] == 1


def test_the_area_of_one_class_alone_is_left_out():
    figures = evaluate(LOGITS, np.eye(3), np.array([1, 1, 1]))
    assert "roc_auc" not in figures and figures["accuracy"] == pytest.approx(1 / 3)


def test_a_resample_of_one_label_repeated_has_no_r2_although_rounding_leaves_a_variance():
    n, label = next(
        (n, v)
        for n in range(2, 100)
        for v in (0.1, 0.3, 0.7)
        if np.full(n, v**2).sum() - np.full(n, v).sum() ** 2 / n > 0
    )
    sums = np.array([n * 0.01, np.full(n, label).sum(), np.full(n, label**2).sum(), n])
    assert np.isnan(metrics_of(REGRESSION)["r2"].value(sums))


@pytest.mark.parametrize("shape", [(60,), (60, 1), (60, 3)])
def test_every_regression_metric_is_scikit_learns(shape):
    rng = np.random.default_rng(0)
    labels = rng.normal(size=shape) + 1e4
    outputs = labels + rng.normal(size=shape) / 3
    figures = evaluate(REGRESSION, outputs, labels)
    assert figures["mae"] == pytest.approx(oracle.mean_absolute_error(labels, outputs))
    assert figures["rmse"] == pytest.approx(np.sqrt(oracle.mean_squared_error(labels, outputs)))
    assert figures["r2"] == pytest.approx(oracle.r2_score(labels, outputs))


def test_constant_labels_have_no_r2():
    assert set(evaluate(REGRESSION, np.arange(4.0), np.full(4, 0.1))) == {"mae", "rmse"}


def test_the_users_function_gets_labels_then_outputs_as_they_are():
    seen = []
    outputs, labels = np.eye(3), np.array([0, 1, 2])
    figures = evaluate(LOGITS, outputs, labels, {"m.py:f": lambda *both: seen.append(both) or 0.5})
    assert figures["m.py:f"] == 0.5
    assert seen[0][0] is labels and seen[0][1] is outputs


@pytest.mark.parametrize(
    ("function", "sentence"),
    [
        (lambda labels, outputs: 1 / 0, "m.py:f raised ZeroDivisionError.*test_metrics.py, line 132.\\. It is called"),
        (lambda labels, outputs: float("nan"), "m.py:f returned nan"),
        (lambda labels: 1.0, "m.py:f raised TypeError"),
        (lambda labels, outputs: None, "m.py:f returned None where one number is expected"),
        (lambda labels, outputs: outputs[:, 0], r"m.py:f returned an array of shape \(3,\) where one number"),
        (lambda labels, outputs: [1.0, 2.0], r"m.py:f returned \[1.0, 2.0\] where one number"),
    ],
)
def test_a_users_function_that_fails_is_one_sentence(function, sentence):
    with pytest.raises(InputError, match=sentence):
        evaluate(LOGITS, np.eye(3), np.arange(3), {"m.py:f": function})


@pytest.mark.parametrize(
    ("outputs", "sentence"),
    [
        (np.full((3, 3), np.nan), "NaN or infinity in 3 of 3 rows, first in row 0"),
        (np.array([[0, 0, 0], [0, np.inf, 0], [0, 0, 0.0]]), "1 of 3 rows, first in row 1"),
        (np.eye(3)[:2], "2 rows of output for 3 rows"),
        (np.zeros((3, 3, 2)), r"must be \(rows, classes\)"),
        (np.array([["a"], ["b"], ["c"]]), "dtype <U1"),
        (np.float32(3), "0 rows"),
    ],
)
def test_outputs_that_cannot_be_judged_are_refused_with_the_reason(outputs, sentence):
    with pytest.raises(StepFailed, match=sentence):
        evaluate(LOGITS, outputs, np.arange(3))


def test_logits_that_are_called_probabilities_are_refused():
    with pytest.raises(StepFailed, match=r"Set task\.output to logits"):
        evaluate(PROBABILITIES, np.array([[3.0, -2.0]]), np.array([0]))


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        (np.array([0, 1, 3]), "run from 0 to 3, but the model has classes 0..2"),
        (np.array([0, 1, -1]), "run from -1"),
        (np.array([0, 1, 0.5]), "whole class numbers"),
        (np.array([0, 1, np.nan]), "whole class numbers"),
        (np.array(["a", "b", "c"]), "whole class numbers"),
        (np.zeros((3, 2)), "do not fit"),
        (np.full((3, 3), 0.5), "not one-hot"),
    ],
)
def test_labels_that_do_not_fit_are_the_datas_fault(labels, sentence):
    with pytest.raises(InputError, match=sentence):
        evaluate(LOGITS, np.eye(3), labels)


def test_regression_labels_must_be_finite_and_of_the_outputs_size():
    with pytest.raises(InputError, match="finite"):
        evaluate(REGRESSION, np.zeros(2), np.array([1, np.nan]))
    with pytest.raises(StepFailed, match="same size"):
        evaluate(REGRESSION, np.zeros((2, 3)), np.zeros(2))


def test_every_slice_has_its_own_figures():
    labels = np.array([0, 1, 2, 0])
    slices = {"site": np.array(["b", "a", "a", "b"]), "hour": np.array([1, 1, 1, 2])}
    found = evaluate_slices(LOGITS, np.eye(3)[[0, 0, 2, 1]], labels, slice_rows(slices))
    assert list(found) == ["site=a", "site=b", "hour=1", "hour=2"]
    assert found["site=a"]["accuracy"] == 0.5 and found["site=a"]["n"] == 2
    assert found["hour=2"]["accuracy"] == 0


def test_the_recall_of_every_class_that_occurs():
    found = evaluate_classes(LOGITS, np.eye(3)[[0, 1, 2, 0]], np.array([0, 0, 2, 0]))
    assert found == {"0": {"recall": pytest.approx(2 / 3), "n": 3}, "2": {"recall": 1, "n": 1}}
    named = evaluate_classes(LOGITS, np.eye(3)[[0, 1, 2, 0]], np.array([0, 0, 2, 0]), ("red", "green", "blue"))
    assert named == {"red": found["0"], "blue": found["2"]}


def test_agreement_needs_no_labels():
    reference = np.array([[4.0, 0.0], [0.0, 1.0]])
    outputs = np.array([[3.0, 0.0], [1.1, 1.0]])
    assert agreement(LOGITS, outputs, reference) == {
        "agreement": 0.5,
        "max_abs_diff": pytest.approx(1.1),
        "max_rel_diff": pytest.approx(1.1 / 4),
    }
    assert set(agreement(REGRESSION, outputs, reference)) == {"max_abs_diff", "max_rel_diff"}
    with pytest.raises(StepFailed, match="where the reference puts out"):
        agreement(LOGITS, outputs[:, :1], reference)
