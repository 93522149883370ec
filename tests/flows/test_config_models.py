"""`check` on configs whose model comes trained: what is wrong with its files, and what such a model cannot do."""

import re

import pytest

from flows.config import load
from tasks.foundations.errors import InputError

GOOD = """\
name: tiny
task: {kind: classification, output: logits}
model: {kind: keras_file, path: model.keras}
data: {kind: python, entrypoint: tiny.py:load}
candidates:
  int8: [{kind: int8_static}]
targets:
  cpu: {runtime: onnxruntime}
"""
MODEL = "{kind: keras_file, path: model.keras}"
PRUNED = "  pruned: [{kind: pruning, sparsity: 0.5}]\ntargets:"
TRAINING = "training: {loss: sparse_categorical_crossentropy, epochs: 1}\ntargets:"

BROKEN = {
    "a misspelt file": (
        {MODEL: "{kind: keras_file, path: modle.keras}"},
        "3: model.path: there is no file .*/modle.keras. Did you mean model.keras\\? Keras files there: model.keras.",
    ),
    "another kind of file": (
        {"model.keras": "tiny.py"},
        "3: model.path: tiny.py does not end in .keras, .h5, .hdf5. Save the model by .*",
    ),
    "a folder for a file": ({"model.keras": "export"}, "3: model.path: .*/export is a SavedModel folder.*saved_model."),
    "a file for a folder": (
        {"keras_file": "saved_model"},
        "3: model.path: .*/model.keras is a file, not a SavedModel folder. .* write kind: keras_file.",
    ),
    "no file at all": ({", path: model.keras": ""}, "3: model.path: is missing. Expected: The .keras, .h5 or .hdf5 .*"),
    "code that is not there": (
        {"path: model.keras": "path: model.keras, custom_objects: tyni.py"},
        "3: model.custom_objects: tyni.py: there is no file .* Did you mean tiny.py\\? .*",
    ),
    "neither version nor alias": (
        {MODEL: "{kind: registered, name: churn}"},
        r"3: model: churn: give either a version \(version: 3\) or an alias \(alias: champion\).",
    ),
    "both": ({MODEL: "{kind: registered, name: churn, version: 1, alias: a}"}, "3: model: churn: give either .*"),
    "its own champion": (
        {MODEL: "{kind: registered, name: tiny, alias: champion}"},
        "3: model.alias: Slipway itself moves champion of tiny, so the next release would begin with .*",
    ),
    "training that nothing needs": (
        {"targets:": TRAINING},
        "7: training: keras_file yields a trained model and no technique fine-tunes: remove it.",
    ),
    "an inference-only model that is to be trained": (
        {MODEL: "{kind: saved_model, path: export}", "targets:": PRUNED.replace("targets:", TRAINING)},
        r"7: candidates.pruned: pruning trains the model further, which saved_model does not allow: .*distillation.",
    ),
}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "tiny.py").write_text("def build():\n    return 1 / 0\n\n\ndef load():\n    return 1 / 0\n")
    (tmp_path / "model.keras").touch()
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "saved_model.pb").touch()
    return tmp_path


def plan_of(folder, **changes):
    content = GOOD
    for before, after in changes.items():
        assert before in content
        content = content.replace(before, after, 1)
    (folder / "tiny.yaml").write_text(content)
    return load(folder / "tiny.yaml")


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_model_section_is_refused_with_line_place_and_next_word(case, folder):
    changes, sentence = BROKEN[case]

    with pytest.raises(InputError) as caught:
        plan_of(folder, **changes)

    assert re.fullmatch(f"{re.escape(str(folder))}/tiny.yaml:{sentence}", str(caught.value)), str(caught.value)


@pytest.mark.parametrize(
    "model",
    [
        MODEL,
        "{kind: keras_file, path: model.keras, custom_objects: tiny.py, allow: [Lambda]}",
        "{kind: saved_model, path: export, signature: rank, allow: [ReadFile]}",
        "{kind: registered, name: churn, version: 3}",
        "{kind: registered, name: tiny, alias: gold}",
    ],
)
def test_a_model_that_comes_trained_needs_neither_training_nor_a_train_split(folder, model):
    config = plan_of(folder, **{MODEL: model}).config

    assert config.training is None
    assert not config.fine_tunes
    assert not config.needs_train


def test_a_technique_that_fine_tunes_needs_the_train_split(folder):
    config = plan_of(folder, **{"targets:": PRUNED.replace("targets:", TRAINING)}).config

    assert config.fine_tunes
    assert config.needs_train
