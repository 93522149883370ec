"""Configs are the main interface: those of the repository are right, and a change of the schema is seen in review."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from flows.config import Config, load

ROOT = Path(__file__).parents[2]
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))


@pytest.fixture(scope="module")
def configs(tmp_path_factory):
    """The folder, with the files that bring_your_own makes by its command."""
    folder = tmp_path_factory.mktemp("repository") / "configs"
    shutil.copytree(ROOT / "configs", folder, ignore=shutil.ignore_patterns("__pycache__", "bring_your_own"))
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1"}
    subprocess.run([sys.executable, folder / "bring_your_own.py"], env=environment, check=True)
    return folder


@pytest.mark.parametrize("name", [path.name for path in CONFIGS])
def test_every_config_of_the_repository_is_right(name, configs):
    assert load(configs / name).config.name == Path(name).stem


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_config_says_how_to_run_it_and_what_to_expect(path):
    first, second = path.read_text().splitlines()[:2]

    assert first == f"# Run:    python -m flows release configs/{path.name}"
    assert second.startswith("# Expect: ")


def test_the_schema_changes_only_on_purpose(golden):
    golden("config.schema.json", json.dumps(Config.model_json_schema(), indent=2, sort_keys=True) + "\n")


def fields(schema: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    parts = {"config": schema, **schema["$defs"]}
    return [(part, name, field) for part, content in parts.items() for name, field in content["properties"].items()]


def test_every_key_of_a_config_says_what_it_is():
    silent = [
        f"{part}.{name}"
        for part, name, field in fields(Config.model_json_schema())
        if not field.get("description") and "const" not in field
    ]

    assert not silent
