from dataclasses import replace

import numpy as np
import pytest

from tasks.evaluation.bounds import tango
from tasks.evaluation.evidence import Evidence, Setting
from tasks.evaluation.gates import Gate
from tasks.evaluation.judge import judge, passes, undecided
from tasks.evaluation.latency import Samples
from tasks.evaluation.slices import slice_rows
from tasks.evaluation.task import Classification, Regression

TASK = Classification(kind="classification", output="logits")
ROWS = 2000
LABELS = np.arange(ROWS) % 4
SITES = np.where(np.arange(ROWS) < 400, "small", "big")


def _outputs(wrong_rows=()):
    """Logits of a model that is right everywhere but in the given rows."""
    predicted = LABELS.copy()
    predicted[list(wrong_rows)] = (predicted[list(wrong_rows)] + 1) % 4
    return 3.0 * np.eye(4)[predicted]


def _evidence(name, wrong_rows=(), **fields):
    return Evidence(name, f"digest of {name}", _outputs(wrong_rows), size_bytes=100, gzip_bytes=90, **fields)


def _samples(rounds=5, control=1.0, **ratios):
    """Contenders that are so many times faster than float32, with +-2 % between rounds."""
    wobble = [np.full((3, 4), 1 + 0.02 * (i % 3 - 1)) for i in range(rounds)]
    calls = {"float32": [np.full((3, 4), 1.0)] * rounds, "control": [np.full((3, 4), 1 / control)] * rounds}
    return Samples(calls_ms=calls | {name: [each / ratio for each in wobble] for name, ratio in ratios.items()})


def _setting(**fields):
    reference = _evidence("reference", range(0, 20))
    base = Setting(TASK, "cpu", LABELS, reference, _evidence("float32", range(0, 20)), samples=_samples(int8=1.3))
    return replace(base, slices=slice_rows({"site": SITES}), **fields)


def _one(gate, candidate, setting=None):
    (verdict,) = judge([Gate.model_validate(gate)], candidate, setting or _setting())
    return verdict


def test_a_drop_whose_bound_is_inside_passes():
    verdict = _one({"metric": "accuracy", "max_drop": 0.01}, _evidence("int8", range(2, 24)))
    assert verdict.status == "pass"
    assert verdict.measured == pytest.approx(2 / ROWS)
    assert verdict.interval == pytest.approx([float(end) for end in tango(4, 2, ROWS)])
    assert (verdict.n, verdict.allowed, verdict.confidence, verdict.against) == (ROWS, 0.01, 0.95, "reference")


def test_a_point_inside_whose_bound_is_outside_is_inconclusive_and_says_how_many_rows_would_do():
    verdict = _one({"metric": "accuracy", "max_drop": 0.01}, _evidence("int8", range(0, 38)))
    assert verdict.status == "inconclusive"
    assert "18 of 2000 rows differ" in verdict.reason and "test rows would decide" in verdict.reason


def test_a_point_outside_fails():
    assert _one({"metric": "accuracy", "max_drop": 0.01}, _evidence("int8", range(0, 60))).status == "fail"


def test_few_rows_never_pass_however_equal_the_models_are():
    rows = 20
    setting = replace(
        _setting(),
        labels=LABELS[:rows],
        reference=replace(_evidence("reference"), outputs=_outputs()[:rows]),
    )
    verdict = _one(
        {"metric": "accuracy", "max_drop": 0.01}, replace(_evidence("int8"), outputs=_outputs()[:rows]), setting
    )
    assert verdict.status == "inconclusive" and verdict.measured == 0


def test_the_accuracy_gate_passes_a_model_at_the_margin_at_most_one_time_in_twenty():
    rng = np.random.default_rng(0)
    n, lost, won = 540, 0.03, 0.01
    tables = rng.multinomial(n, [lost, won, 1 - lost - won], size=20_000)
    high = tango(tables[:, 0], tables[:, 1], n)[1]
    assert np.mean(high <= lost - won) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 20_000)
    assert np.mean((tables[:, 0] - tables[:, 1]) / n <= lost - won) > 0.4  # what the point estimate would pass


@pytest.mark.parametrize(
    ("gate", "status"),
    [
        ({"metric": "accuracy", "min": 0.97}, "pass"),
        ({"metric": "accuracy", "min": 0.985}, "inconclusive"),
        ({"metric": "accuracy", "min": 0.995}, "fail"),
        ({"metric": "accuracy", "max_drop_percent": 1}, "pass"),
        ({"metric": "accuracy", "max_drop_percent": 0.1}, "inconclusive"),
        ({"metric": "accuracy", "min_gain": 0.0}, "fail"),
        ({"metric": "macro_f1", "max_drop": 0.01}, "pass"),
        ({"metric": "macro_f1", "max_drop": 0.001}, "inconclusive"),
        ({"metric": "roc_auc", "max_drop": 0.01}, "pass"),
        ({"metric": "log_loss", "max_drop": 0.05}, "pass"),
        ({"metric": "log_loss", "max": 0.01}, "fail"),
        ({"metric": "agreement", "min": 0.99}, "pass"),
        ({"metric": "agreement", "min": 0.9999}, "fail"),
        ({"metric": "max_abs_diff", "max": 3.0}, "pass"),
        ({"metric": "max_rel_diff", "max": 0.9}, "fail"),
        ({"metric": "size_bytes", "max": 100}, "pass"),
        ({"metric": "gzip_bytes", "max_ratio": 0.9}, "fail"),
    ],
)
def test_every_kind_of_bound_is_judged(gate, status):
    assert _one(gate, _evidence("int8", range(0, 21))).status == status


def test_a_gain_is_turned_around():
    verdict = _one({"metric": "accuracy", "min_gain": 0.005}, _evidence("int8"))
    assert verdict.measured == pytest.approx(0.01) and verdict.status == "pass"


def test_a_loss_in_percent_is_of_the_partners_value():
    verdict = _one({"metric": "accuracy", "max_drop_percent": 5}, _evidence("int8", range(0, 40)))
    assert verdict.measured == pytest.approx(100 * 0.01 / 0.99)
    error = _one({"metric": "log_loss", "max_drop_percent": 500}, _evidence("int8", range(0, 40)))
    assert error.measured > 0 and error.interval[0] < error.measured < error.interval[1]


def test_a_metric_of_decisions_without_a_differing_row_is_no_surer_than_tango():
    verdict = _one({"metric": "macro_f1", "max_drop": 0.001}, _evidence("int8", range(0, 20)))
    assert verdict.measured == 0 and verdict.interval[1] == pytest.approx(tango(0, 0, ROWS)[1])
    assert verdict.status == "inconclusive"


def test_regression_is_judged_by_its_error():
    rng = np.random.default_rng(0)
    labels = rng.normal(size=500)
    outputs = labels + rng.normal(size=500) / 10
    setting = Setting(
        Regression(kind="regression"),
        "cpu",
        labels,
        Evidence("reference", "r", outputs),
        Evidence("float32", "f", outputs),
    )
    candidate = Evidence("int8", "i", outputs + rng.normal(size=500) / 100)
    assert _one({"metric": "rmse", "max_drop": 0.01}, candidate, setting).status == "pass"
    assert _one({"metric": "r2", "max_drop_percent": 1}, candidate, setting).status == "pass"
    assert _one({"metric": "mae", "max": 0.01}, candidate, setting).status == "fail"


def test_the_users_metric_is_judged_in_its_direction():
    functions = {"m.py:errors": lambda labels, outputs: float(np.mean(outputs.argmax(axis=1) != labels))}
    setting = _setting(functions=functions)
    gate = {"metric": "m.py:errors", "max_drop": 0.01, "higher_is_better": False}
    assert _one(gate, _evidence("int8", range(0, 22)), setting).status == "pass"
    worse = _one(gate, _evidence("int8", range(0, 60)), setting)
    assert worse.status == "fail" and worse.measured == pytest.approx(0.02)
    assert "was not given" in _one(gate, _evidence("int8"), _setting()).reason


def test_a_users_metric_that_raises_fails_its_gate_only():
    setting = _setting(functions={"m.py:f": lambda labels, outputs: 1 / 0})
    gates = [Gate(metric="m.py:f", min=0.5), Gate(metric="accuracy", min=0.9)]
    first, second = judge(gates, _evidence("int8"), setting)
    assert first.status == "fail" and "ZeroDivisionError" in first.reason
    assert second.status == "pass"


def test_a_gate_on_all_slices_gives_one_verdict_each():
    gate = Gate(metric="accuracy", max_drop=0.02, slices="all")
    candidate = _evidence("int8", [*range(0, 40)])  # 20 more errors, all in the small site
    big, small = judge([gate], candidate, _setting())
    assert (big.slice, big.status, big.n) == ("site=big", "pass", 1600)
    assert (small.slice, small.status, small.n) == ("site=small", "fail", 400)
    assert _one({"metric": "accuracy", "max_drop": 0.02}, candidate).status == "pass"


def test_slices_are_named_by_column_or_by_value():
    candidate = _evidence("int8", range(0, 20))
    by_column = judge([Gate(metric="accuracy", max_drop=0.02, slices=("site",))], candidate, _setting())
    by_value = judge([Gate(metric="accuracy", max_drop=0.02, slices=("site=small",))], candidate, _setting())
    assert [verdict.slice for verdict in by_column] == ["site=big", "site=small"]
    assert [verdict.slice for verdict in by_value] == ["site=small"]


def test_missing_evidence_fails():
    gone = Gate(metric="accuracy", max_drop=0.02, slices=("hospital",))
    assert "no slice 'hospital'" in judge([gone], _evidence("int8"), _setting())[0].reason
    every = Gate(metric="accuracy", max_drop=0.02, slices="all")
    unsliced = replace(_setting(), slices={})
    assert judge([every], _evidence("int8"), unsliced)[0].status == "fail"
    cases = [
        ({"metric": "top_5_accuracy", "min": 0.5}, _evidence("int8"), _setting(), "not defined"),
        ({"metric": "accuracy", "min": 0.5}, replace(_evidence("int8"), outputs=None), _setting(), "no predictions"),
        (
            {"metric": "accuracy", "min": 0.5},
            replace(_evidence("int8"), outputs=np.zeros((3, 4))),
            _setting(),
            "2000 test rows",
        ),
        ({"metric": "size_bytes", "max": 5}, replace(_evidence("int8"), size_bytes=None), _setting(), "not known"),
        ({"metric": "p50_ms", "max": 5}, _evidence("int8"), _setting(samples=None), "not measured"),
        ({"metric": "p50_ms", "max": 5}, _evidence("other"), _setting(), "no latency samples"),
        ({"metric": "load_ms", "max": 5}, _evidence("int8"), _setting(), "was not measured"),
        ({"metric": "accuracy", "min": 0.5}, _evidence("int8", failure="it crashed"), _setting(), "it crashed"),
    ]
    for gate, candidate, setting, reason in cases:
        verdict = _one(gate, candidate, setting)
        assert verdict.status == "fail" and reason in verdict.reason


def test_predictions_with_nan_fail_and_say_where():
    outputs = _outputs()
    outputs[7, 1] = np.nan
    for gate in ({"metric": "accuracy", "min": 0.5}, {"metric": "agreement", "min": 0.5}):
        verdict = _one(gate, replace(_evidence("int8"), outputs=outputs))
        assert verdict.status == "fail" and "first in row 7" in verdict.reason


CHAMPION = {"metric": "accuracy", "max_drop": 0.03, "against": "champion"}


def test_without_a_champion_its_gates_do_not_apply():
    verdict = _one(CHAMPION, _evidence("int8"))
    assert verdict.status == "not_applicable" and "First release" in verdict.reason
    assert passes([verdict])


def test_a_champion_that_cannot_be_loaded_fails():
    setting = _setting(champion=Evidence("champion", "c", failure="model.onnx is corrupt"))
    verdict = _one(CHAMPION, _evidence("int8"), setting)
    assert verdict.status == "fail" and "model.onnx is corrupt" in verdict.reason


def test_a_champion_is_compared_pairwise():
    setting = _setting(champion=_evidence("champion", range(0, 4)))
    assert _one(CHAMPION, _evidence("int8", range(0, 20)), setting).status == "pass"
    assert _one(CHAMPION, _evidence("int8", range(0, 100)), setting).status == "fail"


def test_the_champions_own_file_passes_every_gate_against_it():
    candidate = _evidence("int8", range(0, 20))
    setting = _setting(champion=replace(candidate, name="champion"), samples=None)
    for gate in (
        {"metric": "accuracy", "max_drop": 0.0, "against": "champion"},
        {"metric": "accuracy", "min_gain": 0.01, "against": "champion"},
        {"metric": "p50_ms", "min_speedup": 1.2, "against": "champion"},
    ):
        assert _one(gate, candidate, setting).status == "pass"


def test_float32_against_itself_is_as_good_but_not_better():
    itself = _setting().float32
    assert _one({"metric": "p50_ms", "min_speedup": 1.0}, itself).status == "pass"
    assert _one({"metric": "p50_ms", "max_ratio": 1.0}, itself).status == "pass"
    assert _one({"metric": "size_bytes", "max_ratio": 0.5}, itself).status == "fail"
    assert _one({"metric": "p50_ms", "min_speedup": 1.2}, itself).status == "fail"


@pytest.mark.parametrize(
    ("ratio", "demanded", "status"),
    [
        (1.3, 1.0, "pass"),
        (1.03, 1.0, "pass"),  # [1.01, 1.05]: not slower is no claim to be faster
        (1.01, 1.0, "inconclusive"),  # [0.99, 1.03]
        (0.97, 1.0, "inconclusive"),  # [0.95, 0.99]: slower by less than 5 % is no claim either
        (0.8, 1.0, "fail"),
        (1.045, 1.02, "inconclusive"),  # a claim to be faster, by less than 5 %
        (1.3, 1.2, "pass"),
        (1.17, 1.2, "inconclusive"),
        (1.1, 1.2, "fail"),
    ],
)
def test_speed_ups_are_judged_over_rounds_with_no_claim_under_five_percent(ratio, demanded, status):
    setting = _setting(samples=_samples(int8=ratio))
    assert _one({"metric": "p50_ms", "min_speedup": demanded}, _evidence("int8"), setting).status == status
    upside_down = _one({"metric": "p50_ms", "max_ratio": 1 / demanded}, _evidence("int8"), setting)
    assert upside_down.status == status
    assert upside_down.measured == pytest.approx(1 / ratio, rel=0.001)


def test_a_control_that_is_off_makes_latency_inconclusive_and_nothing_else():
    setting = _setting(samples=_samples(int8=1.3, control=1.07))
    noisy = _one({"metric": "p50_ms", "min_speedup": 1.0}, _evidence("int8"), setting)
    assert noisy.status == "inconclusive" and "A/A control" in noisy.reason
    assert _one({"metric": "p99_ms", "max": 0.0001}, _evidence("int8"), setting).status == "inconclusive"
    assert _one({"metric": "accuracy", "min": 0.9}, _evidence("int8"), setting).status == "pass"


def test_an_absolute_limit_needs_enough_calls():
    few = _one({"metric": "p99_ms", "max": 5.0}, _evidence("int8"))
    assert few.status == "inconclusive" and few.interval is None and few.n == 60
    calls = {name: [np.full((10, 10), 1.0)] * 5 for name in ("float32", "control", "int8")}
    slow = calls["int8"][0].copy()
    slow[0, 0] = 9.0
    enough = _setting(samples=Samples(calls_ms=calls | {"int8": [slow, *calls["int8"][1:]]}))
    assert _one({"metric": "p99_ms", "max": 5.0}, _evidence("int8"), enough).status == "pass"  # 500 calls, one over
    assert (
        _one({"metric": "p99_ms", "max": 5.0, "confidence": 0.99}, _evidence("int8"), enough).status == "inconclusive"
    )
    assert _one({"metric": "p99_ms", "max": 0.5}, _evidence("int8"), enough).status == "fail"


def test_memory_is_judged_as_a_ratio():
    samples = replace(_samples(int8=1.3), peak_memory_bytes={"int8": [50.0] * 5, "float32": [100.0] * 5})
    verdict = _one({"metric": "peak_memory_bytes", "max_ratio": 0.6}, _evidence("int8"), _setting(samples=samples))
    assert verdict.status == "pass" and verdict.measured == 0.5


def test_gates_of_other_targets_are_not_asked():
    assert judge([Gate(metric="accuracy", min=1.0, targets=("gpu",))], _evidence("int8"), _setting()) == []


NOT_SLOWER = [Gate(metric="p50_ms", min_speedup=1.0)]


@pytest.mark.parametrize(
    ("samples", "more"),
    [
        (_samples(rounds=4, int8=1.3), True),
        (_samples(int8=1.3), False),
        (_samples(int8=0.8), False),
        (_samples(int8=1.01), True),
        (_samples(rounds=10, int8=1.005), True),
        (_samples(rounds=15, int8=1.005), False),
        (_samples(int8=1.3, control=1.2), True),
    ],
)
def test_rounds_are_added_while_an_interval_straddles_a_gate(samples, more):
    assert undecided(NOT_SLOWER, samples, "cpu") == more


def test_the_same_file_and_other_targets_ask_for_no_rounds():
    samples = _samples(int8=1.01)
    assert not undecided(NOT_SLOWER, samples, "cpu", {"int8": "d", "float32": "d"})
    assert not undecided([Gate(metric="p50_ms", min_speedup=1.0, targets=("gpu",))], samples, "cpu")


def test_a_noisy_control_adds_rounds_only_where_something_is_judged_or_chosen_by_them():
    alone = _samples(control=1.2)
    assert not undecided(NOT_SLOWER, alone, "cpu")
    assert undecided(NOT_SLOWER, _samples(rounds=4, control=1.2), "cpu")
    assert undecided([*NOT_SLOWER, Gate(metric="p99_ms", max=2.0)], alone, "cpu")
    assert undecided([], _samples(control=1.2, int8=1.3), "cpu")
