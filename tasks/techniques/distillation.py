"""A smaller model of another architecture, taught by the trained one: the only technique that makes any model faster.

The student learns from the teacher's stored outputs (Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural
Network", 2015, arXiv:1503.02531), so the teacher may be anything that has outputs, a SavedModel without layers too.
"""

from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from tasks.foundations import entrypoints, progress
from tasks.foundations.errors import InputError, StepFailed
from tasks.foundations.record import Record
from tasks.models import saved_model
from tasks.models.interface import Interface, describe
from tasks.models.signature import Signature, TensorSpec
from tasks.models.sources.keras_builder import KerasBuilder
from tasks.techniques import trainable
from tasks.techniques.step import Place, Step
from tasks.training.distilled import Recipe, objective
from tasks.training.fit import fit

TEMPERATURE = 4.0


class Distillation(Record):
    """A student from the user's own file, trained on the teacher's outputs and the labels."""

    level: ClassVar[Literal["training", "onnx"]] = "training"
    place: ClassVar[Place] = "distillation"
    followed_by: ClassVar[str | None] = None

    kind: Literal["distillation"] = "distillation"
    student: str = Field(description="file.py:function beside the config; gives the untrained student, a keras.Model.")
    temperature: float | None = Field(
        None,
        gt=0,
        description=f"Softens the teacher's classes or labels; default {TEMPERATURE:g}. Classification and multilabel.",
    )
    alpha: float = Field(
        0.5, gt=0, le=1, description="Weight of the teacher's outputs in the loss; the labels have the rest."
    )
    epochs: trainable.Epochs = None
    batch_size: trainable.BatchSize = None
    optimizer: trainable.OwnOptimizer = None

    def apply(self, step: Step) -> dict[str, Any]:
        """Train the student and write it as a model folder of Keras 3.

        Raises:
            InputError: the student's code gives no usable model, or no `training` section.
            StepFailed: its inputs or outputs are not the teacher's, or the training diverged.
        """
        settings = trainable.settings(self, step)
        folder = Path(settings.folder)
        student = KerasBuilder(kind="keras_builder", entrypoint=self.student).open(folder, settings.seed)
        interface = matched(student, Signature.read(Path(step.source)))
        recipe = Recipe(alpha=self.alpha, temperature=self._temperature(settings.meaning.kind))
        goal = objective(step.dataset, step.teacher, settings, recipe, interface.signature)
        history = fit(student, step.dataset, settings, progress.report_epoch, objective=goal)
        saved_model.save(student, Path(step.out), history.model_dump(mode="json"), interface)
        return {"parameters": int(student.count_params()), "history": history.model_dump(mode="json")}

    def prove(self, folder: str, source: str) -> dict[str, Any]:
        """Compare the sizes of student and teacher; how well it has learnt is for the gates.

        Returns:
            Bytes of the weights of both.
        """
        taught, teacher = (_weights(Path(each)) for each in (folder, source))
        return {"weights_bytes": taught, "teacher_weights_bytes": teacher, "ratio": round(teacher / taught, 4)}

    def source_digest(self, folder: Path) -> str:
        """sha256 over the student's code."""
        return entrypoints.closure_digest(self.student, folder)

    def _temperature(self, kind: str) -> float:
        if self.temperature is not None and kind not in ("classification", "multilabel"):
            raise InputError(
                f"distillation.temperature: {self.temperature} softens classes, and this task has none. Leave it out."
            )
        return self.temperature or TEMPERATURE


def matched(student: Any, teacher: Signature) -> Interface:
    """The student's interface under the teacher's names.

    Raises:
        StepFailed: number, names, shapes or dtypes differ.
    """
    own = describe(student)
    for side in ("inputs", "outputs"):
        have, wanted = getattr(own.signature, side), getattr(teacher, side)
        one = len(have) == len(wanted) == 1
        if (not one and list(have) != list(wanted)) or list(have.values()) != list(wanted.values()):
            raise StepFailed(
                f"The student has the {side} {_words(have)}, the teacher has {_words(wanted)}. Give the student the "
                "same ones, in the same order."
            )
    import keras

    names = dict(zip(own.signature.inputs, teacher.inputs, strict=True))
    return Interface(signature=teacher, inputs=keras.tree.map_structure(names.__getitem__, own.inputs))


def _words(specs: dict[str, TensorSpec]) -> str:
    return ", ".join(f"{name} {spec.dtype}{[size or 'any' for size in spec.shape[1:]]}" for name, spec in specs.items())


def _weights(folder: Path) -> int:
    files = (folder / saved_model.SAVED_MODEL / "variables").glob("variables.data-*")
    return sum(file.stat().st_size for file in files)
