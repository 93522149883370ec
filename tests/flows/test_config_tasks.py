"""Configs whose task does not fit the rest: the sentence that `check` gives."""

import shutil

import pytest
import yaml

from flows.config import load
from tasks.foundations.errors import InputError
from tests.flows.installation import MODELS, TINY

SETS = {
    **TINY, "name": "sets", "task": {"kind": "multilabel", "output": "logits"},
    "model": {"kind": "keras_builder", "entrypoint": "sets.py:build"},
    "data": {"kind": "python", "entrypoint": "sets.py:load"},
    "training": {"loss": "binary_crossentropy", "epochs": 1}, "gates": [{"metric": "macro_f1", "max_drop": 0.1}],
}  # fmt: skip
HEADS = {
    **SETS, "name": "heads", "task": {"kind": "custom", "output": "logits"},
    "model": {"kind": "keras_builder", "entrypoint": "heads.py:build"},
    "data": {"kind": "python", "entrypoint": "heads.py:load"},
    "training": {"loss": {"kind": "sparse_categorical_crossentropy", "odd": "mse"}, "epochs": 1},
    "gates": [{"metric": "heads.py:both_right", "max_drop": 0.1}],
}  # fmt: skip


def write(folder, content, changes):
    for name in ("sets.py", "heads.py"):
        shutil.copy(MODELS / name, folder)
    path = folder / "model.yaml"
    path.write_text(yaml.safe_dump({**content, **changes}, sort_keys=False))
    return path


@pytest.mark.parametrize(
    ("content", "changes"),
    [
        (SETS, {}),
        (SETS, {"choose": {"maximize": "micro_f1"}}),
        (HEADS, {}),
        (HEADS, {"gates": [], "choose": {"maximize": "heads.py:both_right"}}),
        (HEADS, {"task": {"kind": "custom"}, "training": {"loss": {"kind": "mse", "odd": "mae"}, "epochs": 1}}),
    ],
)
def test_tasks_that_fit_the_rest_are_right(tmp_path, content, changes):
    load(write(tmp_path, content, changes))


REFUSED = {
    "no metric": (
        HEADS, {"gates": [], "choose": {"minimize": "p50_ms"}},
        "model.yaml:2: task: task custom needs a metric of your own: write a function f.labels, outputs. -> float",
    ),
    "no such function": (HEADS, {"gates": [{"metric": "heads.py:both_rihgt", "min": 0.5}]}, "both_rihgt"),
    "known metric": (
        HEADS, {"gates": [*HEADS["gates"], {"metric": "accuracy", "min": 0.5}]},
        "accuracy is no metric of a custom task, which has those of your own",
    ),
    "agreement": (
        HEADS, {"gates": [*HEADS["gates"], {"metric": "agreement", "min": 0.5}]},
        "agreement needs classes or labels, which a custom task does not have",
    ),
    "choose agreement": (
        HEADS, {"choose": {"maximize": "agreement"}}, "choose: agreement needs classes or labels",
    ),
    "crossentropy of what": (
        HEADS, {"task": {"kind": "custom"}},
        "training.loss.kind: sparse_categorical_crossentropy must know what the outputs are.*kind: custom, output",
    ),
    "a loss each": (
        SETS, {"training": HEADS["training"]},
        "training.loss: a loss for each output is for labels of several outputs, and a multilabel task has one array",
    ),
    "softmax loss": (
        SETS, {"training": {"loss": "sparse_categorical_crossentropy", "epochs": 1}},
        "training.loss: sparse_categorical_crossentropy does not fit the task multilabel. Fitting ones: binary_cross",
    ),
    "metric of classes": (
        SETS, {"gates": [{"metric": "accuracy", "min": 0.5}]},
        "accuracy is no metric of this multilabel task. It has: exact_match, hamming_accuracy, macro_f1, micro_f1",
    ),
    "unknown loss": (
        HEADS, {"training": {"loss": {"kind": "msee", "odd": "mse"}, "epochs": 1}}, "unknown loss 'msee'. Did",
    ),
    "no loss": (HEADS, {"training": {"loss": {}, "epochs": 1}}, "training.loss"),
    "threshold": (SETS, {"task": {"kind": "multilabel", "output": "logits", "threshold": 1}}, "task.threshold"),
    "labels twice": (
        SETS, {"task": {"kind": "multilabel", "output": "logits", "classes": ["a", "a"]}},
        "the label 'a' stands twice",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_task_that_does_not_fit_the_rest_is_refused(tmp_path, name):
    content, changes, sentence = REFUSED[name]
    with pytest.raises(InputError, match=sentence):
        load(write(tmp_path, content, changes))
