"""A learning rate is a number or a schedule. Schedules count in epochs, so they hold for every batch size."""

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from tasks.foundations import menu

Number = Annotated[float, Field(gt=0)]
if TYPE_CHECKING:
    Rate = Any
else:
    Rate = Number | menu.union("tasks.training.schedules")


def build(rate: Rate, keras: Any, steps_per_epoch: int, epochs: int) -> Any:
    """A number, or a Keras schedule, as an optimizer takes it."""
    return rate if isinstance(rate, float) else rate.build(keras, steps_per_epoch, epochs)
