"""Data from the user's own Python: the one source that can read anything, so the first one."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from tasks.data.reading import Reading, Where
from tasks.foundations import entrypoints
from tasks.foundations.errors import InputError
from tasks.foundations.record import Record


class PythonData(Record):
    """`load() -> {split: {inputs, labels, slices}}`, a function in a file beside the config."""

    kind: Literal["python"]
    entrypoint: str = Field(description="file.py:function beside the config, called without arguments.")

    def read(self, reading: Reading) -> Any:
        """Call the user's function.

        Args:
            reading: its folder is the config's.

        Returns:
            Whatever the function returned; `tasks.data.returned` decides whether it is a data set.

        Raises:
            InputError: no such function, or it raised.
        """
        return entrypoints.call(self.entrypoint, reading.folder)

    def problems(self, folder: Path) -> Iterator[tuple[Where, str]]:
        """Whether the function is there, found by parsing."""
        try:
            entrypoints.check(self.entrypoint, folder)
        except InputError as error:
            yield ("entrypoint",), str(error)

    def source_digest(self, folder: Path) -> str:
        """sha256 over the entrypoint's file and what it imports from the config's folder."""
        return entrypoints.closure_digest(self.entrypoint, folder)
