"""How the tests of data sources read: through the job that a release runs, from files in a folder of a config."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from tasks.data.dataset import open_dataset
from tasks.data.expected import Expected, Tensor
from tasks.data.write import ReadRequest, ReadResult, read_data

RNG = np.random.default_rng(7)


def read(folder: Path, source: dict[str, Any], task: str = "regression", **more: Any) -> ReadResult:
    """Read into `folder/out`."""
    out = folder / "out"
    out.mkdir()
    return read_data(ReadRequest(source=source, folder=str(folder), task=task, seed=0, out=str(out), **more))


def splits(folder: Path) -> dict[str, Any]:
    """Split -> its arrays, as they were written."""
    return {
        name: {"inputs": split.input_arrays(), "labels": split.labels(), "slices": split.slice_columns()}
        for name, split in open_dataset(folder / "out").items()
    }


def described(folder: Path) -> Any:
    """Content of dataset.json."""
    return json.loads((folder / "out" / "dataset.json").read_text())


def signature(width: int, shape: tuple[int, ...] = (2,)) -> Expected:
    """A model of one float input."""
    return Expected(
        inputs={"input": Tensor(dtype="float32", shape=(None, *shape))},
        outputs={"output": Tensor(dtype="float32", shape=(None, width))},
    )
