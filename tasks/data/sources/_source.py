"""What every data source of the menu can do."""

from pathlib import Path
from typing import Any, Protocol


class DataSource(Protocol):
    """One file of this menu: a frozen Record named by `kind`.

    Attributes:
        kind: the word in the YAML.
    """

    kind: str

    def read(self, folder: Path) -> Any:
        """`{split: {inputs, labels, slices}}`, unchecked; arrays may be memory maps.

        Raises:
            InputError: the user's file or function fails.
        """
        ...

    def source_digest(self, folder: Path) -> str:
        """sha256 over the user's code that reads the data."""
        ...
