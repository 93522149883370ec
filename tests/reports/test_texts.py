import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tasks.evaluation.gates import BOUNDS, Gate
from tasks.evaluation.verdict import Verdict
from tasks.reports import figures, format, markdown, reasons, tables
from tasks.reports.limits import limit_lines

PARTNERS = {
    "reference": {"accuracy": 0.98},
    "float32": {"p50_ms": 1.0, "p99_ms": 2.0},
    "champion": {"accuracy": 0.95},
}


def test_markdown_shows_the_decision_every_candidate_and_why_not(any_case):
    text = markdown.gate_report(any_case)

    assert markdown.escape(any_case.decision) in text
    assert all(markdown.escape(row.name) in text for row in any_case.rows)
    assert len(text) < 40_000


def test_hostile_names_do_not_break_the_markdown_table(summary):
    rows = tuple(row.model_copy(update={"name": "a|b\n<script>`x`"}) for row in summary.rows)

    text = markdown.gate_report(summary.model_copy(update={"rows": rows}))

    lines = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(lines) == 1 + len(rows)
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {11}
    assert not re.search(r"(?<!\\)<script", text)


def test_table_rows_have_the_same_columns(any_case):
    assert len({tuple(row) for row in markdown.table_rows(any_case)}) <= 1


def test_every_metric_name_is_one_that_mlflow_takes(any_case):
    rows = tuple(
        row.model_copy(
            update={"slices": {"site=a b\u00e9/../x": {"accuracy": 1.0}, "site\u00eca b\u00e9/../x": {"accuracy": 0.5}}}
        )
        for row in any_case.rows
    )

    found = figures.metrics_of(any_case.model_copy(update={"rows": rows}))

    assert all(re.fullmatch(r"[A-Za-z0-9_\-. :/]{1,250}", name) and ".." not in name.split("/") for name in found)
    assert all(math.isfinite(value) for value in found.values())
    assert sum("/slice/" in name for name in found) == 2 * len(rows)


def test_mlflow_gets_the_same_figures_as_the_table(summary):
    found = figures.metrics_of(summary)

    assert found["cpu/int8/p50_ms"] == 0.0158
    assert found["cpu/int8/accuracy"] == 0.9822
    assert found["cpu/int8/winner"] == 1.0 and found["cpu/float16/passed"] == 0.0
    assert found["cpu/int8/slice/writer_clerk/accuracy"] == pytest.approx(0.9862)
    assert "tfs/int8/p50_ms" not in found
    assert figures.candidate_metrics(summary, "int8")["cpu/p50_ms"] == 0.0158
    assert found["stage/compress/seconds"] == pytest.approx(3.6)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.01578, "0.0158"), (0.4123, "0.412"), (1.2345, "1.23"), (12.34, "12.3"), (123.4, "123"), (None, "\u2013")],
)
def test_milliseconds_have_three_significant_digits(value, expected):
    assert format.milliseconds(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, "0\u00a0B"),
        (999, "999\u00a0B"),
        (164_110, "164\u00a0kB"),
        (7_490_000, "7.5\u00a0MB"),
        (999_600, "1.0\u00a0MB"),
    ],
)
def test_sizes_are_decimal(value, expected):
    assert format.size(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"), [(0.04, "0.04\u00a0s"), (59.96, "1\u00a0min 00\u00a0s"), (3725, "1\u00a0h 02\u00a0min")]
)
def test_times_are_readable(value, expected):
    assert format.seconds(value) == expected


@given(st.floats(-1e12, 1e12))
def test_a_number_is_never_off_by_more_than_its_last_shown_digit(value):
    shown = float(format.number(value).replace("\u2212", "-"))

    assert shown == pytest.approx(value, rel=0.006, abs=1e-12)


def test_a_drop_is_shown_with_the_sign_that_the_reader_expects():
    assert format.drop(0.0019, "accuracy") == "\u22120.19"
    assert format.drop(-0.002, "accuracy") == "+0.20"
    assert format.drop(0.3, "rmse") == "0.3 worse"


def test_the_gate_matrix_shows_the_slice_that_decides(summary):
    def verdict(part: str, status: str) -> Verdict:
        return Verdict(gate="g", metric="accuracy", slice=part, status=status, measured=0.1, reason=part)

    verdicts = (verdict("a=1", "pass"), verdict("a=2", "fail"), verdict("a=3", "inconclusive"))
    row = summary.rows[0].model_copy(update={"verdicts": verdicts, "outcome": "fail"})

    matrix = tables.gate_matrix(summary.model_copy(update={"rows": (row,)}), "cpu")

    assert matrix is not None
    ((_, (cell,)),) = matrix.rows
    assert cell.verdict is verdicts[1] and (cell.total, cell.not_passed) == (3, 2)
    assert reasons.short_reason(row) == "accuracy a=2"


@pytest.mark.parametrize(
    ("gate", "status", "slices", "decides"),
    [
        ("accuracy max_drop 0.1", "pass", [(0.0, 0.02), (0.01, 0.09), (0.0, 0.05)], 1),
        ("accuracy min 0.9", "pass", [(0.98, 0.99), (0.95, 0.99), (0.91, 0.99)], 2),
        ("accuracy min 0.9", "inconclusive", [(0.89, 0.99), (0.7, 0.99), None], 2),
        ("accuracy max_drop 0.1", "fail", [(0.12, 0.2), (0.1, 0.9)], 1),
        ("accuracy max_drop 0.1", "pass", [(0.0, 0.05), (0.0, 0.05)], 0),
    ],
)
def test_of_slices_with_one_status_the_one_nearest_to_the_limit_decides(gate, status, slices, decides):
    limit = 0.9 if " min " in gate else 0.1
    verdicts = [
        Verdict(
            gate=f"{gate} on a={number}",
            metric="accuracy",
            slice=f"a={number}",
            status=status,
            allowed=limit,
            measured=sum(interval) / 2 if interval else 0.95,
            interval=interval,
            reason="",
        )
        for number, interval in enumerate(slices)
    ]

    assert reasons.worst(verdicts) is verdicts[decides]


def test_a_slice_that_could_not_be_judged_decides_before_one_that_failed():
    failed = Verdict(gate="g", metric="accuracy", status="fail", measured=0.5, allowed=0.1, reason="")
    missing = Verdict(gate="g", metric="accuracy", status="fail", reason="no such slice")

    assert reasons.worst([failed, missing]) is missing


def test_slices_are_coloured_by_their_drop_against_the_reference(summary):
    table = tables.heat_table(summary, "cpu", "classes")

    assert table is not None
    shades = {row.name: [cell.shade for cell in row.cells] for row in table.rows}
    assert shades["reference"] == [0] * 10
    assert shades["int8"][8] == -3 and min(shades["int8"][:8]) == 0


def test_lower_is_better_slices_are_worse_when_higher(regression_pair):
    base = regression_pair.rows[0]
    worse = base.model_copy(update={"name": "worse", "slices": {"site=north": {"rmse": 0.6, "n": 40}}})

    table = tables.heat_table(regression_pair.model_copy(update={"rows": (base, worse)}), "edge", "slices")

    assert table is not None
    assert [row.cells[0].shade for row in table.rows] == [0, -4]


def test_no_winner_names_the_gate_that_stopped_most(nothing_passed):
    assert "p50_ms min_speedup 1.0 against float32 (2 of 4)" in reasons.why(nothing_passed, "cpu")


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({}, "Promoted"),
        ({"promoted": False}, "Waiting"),
        ({"promoted": False, "version": None}, "Unchanged"),
        ({"promoted": False, "version": 2, "previous": 2}, "Unchanged"),
        ({"promoted": False, "exit_code": 3}, "Refused"),
        ({"promoted": False, "exit_code": 4}, "Inconclusive"),
        ({"promoted": False, "exit_code": 1}, "Failed"),
        ({"promoted": False, "exit_code": 130}, "Interrupted"),
    ],
)
def test_the_release_is_told_in_one_word(summary, change, word):
    assert reasons.state(summary.model_copy(update=change)).word == word


def test_slices_of_one_gate_are_one_column_of_the_matrix(summary):
    def verdict(part: str, status: str) -> Verdict:
        return Verdict(gate=f"accuracy min 0.9 on {part}", metric="accuracy", slice=part, status=status, reason=part)

    row = summary.rows[0].model_copy(update={"verdicts": (verdict("a=1", "pass"), verdict("a=2", "fail"))})

    matrix = tables.gate_matrix(summary.model_copy(update={"rows": (row,)}), "cpu")

    assert matrix is not None and matrix.gates == ("accuracy min 0.9",)


def test_the_choices_own_reason_leads(summary):
    target = summary.targets["cpu"].model_copy(update={"reason": "int8 is within 5 % and smaller."})

    said = reasons.why(summary.model_copy(update={"targets": {"cpu": target}}), "cpu")

    assert said.startswith("int8 is within 5 % and smaller. It is 1.39")


@pytest.mark.parametrize(
    ("gate", "expected"),
    [
        ({"metric": "accuracy", "max_drop": 0.01}, 0.97),
        ({"metric": "accuracy", "max_drop_percent": 10}, 0.882),
        ({"metric": "accuracy", "min_gain": 0.01, "against": "champion"}, 0.96),
        ({"metric": "accuracy", "min": 0.9}, 0.9),
        ({"metric": "p50_ms", "min_speedup": 2.0}, 0.5),
        ({"metric": "p99_ms", "max_ratio": 1.5}, 3.0),
        ({"metric": "p99_ms", "max": 0.5}, 0.5),
    ],
)
def test_a_bound_becomes_the_value_that_it_allows(gate, expected):
    (line,) = limit_lines([Gate.model_validate(gate)], "cpu", "accuracy", PARTNERS)

    assert line.value == pytest.approx(expected)


def test_an_error_metric_gets_a_ceiling():
    (line,) = limit_lines([Gate(metric="rmse", max_drop=0.1)], "cpu", "rmse", {"reference": {"rmse": 0.4}})

    assert line.value == pytest.approx(0.5)


@given(
    bound=st.sampled_from(BOUNDS),
    metric=st.sampled_from(("accuracy", "log_loss", "rmse", "p50_ms", "f.py:cost")),
    allowed=st.sampled_from((0.0, 5e-324, 1e-300, 1e-9, 1.0)),
    base=st.sampled_from((None, 0.0, 5e-324, 0.98, 1e300)),
)
def test_no_bound_however_small_costs_the_report(bound, metric, allowed, base):
    try:
        gate = Gate.model_validate({"metric": metric, bound: allowed})
    except ValidationError:
        return

    lines = limit_lines([gate], "cpu", metric, {gate.partner or "": {metric: base}})

    assert all(math.isfinite(line.value) for line in lines)


@pytest.mark.parametrize("bound", ["max_drop", "max_drop_percent", "min_gain"])
def test_a_bound_of_0_is_a_line_at_the_others_value(bound):
    (line,) = limit_lines([Gate.model_validate({"metric": "accuracy", bound: 0})], "cpu", "accuracy", PARTNERS)

    assert line.value == 0.98


def test_gates_without_a_place_on_the_plot_have_no_line():
    gates = [
        Gate(metric="accuracy", max_drop=0.01, against="champion"),
        Gate(metric="accuracy", min=0.5, slices="all"),
        Gate(metric="size_bytes", max=5),
        Gate(metric="accuracy", min=0.5, targets=("other",)),
    ]

    assert limit_lines(gates, "cpu", "accuracy", {"reference": {"accuracy": 0.9}}) == ()


@pytest.mark.parametrize(
    ("point", "interval", "said"),
    [
        (1.58, (1.5, 1.6), "It is 1.58\u00d7 faster than float32"),
        (0.5, (0.4, 0.6), "It is 2.00\u00d7 slower than float32"),
        (1.04, (1.03, 1.05), "It is as fast as float32"),
        (1.2, (0.9, 1.5), "It is not shown to be faster or slower than float32"),
        (0.77, (0.76, 1.24), "It is not shown to be faster or slower than float32"),
        (1.2, None, "It is not shown to be faster or slower than float32"),
    ],
)
def test_no_difference_in_speed_is_claimed_under_5_percent_or_without_an_interval(summary, point, interval, said):
    change = {"speedup_p50": point, "speedup_interval": interval}
    rows = tuple(row.model_copy(update=change) if row.winner else row for row in summary.rows)

    assert said in reasons.why(summary.model_copy(update={"rows": rows}), "cpu")


@pytest.mark.parametrize(
    ("metric", "shown"),
    [
        ("exact_match", "41.00 %"),
        ("hamming_accuracy", "41.00 %"),
        ("micro_f1", "41.00 %"),
        ("f1", "41.00 %"),
        ("log_loss", "0.41"),
        ("own.py:token_accuracy", "0.41"),
    ],
)
def test_shares_are_percent_and_a_metric_of_the_users_own_is_left_as_it_is(metric, shown):
    assert format.quality(0.41, metric).replace("\u202f", " ") == shown
    assert (
        format.metric_name("own.py:token_accuracy") == "token_accuracy" and format.metric_name("macro_f1") == "macro_f1"
    )
