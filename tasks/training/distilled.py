"""The loss of a student: what the teacher said of each row, and what the labels say.

    classification   alpha T^2 KL(softmax(t / T) || softmax(s / T)) + (1 - alpha) loss(labels, s)   (Hinton, 2015)
    other            alpha mean((t - s)^2) + (1 - alpha) loss(labels, s)

T^2 keeps the two parts in proportion when the temperature changes. Probabilities are taken back to logits first.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tasks.data.dataset import Split
from tasks.foundations.errors import StepFailed
from tasks.training.fit import FitSettings, Objective, on_labels

Array = np.ndarray[Any, Any]
SMALLEST = 1e-7  # a probability of zero has no logit


class Recipe(NamedTuple):
    """How a student is taught.

    Attributes:
        alpha: weight of the teacher's part.
        temperature: T.
    """

    alpha: float
    temperature: float


def objective(
    dataset: Mapping[str, Split], teacher: Mapping[str, str], settings: FitSettings, recipe: Recipe
) -> Objective:
    """What a Keras 3 student of one output is fitted to.

    Args:
        dataset: holds `train` and `validation`.
        teacher: split -> absolute path of the folder with the teacher's outputs, one `.npy` of (rows, ...).
        settings: loss on the labels, and what the outputs are.
        recipe: of the two parts.

    Raises:
        StepFailed: the teacher's outputs are not finite, or of several outputs.
    """
    import keras

    said = {split: _outputs(Path(folder)) for split, folder in teacher.items()}
    width = said["train"].shape[-1]
    labels = on_labels(keras, dataset, settings, width)
    columns = 1 if labels.targets["train"].ndim == 1 else labels.targets["train"].shape[1]

    def split_targets(targets: Any) -> tuple[Any, Any]:
        hard = targets[:, :columns] if labels.targets["train"].ndim > 1 else targets[:, 0]
        return hard, targets[:, columns:]

    def loss(targets: Any, outputs: Any) -> Any:
        hard, soft = split_targets(targets)
        taught = recipe.alpha * _soft_loss(soft, outputs, settings.output, recipe.temperature)
        if recipe.alpha == 1.0:
            return taught
        return taught + (1.0 - recipe.alpha) * keras.ops.cast(labels.loss(hard, outputs), "float32")

    targets = {
        split: np.concatenate([_columns(labels.targets[split]), said[split]], axis=1, dtype=np.float32)
        for split in ("train", "validation")
    }
    return Objective(loss, labels.name, _on_first(labels.metric, split_targets), targets)


def _outputs(folder: Path) -> Array:
    """(rows, width) of the one stored output.

    Raises:
        StepFailed: there are several, or one is not finite.
    """
    files = sorted(folder.glob("*.npy"))
    if len(files) != 1:
        raise StepFailed(
            f"The teacher has the outputs {', '.join(file.stem for file in files)}. A student is taught by one: leave "
            "the others out of the model, or distillation out of this candidate."
        )
    said: Array = np.load(files[0], allow_pickle=False).astype(np.float32)
    if not np.isfinite(said).all():
        row = int(np.argmin(np.isfinite(said).reshape(len(said), -1).all(axis=1)))
        raise StepFailed(f"The teacher's output for row {row} is not finite. Mend the model before it teaches.")
    return said.reshape(len(said), -1)


def _soft_loss(teacher: Any, student: Any, output: str | None, temperature: float) -> Any:
    """(rows,) how far the student is from the teacher."""
    from keras import ops

    student = ops.reshape(ops.cast(student, "float32"), ops.shape(teacher))
    if output is None:
        return ops.mean(ops.square(teacher - student), axis=-1)
    wanted, given = (_logits(each, output) / temperature for each in (teacher, student))
    likely = ops.softmax(wanted, axis=-1)
    divergence = ops.sum(likely * (ops.log_softmax(wanted, axis=-1) - ops.log_softmax(given, axis=-1)), axis=-1)
    return temperature**2 * divergence


def _logits(outputs: Any, output: str) -> Any:
    """(rows, classes): of one column, those of its two classes."""
    from keras import ops

    binary = outputs.shape[-1] == 1
    if output == "probabilities":
        likely = ops.clip(outputs, SMALLEST, 1.0 - SMALLEST)
        outputs = ops.log(likely) - ops.log(1.0 - likely) if binary else ops.log(likely)
    return ops.concatenate([ops.zeros_like(outputs), outputs], axis=-1) if binary else outputs


def _on_first(metric: Any, split_targets: Callable[[Any], tuple[Any, Any]]) -> Any:
    """A metric of the labels, which stand in front of the teacher's outputs."""
    kind = type(metric)

    def update_state(self: Any, targets: Any, outputs: Any, sample_weight: Any = None) -> Any:
        return kind.update_state(self, split_targets(targets)[0], outputs, sample_weight)

    taught: Any = type(kind.__name__, (kind,), {"update_state": update_state})
    return taught.from_config(metric.get_config())


def _columns(labels: Array) -> Array:
    return labels[:, None] if labels.ndim == 1 else labels
