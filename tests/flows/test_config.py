"""`check` on broken configs: every mistake has its line, its place, the value, what is possible, the nearest word."""

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flows.config import load
from tasks.foundations.errors import InputError

GOOD = """\
name: tiny
task: {kind: classification, output: logits}
model: {kind: keras_builder, entrypoint: tiny.py:build}
data: {kind: python, entrypoint: tiny.py:load}
training:
  loss: sparse_categorical_crossentropy
  epochs: 2
  optimizer: {kind: adam, learning_rate: 0.01}
candidates:
  int8: [{kind: int8_static}]
targets:
  cpu: {runtime: onnxruntime, threads: 1, batch_size: 1}
  tfs: {runtime: tensorflow}
gates:
  - {metric: accuracy, max_drop: 0.02}
choose: {minimize: p50_ms}
serving:
  - {kind: onnx_server, target: cpu}
"""
CODE = "def build():\n    return 1 / 0\n\n\ndef load():\n    return 1 / 0\n"  # found by parsing, never run
BOUNDS = "min, max, max_drop, max_drop_percent, min_gain, min_speedup, max_ratio"
WORD = "must be 1 to 63 lower-case letters, digits, - and _, and start with a letter or digit."

# name -> (what is replaced, by what, line, sentence; `...` at its end: the list that follows grows with the menus)
BROKEN = {
    "unknown key": ("choose:", "chose:", 16, "chose: unknown key. Did you mean choose? Known: ..."),
    "a schedule with an impossible minute": (
        "choose:",
        'schedule: {cron: "61 * * * *"}\nchoose:',
        16,
        "schedule.cron: '61 * * * *' is no schedule (Bad minute). Expected minute, hour, day of the month, month and "
        "day of the week, like 0 3 * * 1 for Mondays at three.",
    ),
    "a schedule of too few fields": (
        "choose:",
        'schedule: {reconcile: "@daily"}\nchoose:',
        16,
        "schedule.reconcile: '@daily' is no schedule (1 fields instead of 5). Expected minute, hour, day of the month, "
        "month and day of the week, like 0 3 * * 1 for Mondays at three.",
    ),
    "a schedule that says no time": (
        "choose:",
        "schedule: {timezone: UTC}\nchoose:",
        16,
        "schedule: says no time: give cron, reconcile or both, or leave `schedule` out.",
    ),
    "a time zone that is none": (
        "choose:",
        'schedule: {cron: "0 3 * * 1", timezone: Mars/North}\nchoose:',
        16,
        "schedule.timezone: 'Mars/North' is no time zone. Expected UTC, or one like Europe/Berlin.",
    ),
    "a work pool that Prefect cannot name": (
        "choose:",
        "work_pool: a/b\nchoose:",
        16,
        "work_pool: 'a/b' is no name of a work pool. Expected 1 to 200 characters, none of /%&<>.",
    ),
    "unknown key of a section": (
        "learning_rate:",
        "learning_rat:",
        8,
        "training.optimizer.learning_rat: unknown key. Did you mean learning_rate? "
        "Known: beta_1, beta_2, clip_norm, kind, learning_rate.",
    ),
    "unknown key of a section that may be left out": (
        "epochs: 2",
        "epochs: 2\n  epoch: 3",
        8,
        "training.epoch: unknown key. Did you mean epochs? Known: batch_size, early_stopping, epochs, loss, optimizer.",
    ),
    "a misspelt key that must be there": (
        "epochs: 2",
        "epoch: 2",
        7,
        "training.epoch: unknown key. Did you mean epochs? Known: batch_size, early_stopping, epochs, loss, optimizer.",
    ),
    "unknown key of a technique": (
        "kind: int8_static",
        "kind: int8_static, percntile: 99",
        10,
        "candidates.int8.0.percntile: unknown key. Did you mean percentile? Known: ...",
    ),
    "unknown key of a target": (
        "threads:",
        "thread:",
        12,
        "targets.cpu.thread: unknown key. Did you mean threads? Known: ...",
    ),
    "unknown key of a gate": (
        "max_drop:",
        "max_dropp:",
        15,
        "gates.0.max_dropp: unknown key. Did you mean max_drop? Known: ...",
    ),
    "text for a number": ("epochs: 2", "epochs: many", 7, "training.epochs: expected a whole number. Got 'many'."),
    "a fraction of a row": (
        "batch_size: 1",
        "batch_size: 1.5",
        12,
        "targets.cpu.batch_size: expected a whole number. Got 1.5.",
    ),
    "true for a whole number": ("epochs: 2", "epochs: true", 7, "training.epochs: expected a number. Got true."),
    "true for a number": ("0.02", "true", 15, "gates.0.max_drop: expected a number. Got true."),
    "quoted number": ("epochs: 2", 'epochs: "2"', 7, "training.epochs: expected a number. Got '2'."),
    "a word for a switch": (
        "name: tiny",
        'name: tiny\nallow_signature_change: "yes"',
        2,
        "allow_signature_change: expected true or false. Got 'yes'.",
    ),
    "a percentile that is not used": (
        "kind: int8_static",
        "kind: int8_static, percentile: 99",
        10,
        "candidates.int8.0: percentile belongs to calibration: percentile. Got calibration: minmax.",
    ),
    "nesterov without momentum": (
        "{kind: adam, learning_rate: 0.01}",
        "{kind: sgd, learning_rate: 0.01, nesterov: true}",
        8,
        "training.optimizer: nesterov looks ahead along the momentum, and there is none: give momentum, 0.9 say.",
    ),
    "one metric of two directions": (
        "  - {metric: accuracy, max_drop: 0.02}",
        "  - {metric: tiny.py:load, min: 0}\n  - {metric: tiny.py:load, max: 1, higher_is_better: false}",
        16,
        "gates.1.higher_is_better: tiny.py:load is better the other way in a gate before.",
    ),
    "percent sign": ("0.02", "2%", 15, "gates.0.max_drop: expected a number. Got '2%'."),
    "text for a mapping": (
        "{kind: keras_builder, entrypoint: tiny.py:build}",
        "tiny.py:build",
        3,
        "model: expected a mapping, {key: value}. Got 'tiny.py:build'.",
    ),
    "text for a list": (
        "[{kind: int8_static}]",
        "int8_static",
        10,
        "candidates.int8: expected a list, [...]. Got 'int8_static'.",
    ),
    "nothing for a list": (
        "gates:\n  - {metric: accuracy, max_drop: 0.02}",
        "gates:",
        14,
        "gates: expected a list, [...]. Got nothing: give it a value or remove the key.",
    ),
    "no number and no schedule": (
        "learning_rate: 0.01",
        "learning_rate: slow",
        8,
        "training.optimizer.learning_rate: expected a number or a mapping, {key: value}. Got 'slow'.",
    ),
    "missing key": (
        "task: {kind: classification, output: logits}\n",
        "",
        1,
        "task: is missing. Expected: What the outputs mean.",
    ),
    "missing key of a section": (
        ", entrypoint: tiny.py:build",
        "",
        3,
        "model.entrypoint: is missing. Expected: file.py:function beside the config, called without arguments.",
    ),
    "missing kind": (
        "kind: onnx_server, ",
        "",
        18,
        "serving.0: says no kind. Known: onnx_server, tf_serving...",
    ),
    "negative epochs": ("epochs: 2", "epochs: -1", 7, "training.epochs: must be at least 1. Got -1."),
    "not a number": ("0.02", ".nan", 15, "gates.0.max_drop: must be a finite number. Got nan."),
    "confidence in percent": (
        "max_drop: 0.02",
        "max_drop: 0.02, confidence: 95",
        15,
        "gates.0.confidence: must be less than 1. Got 95.",
    ),
    "bad model name": ("name: tiny", "name: Tiny Net", 1, f"name: {WORD} Got 'Tiny Net'."),
    "bad candidate name": ("int8:", '"in t8":', 10, f"candidates.in t8: {WORD} Got 'in t8'."),
    "a number for a name": (
        "name: tiny",
        "name: 5",
        1,
        "name: expected text (in quotes, where YAML would read a number, a date or true). Got 5.",
    ),
    "unknown technique": (
        "int8_static",
        "int8_statc",
        10,
        "candidates.int8.0: 'int8_statc' is not a kind. Did you mean int8_static? Known: ...",
    ),
    "unknown optimizer": (
        "kind: adam",
        "kind: adm",
        8,
        "training.optimizer: 'adm' is not a kind. Did you mean adam? Known: adam, adamw, rmsprop, sgd.",
    ),
    "unknown schedule": (
        "learning_rate: 0.01",
        "learning_rate: {kind: cosin}",
        8,
        "training.optimizer.learning_rate: 'cosin' is not a kind. Did you mean cosine? Known: ...",
    ),
    "unknown runtime": (
        "runtime: onnxruntime",
        "runtime: onnxruntim",
        12,
        "targets.cpu: 'onnxruntim' is not a runtime. Did you mean onnxruntime? Known: ...",
    ),
    "unknown source": (
        "kind: keras_builder",
        "kind: keras_bilder",
        3,
        "model...Did you mean keras_builder? Known: ...",
    ),
    "unknown data source": ("kind: python", "kind: pyton", 4, "data...Did you mean python? Known: ..."),
    "unknown serving": (
        "kind: onnx_server",
        "kind: onnx_sever",
        18,
        "serving.0: 'onnx_sever' is not a kind. Did you mean onnx_server? Known: ...",
    ),
    "unknown task": (
        "kind: classification",
        "kind: clasification",
        2,
        "task: 'clasification' is not a kind. Did you mean classification? Known: ...",
    ),
    "unknown partner": (
        "max_drop: 0.02",
        "max_drop: 0.02, against: champoin",
        15,
        "gates.0.against: 'champoin' is not possible here. Did you mean champion? Known: reference, float32, champion.",
    ),
    "missing file": (
        "tiny.py:build",
        "tny.py:build",
        3,
        "model.entrypoint: tny.py:build: there is no file {folder}/tny.py. Did you mean tiny.py? "
        "Paths are relative to the config's folder.",
    ),
    "missing data file": (
        "{kind: python, entrypoint: tiny.py:load}",
        "{kind: csv, path: tiny.pi, label: y}",
        4,
        "data.path: there is no file {folder}/tiny.pi. Did you mean tiny.py? Paths count from the config's folder.",
    ),
    "no data file": (
        "{kind: python, entrypoint: tiny.py:load}",
        "{kind: csv, label: y}",
        4,
        "data: nothing says where the data lie; expected exactly one of path, url, splits.",
    ),
    "no labels": (
        "{kind: python, entrypoint: tiny.py:load}",
        "{kind: parquet, path: tiny.py}",
        4,
        "data: nothing says which columns are the labels; expected exactly one of label, labels.",
    ),
    "credentials in a URL": (
        "{kind: python, entrypoint: tiny.py:load}",
        '{kind: npz, url: "https://me:secret@x.org/a.npz"}',
        4,
        "data.url: the URL carries credentials, and configs are stored with every version. Remove them: ...",
    ),
    "a delimiter of two characters": (
        "{kind: python, entrypoint: tiny.py:load}",
        '{kind: csv, path: tiny.py, label: y, delimiter: ";;"}',
        4,
        "data.delimiter: ';;' is not one character. Expected e.g. ...",
    ),
    "one class": (
        "output: logits",
        "output: logits, classes: [a]",
        2,
        "task.classes: names 1 class; a classification tells at least two apart.",
    ),
    "a class that YAML reads as true": (
        "output: logits",
        "output: logits, classes: [maybe, yes]",
        2,
        "task.classes.1: expected text (in quotes, where YAML would read a number, a date or true). Got true.",
    ),
    "missing function": (
        "tiny.py:build",
        "tiny.py:biuld",
        3,
        "model.entrypoint: tiny.py:biuld: {folder}/tiny.py defines no 'biuld' at its top level. Did you mean build? "
        "It defines: build, load.",
    ),
    "no entrypoint": (
        "tiny.py:build",
        "tiny.build",
        3,
        "model.entrypoint: 'tiny.build' is not an entrypoint. Expected file.py:function, e.g. digits.py:build.",
    ),
    "file that does not parse": (
        "tiny.py:load",
        "broken.py:load",
        4,
        "data.entrypoint: broken.py:load: {folder}/broken.py is not valid Python: ...",
    ),
    "file that hides a library": (
        "tiny.py:load",
        "keras.py:load",
        4,
        "data.entrypoint: keras.py:load: keras.py would hide the installed module 'keras'. Rename the file.",
    ),
    "missing loss function": (
        "sparse_categorical_crossentropy",
        "tiny.py:loss",
        6,
        "training.loss: tiny.py:loss: {folder}/tiny.py defines no 'loss' at its top level. It defines: build, load.",
    ),
    "missing metric function": (
        "metric: accuracy, max_drop: 0.02",
        'metric: "tiny.py:cost", min: 1',
        15,
        "gates.0.metric: tiny.py:cost: {folder}/tiny.py defines no 'cost' at its top level. It defines: build, load.",
    ),
    "gate on an unknown metric": (
        "metric: accuracy",
        "metric: acuracy",
        15,
        "gates.0: unknown metric 'acuracy'. Did you mean accuracy? Known: ...",
    ),
    "gate without a bound": (
        ", max_drop: 0.02",
        "",
        15,
        f"gates.0: a gate needs exactly one of {BOUNDS}; the gate on accuracy has none.",
    ),
    "gate with two bounds": (
        "max_drop: 0.02",
        "max_drop: 0.02, min: 0.9",
        15,
        f"gates.0: a gate needs exactly one of {BOUNDS}; the gate on accuracy has min, max_drop.",
    ),
    "bound of another metric": (
        "metric: accuracy",
        "metric: p50_ms",
        15,
        "gates.0: max_drop is not a bound of p50_ms. Use one of max, min_speedup, max_ratio.",
    ),
    "a share in percent": (
        "max_drop: 0.02",
        "max_drop: 2",
        15,
        "gates.0: accuracy is a share from 0 to 1. Did you mean 0.02?",
    ),
    "bound for the other direction of your own metric": (
        "metric: accuracy, max_drop: 0.02",
        'metric: "tiny.py:load", max: 1',
        15,
        "gates.0: max makes no sense for tiny.py:load, which is better when higher. "
        "Use one of min, max_drop, max_drop_percent, min_gain. If it is not, add higher_is_better: false.",
    ),
    "metric of another task": (
        "metric: accuracy",
        "metric: mae",
        15,
        "gates.0: mae is no metric of this classification task. "
        "It has: accuracy, macro_f1, roc_auc, log_loss, top_5_accuracy.",
    ),
    "gate on an unknown target": (
        "max_drop: 0.02",
        "max_drop: 0.02, targets: [cpuu]",
        15,
        "gates.0: there is no target 'cpuu'. Did you mean cpu? Targets: cpu, tfs.",
    ),
    "objective of another task": (
        "minimize: p50_ms",
        "minimize: rmse",
        16,
        "choose: rmse is no metric of this classification task. It has: ...",
    ),
    "a gate on a cost that nobody knows": (
        "{metric: accuracy, max_drop: 0.02}",
        "{metric: cost_per_million, max: 1}",
        15,
        "gates.0: cost_per_million needs to know what an hour costs. Add cost_per_hour to these targets: cpu, tfs.",
    ),
    "an objective of costs that nobody knows": (
        "minimize: p50_ms",
        "minimize: cost_per_million",
        16,
        "choose: cost_per_million needs to know what an hour costs. Add cost_per_hour to these targets: cpu, tfs.",
    ),
    "hardware that is not here": (
        "threads: 1, batch_size: 1}",
        "provider: coreml}",
        12,
        "targets.cpu.provider: coreml is not available here. Providers: cpu, cuda, tensorrt, openvino. What runs on "
        "the CPUs of phones and small devices is runtime: litert.",
    ),
    "a provider that says too little": (
        "threads: 1, batch_size: 1}",
        "provider: gpu}",
        12,
        "targets.cpu.provider: gpu says too little: NVIDIA's are cuda and tensorrt, and others are not available here.",
    ),
    "a provider that nobody knows": (
        "threads: 1, batch_size: 1}",
        "provider: openvno}",
        12,
        "targets.cpu.provider: 'openvno' is not possible here. Did you mean openvino? Known: cpu, cuda, tensorrt, "
        "openvino.",
    ),
    "a runtime that is not here": (
        "runtime: tensorflow",
        "runtime: tpu",
        13,
        "targets.tfs: tpu is not available here. Runtimes: ..., onnxruntime, tensorflow; onnxruntime with "
        "provider cpu, cuda, tensorrt, openvino. What runs on the CPUs of phones and small devices is runtime: litert.",
    ),
    "a provider as a runtime": (
        "runtime: tensorflow",
        "runtime: tensorrt",
        13,
        "targets.tfs: tensorrt is a provider of ONNX Runtime: write runtime: onnxruntime, provider: tensorrt.",
    ),
    "litert by its old name": (
        "runtime: tensorflow",
        "runtime: tflite",
        13,
        "targets.tfs: tflite is called litert: write runtime: litert.",
    ),
    "hardware for nothing": (
        "threads: 1, batch_size: 1}",
        "cost_per_hour: 0}",
        12,
        "targets.cpu.cost_per_hour: must be greater than 0. Got 0.",
    ),
    "two objectives": (
        "minimize: p50_ms",
        "minimize: p50_ms, maximize: accuracy",
        16,
        "choose: choose has one objective: give minimize or maximize, not both.",
    ),
    "serving an unknown target": (
        "target: cpu",
        "target: cpuu",
        18,
        "serving.0.target: 'cpuu' is not a target. Did you mean cpu? Known: cpu, tfs.",
    ),
    "serving another form": (
        "target: cpu",
        "target: tfs",
        18,
        "serving.0.target: onnx_server serves the form onnx, but target tfs (runtime tensorflow) yields savedmodel. "
        "Name a target of another runtime.",
    ),
    "serving kind twice": (
        "  - {kind: onnx_server, target: cpu}\n",
        "  - {kind: onnx_server, target: cpu}\n" * 2,
        19,
        "serving.1.kind: onnx_server stands twice; a serving folder holds one target's winner.",
    ),
    "chain outside the grammar": (
        "[{kind: int8_static}]",
        "[{kind: int8_static}, {kind: int8_dynamic}]",
        10,
        "candidates.int8: only one of int8_dynamic, int8_static can be used, once. "
        "The chain is [int8_static, int8_dynamic]; allowed is: ...",
    ),
    "candidate called float32": (
        "int8:",
        "float32:",
        10,
        "candidates.float32: float32 is the empty chain, which is always there: choose another name.",
    ),
    "candidate called champion": (
        "int8:",
        "champion:",
        10,
        "candidates.champion: champion is the version in production: choose another name.",
    ),
    "no target": (
        "targets:\n  cpu: {runtime: onnxruntime, threads: 1, batch_size: 1}\n  tfs: {runtime: tensorflow}",
        "targets: {}",
        11,
        "targets: needs at least 1 entry. Got an empty one.",
    ),
    "builder without training": (
        GOOD[GOOD.index("training:") : GOOD.index("candidates:")],
        "",
        3,
        "model: keras_builder yields an untrained model: add a training section (loss, epochs).",
    ),
    "key twice": ("choose:", "name: other\nchoose:", 16, "the key 'name' stands twice (first on line 1)."),
    "key twice in a section": (
        "threads: 1",
        "threads: 1, threads: 2",
        12,
        "the key 'threads' stands twice (first on line 12).",
    ),
    "a fine-tuning that is all warm-up": (
        "learning_rate: 0.01}\ncandidates:\n",
        "learning_rate: {kind: cosine, initial: 0.01, warmup_epochs: 1}}\ncandidates:\n"
        "  tuned: [{kind: fine_tuning, epochs: 1}]\n",
        10,
        "candidates.tuned.0: it trains for 1 epoch(s), and the learning rate rises for 1: ...",
    ),
    "an ONNX technique before one that trains": (
        "int8: [{kind: int8_static}]",
        "int8: [{kind: int8_static}, {kind: pruning}]",
        10,
        "candidates.int8: pruning cannot come after int8_static. The chain is [int8_static, pruning]; allowed is: ...",
    ),
    "qat without int8_static": (
        "int8: [{kind: int8_static}]",
        "int8: [{kind: qat}]",
        10,
        "candidates.int8: qat must be followed by int8_static. ...",
    ),
    "a student that is not there": (
        "int8: [{kind: int8_static}]",
        "int8: [{kind: distillation, student: tiny.py:biuld}]",
        10,
        "candidates.int8.0.student: tiny.py:biuld: {folder}/tiny.py defines no 'biuld' at its top level. Did you mean "
        "build? ...",
    ),
    "an end for zeros that are there from the start": (
        "int8: [{kind: int8_static}]",
        "int8: [{kind: pruning, schedule: constant, end: 0.5}]",
        10,
        "candidates.int8.0: schedule constant has its zeros from the first step on: leave end out.",
    ),
    "a schedule for 2:4": (
        "int8: [{kind: int8_static}]",
        'int8: [{kind: pruning, pattern: "2:4", schedule: constant}]',
        10,
        "candidates.int8.0: pattern 2:4 has its zeros from the first step on: leave schedule out.",
    ),
    "2:4 of another sparsity": (
        "int8: [{kind: int8_static}]",
        'int8: [{kind: pruning, pattern: "2:4", sparsity: 0.8}]',
        10,
        "candidates.int8.0: pattern 2:4 has a sparsity of 0.5. Got 0.8: leave sparsity out.",
    ),
    "tab": ("  epochs: 2", "\tepochs: 2", 7, "not valid YAML: a tab; indent with spaces."),
    "bracket not closed": ("gates:\n", "gates: [\n", 15, "not valid YAML: ..."),
    "tag that would run code": ("name: tiny", "name: !!python/name:os.system", 1, "not valid YAML: ..."),
    "key that is a list": ("choose:", "[a, b]:", 16, "a key must be one word, not a list or mapping."),
    "anchor in itself": ("choose: {minimize: p50_ms}", "choose: &me [*me]", 1, "nested too deeply, or an anchor ..."),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tiny.py").write_text(CODE)
    (tmp_path / "broken.py").write_text("def load(:\n")
    (tmp_path / "keras.py").write_text(CODE)
    return tmp_path


def refused(folder: Path, content: str | bytes) -> list[str]:
    """The sentences of a refused config."""
    path = folder / "tiny.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError) as caught:
        load(path)
    assert caught.value.exit_code == 2
    return str(caught.value).splitlines()


def pattern(line: int, sentence: str, folder: Path) -> str:
    """A regular expression in which `...` stands for anything."""
    whole = f"{folder / 'tiny.yaml'}:{line}: {sentence.replace('{folder}', str(folder))}"
    return ".*".join(re.escape(part) for part in whole.split("..."))


@pytest.mark.parametrize("kind", ["onnx_server", "tf_serving"])
def test_nothing_serves_a_file_for_devices(kind, folder):
    content = GOOD.replace("runtime: tensorflow", "runtime: litert")

    (said,) = refused(folder, content.replace("kind: onnx_server, target: cpu", f"kind: {kind}, target: tfs"))

    assert "target tfs (runtime litert) yields litert. Name a target of another runtime." in said


def test_a_gate_on_costs_concerns_only_its_own_targets(folder):
    content = GOOD.replace("threads: 1, batch_size: 1}", "cost_per_hour: 0.17}", 1)
    gate = "gates:\n  - {metric: cost_per_million, max: 1, targets: [cpu]}"
    (folder / "tiny.yaml").write_text(content.replace("gates:", gate))

    assert load(folder / "tiny.yaml").config.targets["cpu"].cost_per_hour == 0.17


def test_the_good_config_is_right(folder):
    (folder / "tiny.yaml").write_text(GOOD)

    plan = load(folder / "tiny.yaml")

    assert list(plan.config.chains()) == ["float32", "int8"]


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_config_is_refused_with_line_place_and_next_word(case, folder):
    before, after, line, sentence = BROKEN[case]
    assert before in GOOD

    sentences = refused(folder, GOOD.replace(before, after, 1))

    assert len(sentences) == 1, sentences
    assert re.fullmatch(pattern(line, sentence, folder), sentences[0]), sentences[0]


@pytest.mark.parametrize(
    ("content", "line", "sentence"),
    [
        ("", 1, "the file is empty; expected a mapping with name, ..."),
        ("# only a comment\n", 1, "the file is empty; expected ..."),
        ("- name: tiny\n", 1, "the file is a list; expected ..."),
        ("tiny\n", 1, "the file is plain text; expected ..."),
        ("name: tiny\nseed: \x00\n", 2, "not valid YAML: ..."),
        ("name: tiny\ntask: t\xefny\n".encode("latin-1"), 2, "the byte 0xef is not UTF-8; ..."),
    ],
)
def test_a_file_that_is_no_config_is_refused(content, line, sentence, folder):
    sentences = refused(folder, content)

    assert re.fullmatch(pattern(line, sentence, folder), sentences[0]), sentences[0]


def test_anchors_that_multiply_each_other_are_refused_at_once(folder):
    levels = "\n".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 12))

    assert "more than 20,000 entries" in refused(folder, f"l0: &l0 [x]\n{levels}\n")[0]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (GOOD + "# " + "x" * 1_000_000, " is larger than 1 MB; a config has a few kB."),
        ("[" * 20_000, ":1: nested too deeply"),
        ("{a: " * 5_000, ":1: nested too deeply"),
        ("a:\n" + "- b\n" * 200_000, ": more than 20,000 entries"),
        ("a:\n" + "- " * 100_000, ":1: nested too deeply"),
    ],
)
def test_what_cannot_be_a_config_is_refused_before_it_takes_time(content, sentence, folder):
    before = time.process_time()

    (said,) = refused(folder, content)

    assert sentence in said
    assert time.process_time() - before < 10  # more is a hang


def test_a_config_that_is_not_there_names_init(tmp_path):
    with pytest.raises(InputError, match=re.escape("There is no config") + r".*`python -m flows init NAME`"):
        load(tmp_path / "none.yaml")


def test_all_mistakes_are_told_at_once(folder):
    content = GOOD.replace("epochs: 2", "epochs: 0").replace("kind: adam", "kind: adm").replace("choose:", "chose:")

    assert [sentence.split(":")[1] for sentence in refused(folder, content)] == ["7", "8", "16"]


def test_checks_across_sections_are_told_at_once(folder):
    content = GOOD.replace("tiny.py:build", "tiny.py:biuld").replace("target: cpu", "target: tfs")

    assert [sentence.split(":")[1] for sentence in refused(folder, content)] == ["3", "18"]


def test_anchors_and_merges_of_yaml_work(folder):
    content = GOOD.replace("  cpu: {", "  cpu: &cpu {").replace(
        "  tfs: {", "  big: {<<: *cpu, batch_size: 32}\n  tfs: {"
    )
    (folder / "tiny.yaml").write_text(content)

    assert load(folder / "tiny.yaml").config.targets["big"].batch_size == 32


@pytest.mark.parametrize(
    ("before", "after", "line", "sentence"),
    [
        ("name: tiny\n", "x: &s {a: 1}\nname: tiny\n<<: *s\n", 1, "a: unknown key. Known: ..."),
        ("name: tiny\n", "name: tiny\n<<: {chose: 1}\n", 2, "chose: unknown key. Did you mean choose? Known: ..."),
        ("name: tiny\n", "name: tiny\n<<: [{keep: {versions: 5}}, {a: 1}]\n", 2, "a: unknown key. Known: ..."),
        (
            "  tfs: {runtime: tensorflow}",
            "  tfs: {runtime: tensorflow}\n  big: {<<: {<<: {thread: 2}, threads: 1}, runtime: onnxruntime}",
            14,
            "targets.big.thread: unknown key. Did you mean threads? Known: ...",
        ),
        (
            "  tfs: {runtime: tensorflow}",
            "  tfs: {runtime: tensorflow}\n  big: {<<: {threads: 0}, threads: 0, runtime: onnxruntime}",
            14,
            "targets.big.threads: must be at least 1. Got 0.",
        ),
    ],
)
def test_a_mistake_that_was_merged_in_has_the_line_where_it_is_written(before, after, line, sentence, folder):
    said = refused(folder, GOOD.replace(before, after, 1))

    assert any(re.fullmatch(pattern(line, sentence, folder), one) for one in said), said


def test_a_merge_of_itself_is_refused(folder):
    assert "nested too deeply" in refused(folder, GOOD + "x: &x {<<: *x}\n")[0]


def test_a_number_in_scientific_writing_is_a_number(folder):
    (folder / "tiny.yaml").write_text(GOOD.replace("0.01", "1e-3"))  # YAML 1.1 reads 1e-3 as text

    assert load(folder / "tiny.yaml").config.training.optimizer.learning_rate == 0.001


def command(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "flows", *words], capture_output=True, text=True, check=False)


def test_check_ends_with_2_and_no_traceback(folder):
    (folder / "tiny.yaml").write_text(GOOD.replace("choose:", "chose:"))

    done = command(folder, "check", str(folder / "tiny.yaml"), "--json")

    assert done.returncode == 2
    assert json.loads(done.stdout)["exit_code"] == 2
    assert "tiny.yaml:16: chose: unknown key." in done.stderr
    assert "Traceback" not in done.stderr


def test_check_says_what_it_has_understood(folder):
    (folder / "tiny.yaml").write_text(GOOD)

    done = command(folder, "check", str(folder / "tiny.yaml"), "--json")

    answer = json.loads(done.stdout)
    assert done.returncode == 0
    assert answer["candidates"] == {"float32": [], "int8": ["int8_static"]}
    assert answer["targets"]["cpu"]["runtime"] == "onnxruntime"


@pytest.mark.parametrize("words", [["--help"], ["check", "tiny.yaml"], ["release", "--help"]])
def test_check_and_help_import_nothing_heavy(words, folder):
    (folder / "tiny.yaml").write_text(GOOD)
    code = (
        "import runpy, sys, json\n"
        "try:\n    runpy.run_module('flows', run_name='__main__')\n"
        "finally:\n    print(json.dumps(sorted(sys.modules)), file=sys.stderr)\n"
    )
    heavy = {"tensorflow", "mlflow", "prefect", "scipy", "sklearn", "onnxruntime", "onnx", "keras", "matplotlib"}

    done = subprocess.run(
        [sys.executable, "-c", code, *(word.replace("tiny.yaml", str(folder / "tiny.yaml")) for word in words)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert not heavy & set(json.loads(done.stderr.splitlines()[-1]))
