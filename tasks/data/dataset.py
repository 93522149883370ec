"""What a data set is on disk: plain `.npy` files, so that every process maps the same pages and nothing is unpickled.

    dataset.json                      names, dtypes, shapes and row counts of every split; names of the classes
    <split>/inputs/<name>.npy         (rows, ...) any dtype but object
    <split>/labels.npy                (rows,) or (rows, k); of a custom task (rows, ...)
    <split>/labels/<output>.npy       (rows, ...) instead, where a custom task has labels for several outputs
    <split>/slices/<name>.npy         (rows,) strings or integers: the group of each row

Splits are `train`, `validation`, `calibration` and `test`.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from tasks.foundations.record import Record

FILE = "dataset.json"
SPLITS = ("train", "validation", "calibration", "test")


class Split(Record):
    """One split, memory-mapped on access.

    Attributes:
        folder: absolute path of the split's folder.
        inputs: names of the inputs, in the user's order.
        rows: number of rows.
        slices: names of the slice columns.
        targets: outputs that have labels of their own; empty where the labels are one array.
        classes: names of the classes, in the order of their integers; empty where they have none.
    """

    folder: str
    inputs: tuple[str, ...]
    rows: int
    slices: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()

    def input_arrays(self) -> dict[str, np.ndarray[Any, Any]]:
        """Name -> read-only memory map, (rows, ...)."""
        return {name: _map(Path(self.folder) / "inputs" / f"{name}.npy") for name in self.inputs}

    def input_files(self) -> dict[str, str]:
        """Name -> absolute path of its `.npy`, for jobs of rooms that do not know what a data set is."""
        return {name: str(Path(self.folder) / "inputs" / f"{name}.npy") for name in self.inputs}

    def labels(self) -> Any:
        """(rows, ...) read-only memory map; output name -> such an array where there are `targets`."""
        if self.targets:
            return {name: _map(Path(self.folder) / "labels" / f"{name}.npy") for name in self.targets}
        return _map(Path(self.folder) / "labels.npy")

    def slice_columns(self) -> dict[str, np.ndarray[Any, Any]]:
        """Name -> (rows,) group of each row."""
        return {name: _map(Path(self.folder) / "slices" / f"{name}.npy") for name in self.slices}


def open_dataset(folder: Path) -> dict[str, Split]:
    """The splits that a dataset folder holds, in the order of `SPLITS`; arrays are mapped only when asked for."""
    whole: dict[str, Any] = json.loads((folder / FILE).read_text())
    content: dict[str, dict[str, Any]] = whole["splits"]
    return {
        name: Split(
            folder=str(folder / name),
            inputs=tuple(content[name]["inputs"]),
            rows=content[name]["rows"],
            slices=tuple(content[name]["slices"]),
            targets=tuple(content[name].get("targets", ())),
            classes=tuple(whole.get("classes", ())),
        )
        for name in SPLITS
        if name in content
    }


def _map(path: Path) -> np.ndarray[Any, Any]:
    array: np.ndarray[Any, Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return array
