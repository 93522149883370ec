"""What every data source of the menu can do."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from tasks.data.reading import Reading, Where


class DataSource(Protocol):
    """One file of this menu: a frozen Record named by `kind`.

    Attributes:
        kind: the word in the YAML.
    """

    kind: str

    def read(self, reading: Reading) -> Any:
        """`{split: {inputs, labels, slices}}`, unchecked; arrays may be memory maps of files in `reading.scratch`.

        Raises:
            InputError: the user's file or function fails.
        """
        ...

    def problems(self, folder: Path) -> Iterator[tuple[Where, str]]:
        """(keys, sentence) of everything wrong that can be seen without reading or running anything of the user's."""
        ...

    def source_digest(self, folder: Path) -> str:
        """sha256 over the user's code that reads the data; empty where there is none."""
        ...
