"""Arrays as `.npy` files, one each: mapped where they lie, so that data larger than memory cost nothing to open."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from tasks.data.files import FilePlace, fetch, known_splits, map_array, missing_files
from tasks.data.reading import Reading, Where
from tasks.foundations.record import Record


class NpyFiles(Record):
    """The files of one split."""

    inputs: FilePlace | dict[str, FilePlace] = Field(description="File of the inputs, or input name -> file.")
    labels: FilePlace | dict[str, FilePlace] = Field(
        description="File of the labels, or output name -> file, for a custom task with labels for several outputs."
    )
    slices: dict[str, FilePlace] = Field(default_factory=dict, description="Slice name -> file.")


class NpyData(Record):
    """`{split: {inputs: x.npy, labels: y.npy}}`: every array a `.npy` file, memory-mapped."""

    kind: Literal["npy"]
    splits: Annotated[dict[str, NpyFiles], AfterValidator(known_splits)] = Field(
        min_length=1, description="Split (train, validation, calibration, test) -> its files, as paths or URLs."
    )

    def read(self, reading: Reading) -> Any:
        """Map every file.

        Raises:
            InputError: a file is missing, holds objects or is no `.npy` file.
        """

        def opened(place: str) -> Any:
            return map_array(fetch(place, reading), place)

        return {split: _each(files, opened) for split, files in self.splits.items()}

    def problems(self, folder: Path) -> Iterator[tuple[Where, str]]:
        """Local files that are not there."""
        return missing_files(self._places(), folder)

    def source_digest(self, folder: Path) -> str:
        """Empty: no code of the user's is run."""
        return ""

    def _places(self) -> dict[Where, str]:
        found: dict[Where, str] = {}
        for split, files in self.splits.items():
            for key, given in (("inputs", files.inputs), ("labels", files.labels)):
                if isinstance(given, str):
                    found["splits", split, key] = given
                else:
                    found |= {("splits", split, key, name): place for name, place in given.items()}
            found |= {("splits", split, "slices", name): place for name, place in files.slices.items()}
        return found


def _each(files: NpyFiles, opened: Callable[[str], Any]) -> dict[str, Any]:
    def one_or_several(given: str | dict[str, str]) -> Any:
        return opened(given) if isinstance(given, str) else {name: opened(file) for name, file in given.items()}

    return {
        "inputs": one_or_several(files.inputs),
        "labels": one_or_several(files.labels),
        "slices": {name: opened(place) for name, place in files.slices.items()},
    }
