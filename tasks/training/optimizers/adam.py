"""Adam: steps scaled for every weight; needs the least tuning."""

from typing import Any, Literal

from pydantic import Field

from tasks.foundations.record import Record
from tasks.training import rate


class Adam(Record):
    """Adaptive moments (Kingma and Ba 2015)."""

    kind: Literal["adam"]
    learning_rate: rate.Rate = Field(0.001, description="A number, or a schedule.")
    beta_1: float = Field(0.9, ge=0, lt=1, description="Memory of the mean gradient.")
    beta_2: float = Field(0.999, ge=0, lt=1, description="Memory of the mean squared gradient.")
    clip_norm: float | None = Field(None, gt=0, description="Longest gradient of one weight; longer ones are cut.")

    def build(self, keras: Any, steps_per_epoch: int, epochs: int) -> Any:
        """An optimizer of `keras` (or tf_keras) for a training of so many steps."""
        return keras.optimizers.Adam(
            learning_rate=rate.build(self.learning_rate, keras, steps_per_epoch, epochs),
            beta_1=self.beta_1,
            beta_2=self.beta_2,
            clipnorm=self.clip_norm,
        )
