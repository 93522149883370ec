"""`init`: what it writes is right as it stands, and nothing of the user's is ever overwritten."""

import ast
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from flows.__main__ import main
from flows.check import check_config
from flows.init import write
from tasks.foundations.errors import InputError


def test_what_init_writes_passes_check(tmp_path):
    files = write("my_model", str(tmp_path / "configs"))["files"]

    answer = check_config(files[0])

    assert answer["model"] == "my_model"
    assert set(answer["candidates"]) >= {"float32", "int8"}
    assert {node.name for node in ast.parse((tmp_path / "configs/my_model.py").read_text()).body[3:]} == {
        "build",
        "load",
    }


def test_the_schedules_and_the_gate_in_the_comments_are_right(tmp_path):
    """They are copied from there."""
    text = Path(write("my_model", str(tmp_path))["files"][0]).read_text()
    (tmp_path / "my_model.py").write_text("def build(): ...\ndef load(): ...\ndef cost(): ...\n")
    comments = " ".join(line.strip(" #") for line in text.splitlines() if line.startswith("  #"))
    schedules = re.findall(r"\{kind: (?:cosine|piecewise).*?\}", comments)
    (gate,) = re.findall(r"\{metric: my_model.py:cost.*?\}", comments)

    for schedule in schedules:
        path = tmp_path / "copied.yaml"
        path.write_text(
            text.replace("learning_rate: 0.001}", f"learning_rate: {schedule}}}").replace(
                "gates:\n", f"gates:\n  - {gate}\n"
            )
        )
        assert check_config(str(path))["model"] == "my_model"
    assert len(schedules) == 2


@pytest.mark.parametrize("kept", ["my_model.yaml", "my_model.py"])
def test_init_overwrites_nothing_and_writes_nothing_beside_it(kept, tmp_path):
    (tmp_path / kept).write_text("mine")

    with pytest.raises(InputError, match="exists already and is left as it is"):
        write("my_model", str(tmp_path))

    assert [path.name for path in tmp_path.iterdir()] == [kept]
    assert (tmp_path / kept).read_text() == "mine"


@pytest.mark.parametrize("name", ["My Model", "9lives", "a/b", "", "../up", "a-b"])
def test_a_name_that_cannot_name_a_python_file_is_refused(name, tmp_path):
    with pytest.raises(InputError, match="cannot name a model and a Python file"):
        write(name, str(tmp_path))

    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["class", "keras", "numpy", "json"])
def test_a_name_that_would_hide_a_module_is_refused(name, tmp_path):
    with pytest.raises(InputError, match="is taken by Python"):
        write(name, str(tmp_path))

    assert not list(tmp_path.iterdir())


def test_the_command_says_what_comes_next(tmp_path):
    result = CliRunner().invoke(main, ["init", "wine", "--folder", str(tmp_path)])

    assert result.exit_code == 0
    assert f"next: python -m flows release {tmp_path}/wine.yaml" in result.output
