"""The `training` section: what it accepts, and the learning rates that its schedules give."""

import numpy as np
import pytest
from pydantic import ValidationError

from tasks.foundations import menu
from tasks.training.config import TrainingConfig
from tasks.training.rate import build

keras = pytest.importorskip("keras")


def config(**more):
    return TrainingConfig.model_validate({"loss": "mse", "epochs": 4, **more})


def rates(schedule, steps=10, epochs=4):
    optimizer = config(optimizer={"kind": "sgd", "learning_rate": schedule}, epochs=epochs).optimizer
    built = build(optimizer.learning_rate, keras, steps, epochs)
    return np.array([float(built(step)) for step in range(steps * epochs + 1)])


def test_every_optimizer_of_the_menu_builds_with_a_number_and_with_a_schedule():
    for kind in menu.choices("tasks.training.optimizers"):
        for rate in (0.5, {"kind": "exponential", "initial": 0.5, "factor": 0.9}):
            optimizer = config(optimizer={"kind": kind, "learning_rate": rate, "clip_norm": 1.0}).optimizer
            built = optimizer.build(keras, 10, 4)
            assert type(built).__name__.lower() == kind
            assert float(keras.ops.convert_to_numpy(built.learning_rate)) == pytest.approx(0.5)
            assert built.clipnorm == 1.0


def test_momentum_and_decay_reach_keras():
    sgd = config(optimizer={"kind": "sgd", "momentum": 0.9, "nesterov": True}).optimizer.build(keras, 1, 1)
    assert sgd.momentum == 0.9 and sgd.nesterov
    assert config(optimizer={"kind": "adamw", "weight_decay": 0.1}).optimizer.build(keras, 1, 1).weight_decay == 0.1


def test_a_cosine_ends_at_its_final_rate_in_the_last_epoch():
    values = rates({"kind": "cosine", "initial": 1.0, "final": 0.1})
    assert values[0] == 1.0
    assert values[20] == pytest.approx(0.55)
    assert values[-1] == pytest.approx(0.1)


def test_a_cosine_warms_up_and_then_still_falls_to_the_end():
    values = rates({"kind": "cosine", "initial": 1.0, "warmup_epochs": 1})
    assert values[0] == 0.0
    assert values[5] == pytest.approx(0.5)
    assert values[10] == pytest.approx(1.0)
    assert values[-1] == pytest.approx(0.0, abs=1e-6)


def test_an_exponential_rate_counts_in_epochs():
    values = rates({"kind": "exponential", "initial": 1.0, "factor": 0.5, "staircase": True})
    assert values[[0, 9, 10, 19, 20]] == pytest.approx([1.0, 1.0, 0.5, 0.5, 0.25])
    assert rates({"kind": "exponential", "initial": 1.0, "factor": 0.25, "every_epochs": 2})[10] == pytest.approx(0.5)


def test_a_piecewise_rate_changes_between_two_epochs():
    values = rates({"kind": "piecewise", "rates": [1.0, 0.5, 0.1], "epochs": [1, 3]})
    assert values[[0, 9, 10, 29, 30, 39]] == pytest.approx([1.0, 1.0, 0.5, 0.5, 0.1, 0.1])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"loss": "sparse_categorical_crosentropy"}, "Did you mean sparse_categorical_crossentropy"),
        ({"loss": "categorical_crossentropy"}, "one-hot labels become integers when the data are read"),
        ({"epochs": 0}, "greater than or equal to 1"),
        ({"optimizer": {"kind": "sdg"}}, "'adam', 'adamw', 'rmsprop', 'sgd'"),
        ({"optimizer": {"kind": "sgd", "learning_rate": -1}}, "greater than 0"),
        ({"optimizer": {"kind": "sgd", "learning_rate": {"kind": "piecewise", "rates": [1, 2], "epochs": [1, 2]}}},
         "2 epochs need 3 rates"),
        ({"optimizer": {"kind": "sgd", "learning_rate": {"kind": "piecewise", "rates": [3, 2, 1], "epochs": [2, 1]}}},
         "epochs must rise"),
        ({"early_stopping": {"monitor": "loss"}}, "val_loss"),
    ],
)  # fmt: skip
def test_a_wrong_setting_is_refused(change, sentence):
    with pytest.raises(ValidationError, match=sentence):
        config(**change)
