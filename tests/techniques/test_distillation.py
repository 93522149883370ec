"""A student learns what its teacher said, whatever the task, and takes the teacher's place under its names."""

import json

import numpy as np
import pytest

from tasks.foundations.errors import InputError, StepFailed
from tasks.models.output import Meaning
from tasks.models.signature import Signature, TensorSpec
from tasks.techniques.apply import CompressRequest, compress
from tasks.training.config import TrainingConfig
from tasks.training.distilled import Recipe, objective
from tasks.training.fit import FitSettings
from tests.techniques.training_world import write

STUDENTS = """
import keras
from keras import layers

def small(width=3, last=None):
    hidden = layers.Dense(16, activation="relu")
    return keras.Sequential([keras.Input((4,)), hidden, layers.Dense(width, activation=last)])

def probabilities():
    return small(3, "softmax")

def binary():
    return small(1)

def single():
    return small(1)

def wide():
    return small(5)

def other_input():
    return keras.Sequential([keras.Input((7,)), layers.Dense(3)])
"""


@pytest.fixture
def house(tmp_path):
    (tmp_path / "students.py").write_text(STUDENTS)
    rng = np.random.default_rng(0)
    inputs = {
        name: rng.normal(size=(rows, 4)).astype(np.float32) for name, rows in (("train", 512), ("validation", 64))
    }
    return tmp_path, inputs


def meaning(output):
    return Meaning(kind="classification" if output else "regression", output=output)


def one_answer(width):
    return Signature(
        inputs={"features": TensorSpec(dtype="float32", shape=(None, 4))},
        outputs={"answer": TensorSpec(dtype="float32", shape=(None, width))},
    )


def teach(house, student, said, labels, output="logits", loss="sparse_categorical_crossentropy", **technique):
    """Distil from stored outputs; the folder of the student."""
    folder, inputs = house
    source, out = folder / "teacher", folder / "student"
    for made in (source, out):
        made.mkdir()
    width = said["train"].shape[-1]
    Signature(
        inputs={"features": TensorSpec(dtype="float32", shape=(None, 4))},
        outputs={"answer": TensorSpec(dtype="float32", shape=(None, width))},
    ).write(source)
    (source / "saved_model" / "variables").mkdir(parents=True)
    (source / "saved_model" / "variables" / "variables.data-00000-of-00001").write_bytes(b"0" * 100_000)
    teacher = {}
    for name, outputs in said.items():
        (folder / f"said_{name}").mkdir()
        np.save(folder / f"said_{name}" / "answer.npy", outputs)
        teacher[name] = str(folder / f"said_{name}")
    dataset = {name: write(folder / "data" / name, inputs[name], labels[name]) for name in inputs}
    training = TrainingConfig(loss=loss, epochs=12, batch_size=32, optimizer={"kind": "adam", "learning_rate": 0.01})
    compress(
        CompressRequest(
            source=str(source),
            technique={"kind": "distillation", "student": f"students.py:{student}", **technique},
            calibration=dataset["train"],
            out=str(out),
            dataset=dataset,
            fit=FitSettings(training=training, meaning=meaning(output), seed=0, folder=str(folder)),
            teacher=teacher,
        )
    )
    return out


def answers(out, inputs):
    import tensorflow as tf

    infer = tf.saved_model.load(str(out / "saved_model")).signatures["serving_default"]
    return infer(features=tf.constant(inputs))["answer"].numpy()


def said_by(inputs, weights):
    return {name: array @ weights for name, array in inputs.items()}


WEIGHTS = np.random.default_rng(1).normal(size=(4, 3)).astype(np.float32)


def test_a_student_follows_its_teacher_where_the_labels_are_noise(house):
    """Labels are drawn by lot, so agreement can come from the teacher only."""
    _, inputs = house
    said = said_by(inputs, 3 * WEIGHTS)
    lots = {name: np.random.default_rng(2).integers(0, 3, len(array)) for name, array in inputs.items()}
    out = teach(house, "small", said, lots, alpha=1.0)

    agreed = np.mean(answers(out, inputs["validation"]).argmax(1) == said["validation"].argmax(1))
    assert agreed > 0.9
    assert Signature.read(out).outputs.keys() == {"answer"}
    proof = json.loads((out / "evidence.json").read_text())["proof"]
    assert proof["teacher_weights_bytes"] == 100_000 and proof["ratio"] > 1


def test_probabilities_are_taught_as_probabilities(house):
    _, inputs = house
    logits = said_by(inputs, 3 * WEIGHTS)
    said = {name: np.exp(z) / np.exp(z).sum(1, keepdims=True) for name, z in logits.items()}
    labels = {name: array.argmax(1) for name, array in said.items()}
    out = teach(house, "probabilities", said, labels, output="probabilities", temperature=2.0)

    found = answers(out, inputs["validation"])
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-5)
    assert np.abs(found - said["validation"]).mean() < 0.1


def test_one_output_of_a_binary_classifier_is_taught(house):
    _, inputs = house
    said = said_by(inputs, 3 * WEIGHTS[:, :1])
    labels = {name: (array[:, 0] > 0).astype(int) for name, array in said.items()}
    out = teach(house, "binary", said, labels, loss="binary_crossentropy")

    assert np.mean((answers(out, inputs["validation"]) > 0) == (said["validation"] > 0)) > 0.9


def test_a_regression_is_taught(house):
    _, inputs = house
    said = said_by(inputs, WEIGHTS[:, :1])
    labels = {name: array[:, 0] for name, array in said.items()}
    out = teach(house, "single", said, labels, output=None, loss="mse")

    assert np.corrcoef(answers(out, inputs["validation"])[:, 0], said["validation"][:, 0])[0, 1] > 0.95


@pytest.mark.parametrize(
    ("student", "match"),
    [
        ("wide", r"The student has the outputs output float32\[5\], the teacher has answer float32\[3\]"),
        ("other_input", r"The student has the inputs input float32\[7\], the teacher has features float32\[4\]"),
    ],
)
def test_a_student_that_does_not_match_is_refused_with_both_sides(house, student, match):
    _, inputs = house
    said = said_by(inputs, WEIGHTS)
    with pytest.raises(StepFailed, match=match):
        teach(house, student, said, {name: array.argmax(1) for name, array in said.items()})


def test_a_temperature_without_classes_is_refused(house):
    _, inputs = house
    said = said_by(inputs, WEIGHTS[:, :1])
    with pytest.raises(InputError, match=r"distillation\.temperature: 2\.0 softens classes, and this task has none"):
        teach(house, "single", said, {n: a[:, 0] for n, a in said.items()}, output=None, loss="mse", temperature=2.0)


def test_a_teacher_that_says_nan_does_not_teach(house):
    _, inputs = house
    said = said_by(inputs, WEIGHTS)
    said["train"][7, 1] = np.nan
    with pytest.raises(StepFailed, match="The teacher's output for row 7 is not finite"):
        teach(house, "small", said, {name: np.zeros(len(array), int) for name, array in said.items()})


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_the_loss_is_that_of_the_paper(house, temperature):
    """Against a plain numpy version of it."""
    folder, inputs = house
    said = said_by(inputs, WEIGHTS)
    labels = {name: array.argmax(1) for name, array in said.items()}
    for name, array in said.items():
        (folder / f"said_{name}").mkdir()
        np.save(folder / f"said_{name}" / "answer.npy", array)
    dataset = {name: write(folder / "data" / name, inputs[name], labels[name]) for name in inputs}
    settings = FitSettings(
        training=TrainingConfig(loss="sparse_categorical_crossentropy", epochs=1),
        meaning=meaning("logits"),
        seed=0,
        folder="/",
    )
    teacher = {name: str(folder / f"said_{name}") for name in said}
    goal = objective(dataset, teacher, settings, Recipe(alpha=0.7, temperature=temperature), one_answer(3))
    outputs = np.random.default_rng(5).normal(size=(64, 3)).astype(np.float32)

    found = np.mean(np.array(goal.losses[0](goal.targets["validation"][0], outputs)))

    def log_softmax(z):
        z = z - z.max(1, keepdims=True)
        return z - np.log(np.exp(z).sum(1, keepdims=True))

    wanted, given = (log_softmax(each / temperature) for each in (said["validation"], outputs))
    soft = temperature**2 * (np.exp(wanted) * (wanted - given)).sum(1).mean()
    hard = -log_softmax(outputs)[np.arange(64), labels["validation"]].mean()
    assert found == pytest.approx(0.7 * soft + 0.3 * hard, rel=1e-4)


@pytest.mark.parametrize("output", ["logits", "probabilities"])
def test_each_label_of_a_multilabel_teacher_is_softened_by_itself(house, output):
    """Against a plain numpy version: binary divergence of every label, mean over labels."""
    folder, inputs = house
    logits = said_by(inputs, WEIGHTS)
    said = {name: each if output == "logits" else 1 / (1 + np.exp(-each)) for name, each in logits.items()}
    labels = {name: (array > 0).astype("float32") for name, array in logits.items()}
    dataset = {name: write(folder / "data" / name, inputs[name], labels[name]) for name in inputs}
    teacher = stored(folder, {"answer": said})
    settings = FitSettings(
        training=TrainingConfig(loss="binary_crossentropy", epochs=1),
        meaning=Meaning(kind="multilabel", output=output),
        seed=0,
        folder="/",
    )
    goal = objective(dataset, teacher, settings, Recipe(alpha=0.7, temperature=2.0), one_answer(3))
    given = np.random.default_rng(5).normal(size=(64, 3)).astype(np.float32)
    outputs = given if output == "logits" else 1 / (1 + np.exp(-given))

    found = np.mean(np.array(goal.losses[0](goal.targets["validation"][0], outputs.astype(np.float32))))

    p, q = (1 / (1 + np.exp(-each / 2.0)) for each in (logits["validation"], given))
    soft = 4.0 * np.mean(p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q)))
    yes = 1 / (1 + np.exp(-given))
    hard = -np.mean(np.where(labels["validation"] == 1, np.log(yes), np.log(1 - yes)))
    assert found == pytest.approx(0.7 * soft + 0.3 * hard, rel=1e-3)
    assert goal.name == "accuracy"


def stored(folder, said):
    """Outputs by name and split, as `predict` leaves them."""
    for name, splits in said.items():
        for split, array in splits.items():
            (folder / f"said_{split}").mkdir(exist_ok=True)
            np.save(folder / f"said_{split}" / f"{name}.npy", array)
    return {split: str(folder / f"said_{split}") for split in next(iter(said.values()))}


def test_every_output_of_the_teacher_is_taught_and_only_the_judged_one_has_labels(house):
    folder, inputs = house
    scores, codes = said_by(inputs, WEIGHTS), said_by(inputs, WEIGHTS[:, :2])
    labels = {name: array.argmax(1) for name, array in scores.items()}
    dataset = {name: write(folder / "data" / name, inputs[name], labels[name]) for name in inputs}
    teacher = stored(folder, {"code": codes, "scores": scores})
    settings = FitSettings(
        training=TrainingConfig(loss="sparse_categorical_crossentropy", epochs=1),
        meaning=Meaning(kind="classification", output="logits", judged="scores"),
        seed=0,
        folder="/",
    )
    spec = {"code": (None, 2), "scores": (None, 3)}
    signature = Signature(
        inputs=one_answer(3).inputs, outputs={name: TensorSpec(dtype="float32", shape=spec[name]) for name in spec}
    )
    goal = objective(dataset, teacher, settings, Recipe(alpha=0.5, temperature=1.0), signature)
    code_targets, score_targets = goal.targets["validation"]
    assert code_targets.shape == (64, 2) and score_targets.shape == (64, 4)
    off = codes["validation"] + np.array([1.0, 3.0], np.float32)
    assert np.mean(np.array(goal.losses[0](code_targets, off))) == pytest.approx(5.0, rel=1e-4)
    right = np.mean(np.array(goal.losses[1](score_targets, scores["validation"])))
    wrong = np.mean(np.array(goal.losses[1](score_targets, -scores["validation"])))
    assert right < wrong


def test_a_custom_student_is_taught_the_numbers_of_its_teacher_whatever_their_shape(house):
    folder, inputs = house
    said = {name: np.stack([array, 2 * array], axis=1) for name, array in inputs.items()}  # (rows, 2, 4)
    labels = {name: array.argmax(-1) for name, array in said.items()}
    dataset = {name: write(folder / "data" / name, inputs[name], labels[name]) for name in inputs}
    settings = FitSettings(
        training=TrainingConfig(loss="sparse_categorical_crossentropy", epochs=1),
        meaning=Meaning(kind="custom", output="logits"),
        seed=0,
        folder="/",
    )
    signature = Signature(
        inputs=one_answer(3).inputs, outputs={"steps": TensorSpec(dtype="float32", shape=(None, 2, 4))}
    )
    goal = objective(dataset, stored(folder, {"steps": said}), settings, Recipe(alpha=0.5, temperature=1.0), signature)
    z = said["validation"] - said["validation"].max(-1, keepdims=True)
    hard = -np.mean(np.max(z - np.log(np.exp(z).sum(-1, keepdims=True)), axis=-1))
    found = np.mean(np.array(goal.losses[0](goal.targets["validation"][0], said["validation"] + 1.0)))
    assert found == pytest.approx(0.5 * 1.0 + 0.5 * hard, rel=1e-3)
