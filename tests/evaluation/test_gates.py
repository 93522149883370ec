import pytest
from pydantic import ValidationError

from tasks.evaluation.gates import Gate, check_gates, metric_functions
from tasks.evaluation.task import Classification, Regression
from tasks.foundations.errors import InputError

CLASSIFICATION = Classification(kind="classification", output="logits")
REGRESSION = Regression(kind="regression")


@pytest.mark.parametrize(
    ("fields", "partner", "phrase"),
    [
        ({"metric": "accuracy", "max_drop": 0.01}, "reference", "accuracy max_drop 0.01 against reference"),
        (
            {"metric": "accuracy", "max_drop": 0.03, "against": "champion"},
            "champion",
            "accuracy max_drop 0.03 against champion",
        ),
        ({"metric": "p50_ms", "min_speedup": 1.0}, "float32", "p50_ms min_speedup 1 against float32"),
        ({"metric": "p99_ms", "max": 0.5, "targets": ["cpu"]}, None, "p99_ms max 0.5"),
        ({"metric": "size_bytes", "max_ratio": 0.3}, "float32", "size_bytes max_ratio 0.3 against float32"),
        ({"metric": "cost_per_million", "max_ratio": 0.7}, "float32", "cost_per_million max_ratio 0.7 against float32"),
        ({"metric": "agreement", "min": 0.99}, "reference", "agreement min 0.99 against reference"),
        ({"metric": "digits.py:cost", "max": 2, "higher_is_better": False}, None, "digits.py:cost max 2"),
        (
            {"metric": "top_3_accuracy", "min_gain": 0.0, "slices": "all"},
            "reference",
            "top_3_accuracy min_gain 0 against reference",
        ),
    ],
)
def test_a_gate_knows_its_partner_and_its_phrase(fields, partner, phrase):
    gate = Gate.model_validate(fields)
    assert gate.partner == partner
    assert gate.describe() == phrase


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"metric": "acuracy", "max_drop": 0.01}, "Did you mean accuracy"),
        ({"metric": "xyzzy", "max": 1}, "Known: accuracy, macro_f1"),
        ({"metric": "accuracy"}, "exactly one of .* has none"),
        ({"metric": "accuracy", "min": 0.9, "max_drop": 0.1}, "has min, max_drop"),
        (
            {"metric": "accuracy", "min_speedup": 1.0},
            "min_speedup is not a bound of accuracy. Use one of min, max_drop",
        ),
        ({"metric": "throughput_per_s", "max_drop_percent": 5}, "is not a bound of throughput_per_s. Use one of min, "),
        ({"metric": "mae", "max_ratio": 1.1}, "max_ratio is not a bound of mae. Use one of max, max_drop"),
        ({"metric": "accuracy", "min": 95}, r"accuracy is a share from 0 to 1. Did you mean 0.95\?"),
        ({"metric": "top_5_accuracy", "max_drop": 2}, r"top_5_accuracy is a share .* Did you mean 0.02\?"),
        ({"metric": "macro_f1", "min": -0.5}, "macro_f1 is a share from 0 to 1. Got -0.5"),
        ({"metric": "roc_auc", "min_gain": 500}, "roc_auc is a share from 0 to 1. Got 500"),
        ({"metric": "agreement", "min": 99.5}, r"agreement is a share from 0 to 1. Did you mean 0.995\?"),
        ({"metric": "accuracy", "max_drop_percent": 101}, "accuracy cannot lose more than 100 percent. Got 101"),
        ({"metric": "accuracy", "max": 0.9}, "better when higher. Use one of min, max_drop"),
        ({"metric": "log_loss", "min": 0.9}, "better when lower. Use one of max, max_drop"),
        ({"metric": "p50_ms", "max_drop": 1}, "Use one of max, min_speedup, max_ratio"),
        ({"metric": "throughput_per_s", "max": 1}, "Use one of min, min_speedup"),
        ({"metric": "cost_per_million", "min": 1}, "better when lower. Use one of max, max_ratio"),
        ({"metric": "digits.py:cost", "min": 1, "higher_is_better": False}, "better when lower"),
        ({"metric": "accuracy", "max_drop": -0.01}, "greater than or equal to 0"),
        ({"metric": "p50_ms", "min_speedup": 0}, "greater than 0"),
        ({"metric": "accuracy", "min": 0.9, "against": "champion"}, "compares with nothing"),
        ({"metric": "p50_ms", "min_speedup": 1, "against": "reference"}, "reference is not measured"),
        ({"metric": "agreement", "min": 0.9, "against": "champion"}, "always with the reference"),
        ({"metric": "accuracy", "min": 0.9, "higher_is_better": True}, "for your own metric functions"),
        ({"metric": "p50_ms", "max": 1, "slices": "all"}, "p50_ms has none"),
        ({"metric": "accuracy", "min": 0.9, "slices": []}, "empty list"),
        ({"metric": "accuracy", "min": 0.9, "confidence": 1.0}, "less than 1"),
        ({"metric": "accuracy", "min": 0.9, "max_dorp": 1}, "max_dorp"),
    ],
)
def test_a_gate_that_makes_no_sense_is_refused_with_a_sentence(fields, sentence):
    with pytest.raises(ValidationError, match=sentence):
        Gate.model_validate(fields)


@pytest.mark.parametrize(
    ("fields", "task", "sentence"),
    [
        (
            {"metric": "rmse", "max": 1},
            CLASSIFICATION,
            r"gates\[0\] \(rmse max 1\): rmse is no metric of this classification",
        ),
        ({"metric": "accuracy", "min": 0.9}, REGRESSION, "It has: mae, rmse, r2"),
        ({"metric": "top_3_accuracy", "min": 0.9}, CLASSIFICATION, "top_5_accuracy"),
        ({"metric": "agreement", "min": 0.9}, REGRESSION, "agreement needs classes"),
        (
            {"metric": "p50_ms", "max": 1, "targets": ["gpu"]},
            CLASSIFICATION,
            "no target 'gpu'. Did you mean cpu",
        ),
    ],
)
def test_a_gate_that_does_not_fit_the_config_is_refused(fields, task, sentence):
    with pytest.raises(InputError, match=sentence):
        check_gates([Gate.model_validate(fields)], task, ["tfs", "cpu"])


def test_fitting_gates_are_accepted_and_name_the_users_functions_once():
    gates = [
        Gate(metric="m.py:f", min=0.5),
        Gate(metric="m.py:f", max_drop=0.1, slices="all"),
        Gate(metric="accuracy", max_drop=0.1),
    ]
    check_gates(gates, CLASSIFICATION, ["cpu"])
    assert metric_functions(gates) == ["m.py:f"]


@pytest.mark.parametrize(
    "fields",
    [
        {"metric": "accuracy", "min": 1},
        {"metric": "accuracy", "max_drop": 0},
        {"metric": "accuracy", "max_drop_percent": 100},
        {"metric": "rmse", "max_drop": 12},
        {"metric": "rmse", "max_drop_percent": 150},
        {"metric": "r2", "min": -1},
        {"metric": "digits.py:cost", "min": 95},
    ],
)
def test_a_bound_at_the_edge_or_of_a_figure_without_edges_is_accepted(fields):
    assert Gate.model_validate(fields)


def test_a_gate_written_out_reads_back_the_same():
    gate = Gate(metric="accuracy", max_drop=0.1, slices=("site",), targets=("cpu",))
    assert Gate.model_validate_json(gate.model_dump_json()) == gate
