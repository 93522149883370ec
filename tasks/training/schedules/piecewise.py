"""Learning rate that changes at given epochs: the schedule of many published recipes."""

from itertools import pairwise
from typing import Any, Literal

from pydantic import Field, model_validator

from tasks.foundations.record import Record


class Piecewise(Record):
    """`rates[0]` until `epochs[0]`, then `rates[1]` until `epochs[1]`, and so on."""

    kind: Literal["piecewise"]
    rates: tuple[float, ...] = Field(min_length=2, description="Learning rates, one more than `epochs`.")
    epochs: tuple[float, ...] = Field(min_length=1, description="Epochs after which the next rate holds, rising.")

    @model_validator(mode="after")
    def _one_rate_more(self) -> "Piecewise":
        if len(self.rates) != len(self.epochs) + 1:
            raise ValueError(f"{len(self.epochs)} epochs need {len(self.epochs) + 1} rates, not {len(self.rates)}")
        if any(later <= earlier for earlier, later in pairwise((0.0, *self.epochs))):
            raise ValueError(f"epochs must rise from above 0, not {list(self.epochs)}")
        if any(rate <= 0 for rate in self.rates):
            raise ValueError(f"rates must be above 0, not {list(self.rates)}")
        return self

    def build(self, keras: Any, steps_per_epoch: int, epochs: int) -> Any:
        """A schedule of `keras` (or tf_keras) for a training of so many steps."""
        # Keras changes the rate in the step after the boundary; counted from 0, the last step of an epoch is n - 1.
        boundaries = [max(0, round(epoch * steps_per_epoch) - 1) for epoch in self.epochs]
        return keras.optimizers.schedules.PiecewiseConstantDecay(boundaries, list(self.rates))
