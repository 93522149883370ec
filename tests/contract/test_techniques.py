"""What every technique of the menu must keep to; a new file in tasks/techniques is tested by being there."""

import json
import subprocess
import sys
from typing import get_args

import pytest
from pydantic import ValidationError

from tasks.foundations.errors import InputError
from tasks.foundations.menu import choices
from tasks.models.signature import Signature
from tasks.techniques.apply import MENU, parse
from tasks.techniques.grammar import check_chain
from tasks.techniques.step import Place
from tests.techniques.onnx_parts import dense, normal_rows, run

KINDS = sorted(choices(MENU))
ONNX_KINDS = [kind for kind in KINDS if choices(MENU)[kind].level == "onnx"]
TRAINING_KINDS = [kind for kind in KINDS if choices(MENU)[kind].level == "training"]


def test_the_menu_holds_the_three_onnx_techniques():
    assert {"float16", "int8_dynamic", "int8_static"} <= set(ONNX_KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_level_place_and_follower_are_of_the_grammar(kind):
    technique = choices(MENU)[kind]
    assert technique.level in ("training", "onnx")
    assert technique.place in get_args(Place)
    assert (technique.place == "onnx") == (technique.level == "onnx")
    assert technique.followed_by is None or technique.followed_by in KINDS


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_is_described(kind):
    fields = choices(MENU)[kind].model_fields
    assert all(field.description for name, field in fields.items() if name != "kind")


@pytest.mark.parametrize("kind", KINDS)
def test_unknown_fields_are_refused(kind):
    with pytest.raises(ValidationError, match="typo"):
        choices(MENU)[kind].model_validate({"kind": kind, "typo": 1})


@pytest.mark.parametrize("kind", KINDS)
def test_it_stands_alone_in_a_chain_or_with_what_must_follow(kind):
    technique = choices(MENU)[kind]
    needed = {name: "m.py:f" for name, field in technique.model_fields.items() if field.is_required()}
    after = [parse({"kind": technique.followed_by})] if technique.followed_by else []
    check_chain("alone", [parse({"kind": kind, **needed}), *after])


@pytest.mark.parametrize("kind", TRAINING_KINDS)
def test_what_trains_can_be_told_how_long_and_how(kind):
    fields = choices(MENU)[kind].model_fields
    assert {"epochs", "batch_size", "optimizer"} <= set(fields)
    assert not any(fields[name].is_required() for name in ("epochs", "batch_size", "optimizer"))


@pytest.mark.parametrize("kind", ONNX_KINDS)
def test_a_step_leaves_a_complete_folder_and_its_source_untouched(tmp_path, kind):
    source, split = dense(tmp_path / "m"), normal_rows(tmp_path / "s")
    before = {path.name: path.read_bytes() for path in source.iterdir()}
    result = run(source, split, tmp_path / "o", kind=kind)
    assert sorted(path.name for path in (tmp_path / "o").iterdir()) == ["evidence.json", "model.onnx", "signature.json"]
    assert Signature.read(tmp_path / "o") == Signature.read(source)
    assert {path.name: path.read_bytes() for path in source.iterdir()} == before
    assert (tmp_path / "o" / "model.onnx").read_bytes() != before["model.onnx"]
    evidence = json.loads((tmp_path / "o" / "evidence.json").read_text())
    assert evidence["step"] == kind and evidence["proof"] and evidence["difference"]["y"]["max_abs"] < 0.2
    assert result.size_bytes == (tmp_path / "o" / "model.onnx").stat().st_size


@pytest.mark.parametrize("kind", ONNX_KINDS)
def test_the_same_step_writes_the_same_bytes(tmp_path, kind):
    source, split = dense(tmp_path / "m"), normal_rows(tmp_path / "s")
    for folder in ("a", "b"):
        run(source, split, tmp_path / folder, kind=kind)
    assert (tmp_path / "a" / "model.onnx").read_bytes() == (tmp_path / "b" / "model.onnx").read_bytes()


@pytest.mark.parametrize("technique", [{"kind": "shrink"}, {}, {"kind": "float16", "typo": 1}])
def test_what_is_no_technique_is_an_input_error(technique):
    with pytest.raises(InputError, match="Not a technique"):
        parse(technique)


def test_the_menu_imports_nothing_heavy():
    heavy = "tensorflow, keras, onnx, onnxruntime, tf2onnx, mlflow, prefect, scipy"
    script = (
        "import sys; from tasks.foundations.menu import choices; choices('tasks.techniques'); "
        f"print([name for name in '{heavy}'.split(', ') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
