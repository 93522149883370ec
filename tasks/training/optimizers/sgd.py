"""Stochastic gradient descent, with momentum or without: the plainest optimizer, and often the best at the end."""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from tasks.foundations.record import Record
from tasks.training import rate


class SGD(Record):
    """Steps along the gradient, with optional momentum."""

    kind: Literal["sgd"]
    learning_rate: rate.Rate = Field(0.01, description="A number, or a schedule.")
    momentum: float = Field(0.0, ge=0, lt=1, description="Share of the last step that is kept.")
    nesterov: bool = Field(False, description="Look ahead along the momentum.")
    clip_norm: float | None = Field(None, gt=0, description="Longest gradient of one weight; longer ones are cut.")

    @model_validator(mode="after")
    def _looks_along_something(self) -> Self:
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov looks ahead along the momentum, and there is none: give momentum, 0.9 say")
        return self

    def build(self, keras: Any, steps_per_epoch: int, epochs: int) -> Any:
        """An optimizer of `keras` (or tf_keras) for a training of so many steps."""
        return keras.optimizers.SGD(
            learning_rate=rate.build(self.learning_rate, keras, steps_per_epoch, epochs),
            momentum=self.momentum,
            nesterov=self.nesterov,
            clipnorm=self.clip_norm,
        )
