"""Which hardware is recommended, and that every place says the same of it."""

import json

import pytest

from tasks.reports import figures, html, markdown, terminal
from tasks.reports.costs import recommend, sentence
from tasks.reports.summary import ReleaseSummary

SAID = "Cheapest hardware: int8 on cpu, 0.16 per million predictions, 73 % cheaper than float32 on tfs (0.6)."


def with_rows(summary, rows):
    return summary.model_copy(update={"rows": tuple(rows), "recommendation": recommend(rows)})


def test_the_cheapest_that_passed_every_gate_is_recommended_beside_the_next_target(with_costs):
    found = with_costs.recommendation  # int8_dynamic is cheaper, and was refused

    assert (found.candidate, found.target, found.cost_per_million) == ("int8", "cpu", 0.16)
    assert (found.next.candidate, found.next.target) == ("float32", "tfs")
    assert round(found.saving, 3) == 0.733
    assert sentence(with_costs) == SAID


def test_nothing_is_recommended_where_no_target_has_a_cost_or_nothing_passed(summary, with_costs):
    refused = [row.model_copy(update={"outcome": "fail"}) for row in with_costs.rows]

    assert recommend(summary.rows) is None and sentence(summary) == ""
    assert recommend(refused) is None
    assert "cost" not in terminal.as_text(summary)
    assert "Cost" not in html.render(summary)
    assert summary.to_json()["recommendation"] is None


def test_less_than_five_percent_is_no_saving(with_costs):
    rows = [
        row.model_copy(update={"cost_per_million": 0.167}) if row.target == "tfs" and row.passed else row
        for row in with_costs.rows
    ]

    assert "0.16 per million predictions, within 5 % of float32 on tfs (0.167)." in sentence(
        with_rows(with_costs, rows)
    )


@pytest.mark.parametrize("interval", [(0.15, 0.6), None])
def test_a_saving_that_the_rounds_do_not_show_is_no_promise(with_costs, interval):
    rows = [
        row.model_copy(update={"cost_interval": interval}) if (row.name, row.target) == ("int8", "cpu") else row
        for row in with_costs.rows
    ]

    said = sentence(with_rows(with_costs, rows))

    assert said.endswith("than float32 on tfs (0.6) (their intervals overlap: measure again before you rely on it).")


def test_targets_without_a_price_and_noisy_ones_are_named(with_costs):
    cpu, tfs = with_costs.targets["cpu"], with_costs.targets["tfs"]
    targets = {
        "cpu": cpu.model_copy(update={"control_ok": False}),
        "tfs": tfs.model_copy(update={"settings": {"runtime": "tensorflow"}}),
    }
    rows = [
        row.model_copy(update={"cost_per_million": None}) if row.target == "tfs" else row for row in with_costs.rows
    ]

    said = sentence(with_rows(with_costs.model_copy(update={"targets": targets}), rows))

    assert said == (
        "Cheapest hardware: int8 on cpu, 0.16 per million predictions. cpu was too noisy to measure (its A/A control "
        "is off): release again first. Not compared, for want of a cost_per_hour: tfs."
    )


def test_every_place_shows_the_costs_and_the_recommendation(with_costs, tmp_path):
    page, text = html.render(with_costs), terminal.as_text(with_costs)
    answer = json.loads(json.dumps(with_costs.to_json()))

    assert page.index(SAID) < page.index('<div class="cards">') and "Cost per million" in page
    assert SAID in " ".join(text.replace("\u2022", " ").split())
    header, line = (
        next(each for each in text.splitlines() if each.startswith(name)) for name in ("candidate", "int8 ")
    )
    assert header.split()[-2] == "cost/M" and "  0.16  " in line
    assert markdown.escape(SAID) in markdown.gate_report(with_costs)
    assert answer["recommendation"]["candidate"] == "int8" and answer["recommendation"]["next"]["target"] == "tfs"
    assert {row["cost_per_million"] for row in answer["candidates"]} == {0.22, 0.16, 0.01, 0.24, 0.6, None}
    assert figures.metrics_of(with_costs)["cpu/int8/cost_per_million"] == 0.16
    assert ReleaseSummary.read(with_costs.write(tmp_path)).recommendation == with_costs.recommendation
