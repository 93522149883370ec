"""What a model expects of data, in data's own words: models and data know nothing of each other.

`Expected` has the fields of a model's signature, so a signature is accepted wherever an `Expected` is asked for.
"""

from pydantic import ConfigDict

from tasks.foundations.record import Record


class Tensor(Record):
    """One named tensor: numpy dtype name (`str` for strings) and shape, None where free, the batch first."""

    model_config = ConfigDict(from_attributes=True)

    dtype: str
    shape: tuple[int | None, ...]


class Expected(Record):
    """Inputs and outputs of the model by name, in the model's order.

    Attributes:
        inputs: what it takes.
        outputs: what it gives.
        judged: the output that the labels belong to, None for the first.
    """

    model_config = ConfigDict(from_attributes=True)

    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]
    judged: str | None = None

    @property
    def width(self) -> int | None:
        """Size of the last axis of the output that the labels belong to: the number of classes, or 1."""
        shape = self.outputs[self.judged or next(iter(self.outputs))].shape
        return shape[-1] if len(shape) > 1 else 1
