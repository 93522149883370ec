"""A multilabel model, and a custom one of several outputs, released through the real command line."""

import json
import shutil
from pathlib import Path

import pytest

from tests.flows.installation import MODELS

pytestmark = pytest.mark.slow("another model")

ADAM = {"kind": "adam", "learning_rate": 0.01}


@pytest.fixture(scope="module")
def sets(installation):
    shutil.copy(MODELS / "sets.py", installation.folder)
    return installation.release(
        name="sets",
        task={"kind": "multilabel", "output": "logits", "classes": ["red", "green", "blue", "black"]},
        model={"kind": "keras_builder", "entrypoint": "sets.py:build"},
        data={"kind": "python", "entrypoint": "sets.py:load"},
        training={"loss": "binary_crossentropy", "epochs": 8, "optimizer": ADAM},
        candidates={
            "int8": [{"kind": "int8_static"}],
            "student": [{"kind": "distillation", "student": "sets.py:build_student"}],
        },
        execution={"workers": 1},
        gates=[
            {"metric": "macro_f1", "max_drop": 0.1},
            {"metric": "exact_match", "max_drop": 0.3, "slices": "all"},
            {"metric": "agreement", "min": 0.5},
        ],
    )


@pytest.fixture(scope="module")
def heads(installation):
    shutil.copy(MODELS / "heads.py", installation.folder)
    return installation.release(
        name="heads",
        task={"kind": "custom", "output": "logits"},
        model={"kind": "keras_builder", "entrypoint": "heads.py:build"},
        data={"kind": "python", "entrypoint": "heads.py:load"},
        training={
            "loss": {"kind": "sparse_categorical_crossentropy", "odd": "binary_crossentropy"},
            "epochs": 6,
            "optimizer": ADAM,
        },
        candidates={
            "pruned_int8": [{"kind": "pruning", "sparsity": 0.5, "epochs": 2}, {"kind": "int8_static"}],
            "student": [{"kind": "distillation", "student": "heads.py:build_student", "epochs": 6}],
        },
        execution={"workers": 1},
        gates=[{"metric": "heads.py:both_right", "max_drop": 0.1}, {"metric": "max_rel_diff", "max": 0.9}],
    )


def row(answer, name):
    return next(each for each in answer.json["candidates"] if each["name"] == name)


def figures(answer, name):
    return row(answer, name)["metrics"]


def test_a_multilabel_model_goes_to_production(sets, installation):
    assert (sets.code, sets.json["promoted"]) == (0, True), sets.log
    assert {each["name"] for each in sets.json["candidates"]} == {"float32", "int8", "student"}
    assert all(each["passed"] for each in sets.json["candidates"]), sets.log
    found = figures(sets, "int8")
    assert set(found) >= {"exact_match", "hamming_accuracy", "macro_f1", "micro_f1", "roc_auc", "log_loss", "agreement"}
    assert found["macro_f1"] > 0.8
    assert sets.json["primary_metric"] == "macro_f1" and row(sets, "int8")["primary_value"] == found["macro_f1"]


def test_every_output_of_a_custom_model_goes_to_production(heads):
    assert (heads.code, heads.json["promoted"]) == (0, True), heads.log
    assert all(each["passed"] for each in heads.json["candidates"]), heads.log
    for name in ("pruned_int8", "student"):
        found = figures(heads, name)
        assert found["heads.py:both_right"] > 0.8
        assert {f"max_abs_diff of {output}" for output in ("code", "kind", "odd")} <= set(found)
    assert heads.json["primary_metric"] == "heads.py:both_right"


def test_the_output_that_nobody_labels_is_taught_by_the_teacher(heads):
    """Untrained it would be off by its own size."""
    found = figures(heads, "student")
    assert found["max_abs_diff of code"] < 2 * found["max_abs_diff"] and found["max_rel_diff"] < 0.9


def test_layers_of_every_output_are_pruned(heads, installation):
    files = (installation.home / "store" / "objects").rglob("evidence.json")
    steps = [json.loads(file.read_text()) for file in files]
    (pruned,) = [each for each in steps if each["step"] == "pruning"]
    assert set(pruned["proof"]["sparsity"]["achieved"]) == {"conv", "body", "code", "kind", "odd"}


def test_every_output_is_guarded_by_golden_requests(heads, installation):
    (golden,) = (installation.home / "serving" / "onnx_server" / "heads").rglob("golden.json")
    content = json.loads(golden.read_text())
    assert content["outputs"] == ["code", "kind", "odd"] and content["top1"] is None


def test_labels_go_by_their_names(sets):
    summary = json.loads((Path(sets.json["report"]).parent / "release.json").read_text())
    found = [each["classes"].keys() for each in (summary["reference"], *summary["rows"])]
    assert found == [{"red", "green", "blue", "black"}] * 4
