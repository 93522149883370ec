"""Training on and nothing else: the control that tells what a technique gains from what its training gains.

Five more epochs alone may make a model more accurate; a pruned candidate that was trained five epochs longer owes
that gain to them. Beside `[pruning, int8_static]`, `[fine_tuning, int8_static]` of the same epochs shows it.
"""

from typing import Any, ClassVar, Literal

from tasks.foundations.record import Record
from tasks.techniques import trainable
from tasks.techniques.step import Place, Step


class FineTuning(Record):
    """The same training as for pruning, clustering or qat, without either."""

    level: ClassVar[Literal["training", "onnx"]] = "training"
    place: ClassVar[Place] = "training"
    followed_by: ClassVar[str | None] = None

    kind: Literal["fine_tuning"] = "fine_tuning"
    epochs: trainable.Epochs = None
    batch_size: trainable.BatchSize = None
    optimizer: trainable.OwnOptimizer = None

    def apply(self, step: Step) -> dict[str, Any]:
        """Train on.

        Raises:
            InputError: no `training` section.
            StepFailed: the training diverged.
        """
        twin = trainable.open_source(step)
        settings = trainable.settings(self, step)
        history = trainable.train(twin.model, step, settings, trainable.keep(twin, twin.model))
        trainable.finish(step, twin, twin.model)
        return {"history": history.model_dump(mode="json")}

    def prove(self, folder: str, source: str) -> dict[str, Any]:
        """What earlier techniques promised.

        Raises:
            ProofFailed: a promise of the chain was broken.
        """
        return trainable.prove(folder)
