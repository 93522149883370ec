"""The configs that ship with their data promote from a fresh clone: a table of words and numbers, and a regression."""

import pytest

from tests.flows.installation import ROOT

pytestmark = pytest.mark.slow("another model")


@pytest.mark.parametrize(("name", "metric"), [("diabetes", "rmse"), ("breast_cancer", "roc_auc")])
def test_a_shipped_config_promotes_a_smaller_model(name, metric, installation):
    answer = installation.run("release", str(ROOT / "configs" / f"{name}.yaml"))

    assert answer.code == 0, answer.log
    assert (answer.json["version"], answer.json["promoted"]) == (1, True)
    rows = {row["name"]: row for row in answer.json["candidates"]}
    assert {row["outcome"] for row in rows.values()} == {"pass"}
    assert all(row["metrics"][metric] is not None for row in rows.values())
    (winner,) = answer.json["winners"].values()
    assert rows["float32"]["size_bytes"] > 2 * rows[winner]["size_bytes"]
