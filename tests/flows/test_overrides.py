"""Values that one run changes: they are held to the config's own limits, and every change is said."""

import json
from pathlib import Path

import pytest
import yaml

from flows.config import Plan, load
from flows.overrides import overridden
from tasks.foundations.errors import InputError
from tests.flows.installation import Installation
from tests.flows.test_config import CODE, GOOD


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    (tmp_path / "tiny.py").write_text(CODE)
    (tmp_path / "tiny.yaml").write_text(GOOD)
    return load(tmp_path / "tiny.yaml")


def test_what_is_left_out_stays_as_the_config_says(plan: Plan):
    assert overridden(plan, {"seed": None, "epochs": None}) == (plan, [])


def test_values_go_where_they_belong_and_are_said(plan: Plan):
    changed, notes = overridden(plan, {"seed": 3, "epochs": 2, "workers": 1, "step_timeout_s": 9.5})

    assert changed.config == plan.config.model_copy(
        update={
            "seed": 3,
            "execution": plan.config.execution.model_copy(update={"workers": 1, "step_timeout_s": 9.5}),
        }
    )
    assert notes == [  # the config's epochs are 2 already
        "seed is 3 for this run; the config says 0",
        "workers is 1 for this run; the config says nothing",
        "step_timeout_s is 9.5 for this run; the config says 3600",
    ]


def test_the_limits_of_the_config_hold(plan: Plan):
    with pytest.raises(InputError, match="training.epochs: Input should be greater than or equal to 1"):
        overridden(plan, {"epochs": 0})


def test_a_value_that_contradicts_the_rest_of_the_config_is_refused(plan: Plan):
    rising = {"kind": "cosine", "initial": 0.01, "warmup_epochs": 1.5}
    content = yaml.safe_load(GOOD)
    content["training"]["optimizer"]["learning_rate"] = rising
    Path(plan.path).write_text(yaml.safe_dump(content))

    with pytest.raises(InputError, match="the learning rate rises for 1.5"):
        overridden(load(plan.path), {"epochs": 1})


def test_a_value_that_the_config_has_no_place_for_is_refused(tmp_path: Path):
    content = yaml.safe_load(GOOD) | {"model": {"kind": "registered", "name": "other", "version": 1}}
    del content["training"]
    (tmp_path / "tiny.py").write_text(CODE)
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(content))

    with pytest.raises(InputError, match="epochs cannot be given: tiny has no section `training`"):
        overridden(load(tmp_path / "tiny.yaml"), {"epochs": 3})


def test_a_dry_run_of_a_release_starts_nothing(new_installation: Installation):
    answer = new_installation.run("release", new_installation.config(), "--dry-run", "--no-promote", "--seed", "3")

    assert answer.code == 0 and answer.json["dry_run"] and not answer.json["promote"]
    assert (answer.json["previous"], answer.json["candidates"]) == (None, ["float32", "int8"])
    left = {str(path.relative_to(new_installation.home)) for path in new_installation.home.rglob("*") if path.is_file()}
    assert left <= {"journal.db"}, left


def test_a_wrong_override_is_bad_usage(new_installation: Installation):
    answer = new_installation.run("release", new_installation.config(), "--epochs", "0")

    assert answer.code == 2 and "epochs" in json.dumps(answer.json)
