"""Learning rate that is multiplied by a factor every so many epochs."""

from typing import Any, Literal

from pydantic import Field

from tasks.foundations.record import Record


class Exponential(Record):
    """`initial * factor ** (epoch / every_epochs)`."""

    kind: Literal["exponential"]
    initial: float = Field(gt=0, description="Learning rate at the start.")
    factor: float = Field(gt=0, le=1, description="What the rate is multiplied by.")
    every_epochs: float = Field(1.0, gt=0, description="Epochs between two full multiplications.")
    staircase: bool = Field(False, description="Fall in steps instead of smoothly.")

    def build(self, keras: Any, steps_per_epoch: int, epochs: int) -> Any:
        """A schedule of `keras` (or tf_keras) for a training of so many steps."""
        return keras.optimizers.schedules.ExponentialDecay(
            initial_learning_rate=self.initial,
            decay_steps=max(1, round(self.every_epochs * steps_per_epoch)),
            decay_rate=self.factor,
            staircase=self.staircase,
        )
