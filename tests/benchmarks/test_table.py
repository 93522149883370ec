"""The table's own code; what the benchmarks measure depends on the machine and is no claim of the test suite."""

import json

import pytest

from tests.benchmarks.table import Row, as_text


@pytest.mark.parametrize(
    ("row", "ok"),
    [
        (Row("r", 1.2, at_most=1.25), True),
        (Row("r", 1.3, at_most=1.25), False),
        (Row("r", 1.1, at_least=1.15), False),
        (Row("r", 1.15, at_least=1.15), True),
        (Row("r", float("nan"), at_most=2), False),
        (Row("r", 7), True),
    ],
)
def test_a_row_holds_where_its_figure_is_on_the_allowed_side(row, ok):
    assert row.ok is ok
    assert json.loads(json.dumps(row.to_json(), allow_nan=False))["ok"] is ok


def test_a_missed_row_is_seen_and_one_without_limit_is_not_judged():
    text = as_text("speed", [Row("ratio", 2.0, at_most=1.25, note="of two"), Row("seconds", 1234.5)])

    assert text.splitlines()[1].split() == ["ratio", "2", "<=", "1.25", "MISSED", "of", "two"]
    assert text.splitlines()[2].split() == ["seconds", "1,234"]
