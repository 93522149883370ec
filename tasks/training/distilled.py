"""The loss of a student: what the teacher said of each row, and what the labels say.

    classification   alpha T^2 KL(softmax(t / T) || softmax(s / T)) + (1 - alpha) loss(labels, s)   (Hinton, 2015)
    multilabel       alpha T^2 mean KL(sigmoid(t / T) || sigmoid(s / T)) + (1 - alpha) loss(labels, s)
    other            alpha mean((t - s)^2) + (1 - alpha) loss(labels, s)
    without labels   mean((t - s)^2), for each further output of the model

T^2 keeps the two parts in proportion when the temperature changes. Probabilities are taken back to logits first.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tasks.data.dataset import Split
from tasks.foundations.errors import StepFailed
from tasks.models.output import NUMBERS, Meaning
from tasks.models.signature import Signature
from tasks.training.fit import FitSettings
from tasks.training.objective import SPLITS, Objective, on_labels

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
    dataset: Mapping[str, Split],
    teacher: Mapping[str, str],
    settings: FitSettings,
    recipe: Recipe,
    signature: Signature,
) -> Objective:
    """What a Keras 3 student is fitted to: every output of the teacher, and the labels of those that have some.

    Args:
        dataset: holds `train` and `validation`.
        teacher: split -> absolute path of the folder with the teacher's outputs, `<output>.npy` of (rows, ...).
        settings: losses on the labels, and what the outputs are.
        recipe: of the two parts.
        signature: of teacher and student.

    Raises:
        StepFailed: the teacher's outputs are not finite.
    """
    import keras

    labels = on_labels(keras, dataset, settings, signature)
    taught = [
        _taught(position, name, teacher, labels, (settings.meaning, recipe))
        for position, name in enumerate(signature.outputs)
    ]
    losses = {position: each.loss for position, each in enumerate(taught)}
    targets = {split: tuple(each.targets[split] for each in taught) for split in SPLITS}
    if len(taught) > 1 or labels.metric is None:
        return Objective(losses, targets)
    return Objective(losses, targets, labels.name, _on_first(labels.metric, taught[0].parted))


class _Taught(NamedTuple):
    """One output of the student: its loss, and what that compares with.

    Attributes:
        loss: of (targets, outputs).
        targets: split -> (rows, columns) float32: labels, if there are any, then what the teacher said.
        parted: targets -> labels in their own shape, and the teacher's part.
    """

    loss: Any
    targets: dict[str, Array]
    parted: Any


def _taught(
    position: int, name: str, teacher: Mapping[str, str], labels: Objective, how: tuple[Meaning, Recipe]
) -> _Taught:
    from keras import ops

    meaning, recipe = how
    said = {split: _outputs(Path(teacher[split]) / f"{name}.npy") for split in SPLITS}
    place = list(labels.losses).index(position) if position in labels.losses else None
    hard_part = {split: np.zeros((len(said[split]), 0)) for split in SPLITS}
    if place is not None:
        hard_part = {split: np.asarray(labels.targets[split][place]) for split in SPLITS}
    shape = hard_part["train"].shape[1:]
    columns = int(np.prod(shape))
    graded = meaning if place is not None else NUMBERS

    def parted(targets: Any) -> tuple[Any, Any]:
        return ops.reshape(targets[:, :columns], (-1, *shape)), targets[:, columns:]

    def loss(targets: Any, outputs: Any) -> Any:
        hard, soft = parted(targets)
        soft_loss = _soft_loss(soft, outputs, graded, recipe.temperature)
        if place is None:
            return soft_loss
        if recipe.alpha == 1.0:
            return recipe.alpha * soft_loss
        hard_loss = ops.mean(ops.cast(labels.losses[position](hard, outputs), "float32"))
        return recipe.alpha * soft_loss + (1.0 - recipe.alpha) * hard_loss

    targets = {
        split: np.concatenate(
            [hard_part[split].reshape(len(said[split]), columns), said[split]], axis=1, dtype=np.float32
        )
        for split in SPLITS
    }
    return _Taught(loss, targets, parted)


def _outputs(file: Path) -> Array:
    """(rows, width) of a stored output.

    Raises:
        StepFailed: it is not finite.
    """
    said: Array = np.load(file, allow_pickle=False).astype(np.float32)
    if not np.isfinite(said).all():
        row = int(np.argmin(np.isfinite(said).reshape(len(said), -1).all(axis=1)))
        raise StepFailed(f"The teacher's output for row {row} is not finite. Mend the model before it teaches.")
    return said.reshape(len(said), -1)


def _soft_loss(teacher: Any, student: Any, meaning: Meaning, temperature: float) -> Any:
    """(rows,) how far the student is from the teacher."""
    from keras import ops

    student = ops.reshape(ops.cast(student, "float32"), ops.shape(teacher))
    if meaning.kind not in ("classification", "multilabel"):
        return ops.mean(ops.square(teacher - student), axis=-1)
    if meaning.kind == "multilabel":
        return temperature**2 * _soft_labels(*(_log_odds(each, meaning) / temperature for each in (teacher, student)))
    wanted, given = (_logits(each, meaning) / temperature for each in (teacher, student))
    likely = ops.softmax(wanted, axis=-1)
    divergence = ops.sum(likely * (ops.log_softmax(wanted, axis=-1) - ops.log_softmax(given, axis=-1)), axis=-1)
    return temperature**2 * divergence


def _soft_labels(wanted: Any, given: Any) -> Any:
    """(rows,) mean over labels of the divergence of yes and no."""
    from keras import ops

    likely = ops.sigmoid(wanted)
    yes = likely * (ops.log_sigmoid(wanted) - ops.log_sigmoid(given))
    no = (1.0 - likely) * (ops.log_sigmoid(-wanted) - ops.log_sigmoid(-given))
    return ops.mean(yes + no, axis=-1)


def _log_odds(outputs: Any, meaning: Meaning) -> Any:
    from keras import ops

    if meaning.output != "probabilities":
        return outputs
    likely = ops.clip(outputs, SMALLEST, 1.0 - SMALLEST)
    return ops.log(likely) - ops.log(1.0 - likely)


def _logits(outputs: Any, meaning: Meaning) -> Any:
    """(rows, classes): of one column, those of its two classes."""
    from keras import ops

    if outputs.shape[-1] == 1:
        outputs = _log_odds(outputs, meaning)
        return ops.concatenate([ops.zeros_like(outputs), outputs], axis=-1)
    return ops.log(ops.clip(outputs, SMALLEST, 1.0 - SMALLEST)) if meaning.output == "probabilities" else outputs


def _on_first(metric: Any, split_targets: Callable[[Any], tuple[Any, Any]]) -> Any:
    """A metric of the labels, which stand in front of the teacher's outputs."""
    kind = type(metric)

    def update_state(self: Any, targets: Any, outputs: Any, sample_weight: Any = None) -> Any:
        return kind.update_state(self, split_targets(targets)[0], outputs, sample_weight)

    taught: Any = type(kind.__name__, (kind,), {"update_state": update_state})
    return taught.from_config(metric.get_config())
