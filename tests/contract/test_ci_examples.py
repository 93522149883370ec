"""The examples for CI are files that GitHub and GitLab take, hold nothing that moves, and give nothing away."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "docs" / "ci"
SCHEMAS = {"github-actions.yml": "vendor.github-workflows", "gitlab-ci.yml": "vendor.gitlab-ci"}
GITHUB = yaml.safe_load((EXAMPLES / "github-actions.yml").read_text())
GITLAB = yaml.safe_load((EXAMPLES / "gitlab-ci.yml").read_text())
STEPS = [step for job in GITHUB["jobs"].values() for step in job["steps"]]
SETUPS = {step["run"] for step in STEPS if step.get("name") == "Set up"} | set(GITLAB["default"]["before_script"])


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_schema_of_its_service_takes_it(name):
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", SCHEMAS[name], "--output-format", "json"]
    done = subprocess.run([*command, str(EXAMPLES / name)], capture_output=True, text=True, check=False)

    assert json.loads(done.stdout)["status"] == "ok", done.stdout


def test_actions_are_pinned_by_commit_and_may_only_read():
    pins = [step["uses"] for step in STEPS if "uses" in step]

    assert pins and all(re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40}", pin) for pin in pins)
    assert GITHUB["permissions"] == {"contents": "read"}
    assert not any("permissions" in job for job in GITHUB["jobs"].values())


def test_secrets_reach_the_release_alone_and_no_value_of_github_is_pasted_into_a_script():
    knowing = [step.get("name") for step in STEPS if "secrets." in json.dumps(step)]

    assert knowing == ["Release"]
    assert not any("${{" in step.get("run", "") for step in STEPS)


def test_one_release_at_a_time():
    release = GITHUB["jobs"]["release"]

    assert "matrix.model" in release["concurrency"]["group"] and not release["concurrency"]["cancel-in-progress"]
    assert "$MODEL" in GITLAB[".release"]["resource_group"]


def test_the_cached_environment_is_that_of_the_lock_and_of_python():
    caches = [step["with"] for step in STEPS if step.get("uses", "").startswith("actions/cache@")]
    cache = GITLAB["default"]["cache"]

    assert len(caches) == len(GITHUB["jobs"]) and all(each["path"] == ".venv" for each in caches)
    assert all(
        "outputs.python-version" in each["key"] and "hashFiles('requirements.lock')" in each["key"] for each in caches
    )
    assert (cache["paths"], cache["key"]) == ([".venv/"], {"files": ["requirements.lock"], "prefix": "venv-$PYTHON"})


@pytest.mark.parametrize("command", sorted(SETUPS))
def test_a_cached_environment_is_taken_though_the_checkout_is_younger(command, tmp_path):
    (tmp_path / "Makefile").write_text((ROOT / "Makefile").read_text())
    (tmp_path / "requirements.lock").touch()

    def setup() -> str:
        dry = f"{command} --dry-run"
        return subprocess.run(dry, shell=True, cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    new = setup()
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "ready").touch()
    os.utime(tmp_path / ".venv" / "ready", (0, 0))

    assert "--require-hashes" in new
    assert "pip install" not in setup()
