"""Releases of models that come trained, through the real command line: one of every source, nothing is trained."""

import importlib.util
import os
import re
import subprocess
import sys

import numpy as np
import pytest

from tests.flows.installation import MODELS, Installation

pytestmark = pytest.mark.slow("another model")
LOG = """
import sys
import keras, mlflow
uri, path, folder = sys.argv[1:]
mlflow.set_tracking_uri(uri)
mlflow.set_experiment(experiment_id=mlflow.create_experiment("by hand", artifact_location=folder))
mlflow.tensorflow.log_model(keras.models.load_model(path), name="model", registered_model_name="churn",
                            pip_requirements=["keras"])
mlflow.MlflowClient().set_registered_model_alias("churn", "gold", "1")
"""
TRAINED = {"training": None, "gates": [{"metric": "accuracy", "min": 0.5}]}


@pytest.fixture(scope="module")
def trained(installation: Installation):
    """The tiny model, trained by hand, in every form that people have; the data have no `train` split any more."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    keras, tf_keras = pytest.importorskip("keras"), pytest.importorskip("tf_keras")
    spec = importlib.util.spec_from_file_location("tiny_by_hand", MODELS / "tiny.py")
    tiny = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tiny)
    rows = tiny.load()["train"]
    old = tf_keras.Sequential([tf_keras.layers.Input((16,)), tf_keras.layers.Dense(3)])
    models = {keras: tiny.build(), tf_keras: old}
    for library, model in models.items():
        loss = library.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(library.optimizers.Adam(0.01), loss)
        model.fit(rows["inputs"], rows["labels"], epochs=4, verbose=0)
    models[keras].save(installation.folder / "model.keras")
    models[tf_keras].save(installation.folder / "old.h5")
    models[keras].export(installation.folder / "export", verbose=False)
    code = (MODELS / "tiny.py").read_text()
    without = re.sub(r'\n +"train": .*', "", code)
    assert without != code
    calibration = '"calibration": {"inputs": inputs[:64], "labels": labels[:64]}, "test":'
    (installation.folder / "tiny.py").write_text(without.replace('"test":', calibration))
    return models


def released(installation, model, *words, **more):
    answer = installation.release(*words, model=model, **{**TRAINED, **more})
    assert answer.code == 0, answer.log
    return answer


def stages(answer):
    return [stage["name"] for stage in answer.json["stages"]]


@pytest.fixture(scope="module")
def keras_file(installation, trained):
    return released(installation, {"kind": "keras_file", "path": "model.keras"})


def test_a_keras_file_is_released_without_training(keras_file):
    assert {"inspect", "load", "convert"} <= set(stages(keras_file))
    assert not {"build", "train"} & set(stages(keras_file))
    assert keras_file.json["winners"] == {"cpu": "int8"}


def test_the_same_file_is_looked_at_and_not_opened_again(installation, keras_file):
    again = released(installation, {"kind": "keras_file", "path": "model.keras"})

    assert again.json["decision"].startswith("already in production")
    assert again.reused["load"]
    assert not again.reused["inspect"]
    assert again.reused["convert float32"]


def test_a_file_of_keras_2_is_released(installation, keras_file):
    other_names = {"allow_signature_change": True}
    answer = released(installation, {"kind": "keras_file", "path": "old.h5"}, "--no-promote", **other_names)

    assert {"inspect", "load"} <= set(stages(answer))
    assert answer.json["candidates"][0]["accuracy"] > 0.5


def test_a_saved_model_is_released_on_both_runtimes(installation, keras_file):
    answer = released(
        installation,
        {"kind": "saved_model", "path": "export"},
        "--no-promote",
        targets={"cpu": {"runtime": "onnxruntime"}, "tfs": {"runtime": "tensorflow"}},
        allow_signature_change=True,  # Keras exports another output name than the Keras file has
    )

    assert answer.json["winners"] == {"cpu": "int8", "tfs": "float32"}


def test_a_registered_version_is_fetched_and_released(installation, keras_file):
    uri = f"sqlite:///{installation.home / 'mlflow' / 'mlflow.db'}"
    words = [uri, str(installation.folder / "model.keras"), str(installation.folder / "logged")]
    subprocess.run([sys.executable, "-c", LOG, *words], check=True, capture_output=True)

    answer = released(installation, {"kind": "registered", "name": "churn", "alias": "gold"}, "--no-promote")

    assert {"fetch", "inspect", "load"} <= set(stages(answer))
    same = next(row["accuracy"] for row in keras_file.json["candidates"] if row["name"] == "float32")
    assert np.isclose(answer.json["candidates"][0]["accuracy"], same)


def test_a_model_that_takes_words_is_released_for_tensorflow(installation, trained):
    import tensorflow as tf

    generator = np.random.default_rng(0)
    words, numbers = np.array(["grün", "rot"])[generator.integers(0, 2, 300)], generator.normal(size=(300, 1))
    values = tf.lookup.KeyValueTensorInitializer(["grün", "rot"], [-4.0, 4.0])
    module = tf.Module()
    module.table = tf.lookup.StaticHashTable(values, 0.0)
    specs = {
        "word": tf.TensorSpec((None,), tf.string, "word"),
        "number": tf.TensorSpec((None, 1), tf.float32, "number"),
    }
    serve = tf.function(lambda word, number: {"score": tf.reshape(module.table.lookup(word), (-1, 1)) + number})
    signature = serve.get_concrete_function(**specs)
    tf.saved_model.save(module, str(installation.folder / "words"), {"serving_default": signature})
    rows = {"inputs_word": words, "inputs_number": numbers.astype(np.float32), "labels": (words == "rot").astype(int)}
    splits = {"calibration": slice(0, 100), "test": slice(100, 300)}
    arrays = {f"{split}_{name}": rows[name][part] for split, part in splits.items() for name in rows}
    np.savez(installation.folder / "words.npz", **arrays)

    model, data = {"kind": "saved_model", "path": "words"}, {"kind": "npz", "path": "words.npz"}
    answer = released(
        installation,
        model,
        name="words",
        data=data,
        targets={"tfs": {"runtime": "tensorflow"}},
        serving=[{"kind": "tf_serving", "target": "tfs"}],
    )

    assert answer.json["promoted"] and answer.json["winners"] == {"tfs": "float32"}
    assert answer.json["candidates"][0]["accuracy"] > 0.9

    none = installation.release(name="words", model=model, data=data, **TRAINED)

    assert none.code == none.json["exit_code"] == 1, none.log
    assert "failed: cpu: No candidate could be judged. float32: No ONNX form for" in none.json["error"]
