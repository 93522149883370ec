"""RMSprop: steps scaled by the mean squared gradient; common for recurrent nets and MobileNets."""

from typing import Any, Literal

from pydantic import Field

from tasks.foundations.record import Record
from tasks.training import rate


class RMSprop(Record):
    """Root mean square propagation."""

    kind: Literal["rmsprop"]
    learning_rate: rate.Rate = Field(0.001, description="A number, or a schedule.")
    rho: float = Field(0.9, ge=0, lt=1, description="Memory of the mean squared gradient.")
    momentum: float = Field(0.0, ge=0, lt=1, description="Share of the last step that is kept.")
    clip_norm: float | None = Field(None, gt=0, description="Longest gradient of one weight; longer ones are cut.")

    def build(self, keras: Any, steps_per_epoch: int, epochs: int) -> Any:
        """An optimizer of `keras` (or tf_keras) for a training of so many steps."""
        return keras.optimizers.RMSprop(
            learning_rate=rate.build(self.learning_rate, keras, steps_per_epoch, epochs),
            rho=self.rho,
            momentum=self.momentum,
            clipnorm=self.clip_norm,
        )
