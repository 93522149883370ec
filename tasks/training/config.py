"""The `training` section: how the model is trained, and the default of every technique that fine-tunes."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator

from tasks.foundations import entrypoints, menu
from tasks.foundations.record import Record
from tasks.training import losses
from tasks.training.optimizers.adam import Adam

if TYPE_CHECKING:
    Optimizer = Any
else:
    Optimizer = menu.union("tasks.training.optimizers")


class EarlyStopping(Record):
    """Stop when the validation split no longer gets better."""

    monitor: Literal["val_loss", "val_accuracy", "val_mae"] = Field(
        "val_loss", description="What must get better: loss, accuracy (classification, multilabel) or mae (regression)."
    )
    patience: int = Field(3, ge=0, description="Epochs without a gain that are waited for.")
    min_delta: float = Field(0.0, ge=0, description="Smallest gain that counts.")
    restore_best: bool = Field(True, description="Go back to the weights of the best epoch.")


class TrainingConfig(Record):
    """How to fit the model to the train split."""

    loss: str | dict[str, str] = Field(
        min_length=1,
        description="sparse_categorical_crossentropy, binary_crossentropy, mse, mae, huber, ...; "
        "or your own function of (labels, outputs) as file.py:function. Logits or probabilities follow the task. "
        "For a custom task with labels for several outputs also output name -> loss.",
    )
    epochs: int = Field(ge=1, description="Passes over the train split.")
    batch_size: int = Field(32, ge=1, description="Rows a step.")
    optimizer: Optimizer = Field(
        default_factory=lambda: Adam(kind="adam"),
        description="sgd, adam, adamw or rmsprop.",
    )
    early_stopping: EarlyStopping | None = Field(
        None, description="Stop before the last epoch; default never. Techniques run all of their epochs."
    )

    @field_validator("loss")
    @classmethod
    def _known_loss(cls, loss: str | dict[str, str]) -> str | dict[str, str]:
        for name in [loss] if isinstance(loss, str) else loss.values():
            losses.check_name(name)
        return loss

    @property
    def losses(self) -> dict[str, str]:
        """Output name -> loss; a single loss has no name."""
        return {"": self.loss} if isinstance(self.loss, str) else self.loss

    def source_digest(self, folder: Path) -> str:
        """sha256 over the code of losses of the user's own; empty if all are known ones."""
        return "".join(entrypoints.closure_digest(each, folder) for each in self.losses.values() if ".py:" in each)
