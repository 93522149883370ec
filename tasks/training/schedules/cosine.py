"""Learning rate that falls along half a cosine: a good default where the number of epochs is fixed."""

from typing import Any, Literal

from pydantic import Field

from tasks.foundations.record import Record


class Cosine(Record):
    """From `initial` to `final` over the whole training (or `decay_epochs`), after an optional linear warm-up."""

    kind: Literal["cosine"]
    initial: float = Field(gt=0, description="Highest learning rate.")
    final: float = Field(0.0, ge=0, description="Learning rate at the end.")
    warmup_epochs: float = Field(0.0, ge=0, description="Epochs of linear rise from 0 to `initial`.")
    decay_epochs: float | None = Field(None, gt=0, description="Epochs of the fall; default all that are left.")

    def build(self, keras: Any, steps_per_epoch: int, epochs: int) -> Any:
        """A schedule of `keras` (or tf_keras) for a training of so many steps."""
        fall = self.decay_epochs or max(epochs - self.warmup_epochs, 1 / steps_per_epoch)
        warmup = round(self.warmup_epochs * steps_per_epoch)
        return keras.optimizers.schedules.CosineDecay(
            initial_learning_rate=0.0 if warmup else self.initial,
            decay_steps=max(1, round(fall * steps_per_epoch)),
            alpha=self.final / self.initial,
            warmup_target=self.initial if warmup else None,
            warmup_steps=warmup,
        )
