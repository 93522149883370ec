"""Names, dtypes and shapes of a model's inputs and outputs: the contract between every form of one model."""

import json
from pathlib import Path
from typing import Any

from tasks.foundations.record import Record

FILE = "signature.json"


class TensorSpec(Record):
    """One named tensor.

    Attributes:
        dtype: numpy name, `float32`, `int64`, `str` for strings.
        shape: one entry a dimension; None where it is free. The first is the batch and always None.
    """

    dtype: str
    shape: tuple[int | None, ...]


class Signature(Record):
    """Inputs and outputs by name, in the model's own order."""

    inputs: dict[str, TensorSpec]
    outputs: dict[str, TensorSpec]

    def write(self, folder: Path) -> None:
        """Write `signature.json` into `folder`."""
        (folder / FILE).write_text(json.dumps(self.model_dump(mode="json"), indent=2))

    @classmethod
    def read(cls, folder: Path) -> "Signature":
        """Read `signature.json` of `folder`."""
        content: dict[str, Any] = json.loads((folder / FILE).read_text())
        return cls.model_validate(content)
