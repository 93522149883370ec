import json
import math

import pytest

from tasks.foundations.errors import InputError
from tasks.reports.summary import CandidateRow, ReleaseSummary


def test_a_summary_comes_back_equal_from_its_file(any_case, tmp_path):
    any_case.write(tmp_path)

    assert ReleaseSummary.read(tmp_path) == any_case
    assert [path.name for path in tmp_path.iterdir()] == ["release.json"]


def test_the_json_output_holds_every_promised_key(summary):
    answer = json.loads(json.dumps(summary.to_json(), allow_nan=False))

    assert {"model", "version", "promoted", "exit_code", "winners", "candidates", "decision", "report"} <= set(answer)
    promised = {"name", "target", "passed", "reason", "accuracy", "accuracy_drop", "p50_ms", "p99_ms", "speedup_p50"}
    promised |= {"size_bytes", "gzip_bytes"}
    assert all(promised <= set(candidate) for candidate in answer["candidates"])
    assert [(c["name"], c["target"], c["passed"]) for c in answer["candidates"]][:2] == [
        ("float32", "cpu", True),
        ("int8", "cpu", True),
    ]
    assert len(answer["candidates"]) == 8


def test_figures_that_are_not_numbers_become_missing_instead_of_costing_the_report():
    row = CandidateRow(
        name="a", target="cpu", outcome="fail", p50_ms=math.nan, metrics={"log_loss": math.inf, "accuracy": 0.5}
    )

    assert row.p50_ms is None
    assert row.metrics == {"log_loss": None, "accuracy": 0.5}


def test_a_file_that_is_no_release_says_so(tmp_path):
    (tmp_path / "release.json").write_text('{"model": 3}')

    with pytest.raises(InputError, match="not a release summary"):
        ReleaseSummary.read(tmp_path)
    with pytest.raises(InputError, match="There is no"):
        ReleaseSummary.read(tmp_path / "other")


def test_size_is_compared_with_float32_on_the_same_target(summary):
    int8 = next(row for row in summary.rows_of("cpu") if row.name == "int8")
    tfs = summary.baseline("tfs")

    assert summary.size_ratio(int8) == pytest.approx(164_110 / 594_600)
    assert tfs is not None and summary.size_ratio(tfs) == 1.0
