"""What every model source of the menu can do."""

from pathlib import Path
from typing import Any, ClassVar, Protocol


class ModelSource(Protocol):
    """One file of this menu: a frozen Record named by `kind`.

    Attributes:
        needs_training: whether the model comes untrained, so that the config needs a `training` section.
        kind: the word in the YAML.
    """

    needs_training: ClassVar[bool]
    kind: str

    def open(self, folder: Path, seed: int) -> Any:
        """The keras.Model (Keras 3), built; the same content gives the same weights, called twice or in two processes.

        Raises:
            InputError: the user's file or function gives no usable model.
        """
        ...

    def source_digest(self, folder: Path) -> str:
        """sha256 over the user's code that makes the model."""
        ...
