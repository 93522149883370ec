"""The README's way to a technique of one's own, followed literally: one file, and everything else is there."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONFIG = """
name: own
task: {kind: classification, output: logits}
model: {kind: keras_builder, entrypoint: digits.py:build_student}
data: {kind: python, entrypoint: digits.py:load}
training: {loss: sparse_categorical_crossentropy, epochs: 1}
candidates:
  short: [{kind: short_mantissa, bits: 6}]
targets: {cpu: {runtime: onnxruntime}}
gates: [{metric: agreement, min: 0.5}]
choose: {minimize: gzip_bytes}
"""


def from_readme():
    """(path, content) of the file that the README shows."""
    text = (ROOT / "README.md").read_text()
    section = text[text.index("## A technique of your own is one file") :]
    path = re.search(r"`(tasks/techniques/\w+\.py)`:", section)[1]
    return path, re.search(r"```python\n(.*?)```", section, re.DOTALL)[1]


@pytest.fixture
def checkout(tmp_path):
    for folder in ("flows", "tasks", "configs", "tests"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    path, content = from_readme()
    (tmp_path / path).write_text(content)
    (tmp_path / "configs" / "own.yaml").write_text(CONFIG)
    return tmp_path


def run(checkout, prefect_url, *command):
    environment = {**os.environ, "PYTHONPATH": str(checkout), "SLIPWAY_HOME": str(checkout / "home")}
    environment["PREFECT_API_URL"] = prefect_url
    return subprocess.run(
        [sys.executable, *command], cwd=checkout, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.slow("another choice of a menu")
def test_a_technique_of_ones_own_is_one_file(checkout, prefect_url):
    contract = run(
        checkout, prefect_url, "-m", "pytest", "tests/contract/test_techniques.py", "-q", "-k", "short_mantissa"
    )
    released = run(checkout, prefect_url, "-m", "flows", "release", "configs/own.yaml", "--json")

    assert contract.returncode == 0, contract.stdout
    assert " passed" in contract.stdout or "....." in contract.stdout
    assert released.returncode == 0, released.stderr
    answer = json.loads(released.stdout)
    short = next(each for each in answer["candidates"] if each["name"] == "short")
    plain = next(each for each in answer["candidates"] if each["name"] == "float32")
    assert answer["winners"] == {"cpu": "short"}
    assert short["gzip_bytes"] < 0.75 * plain["gzip_bytes"] and short["size_bytes"] == plain["size_bytes"]
