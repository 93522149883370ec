"""`python -m tests.benchmarks.pictures FOLDER KIND ROWS`: a config whose data is large, its files and a small model.

Test and calibration have so many rows each, 96 x 96 x 3 bytes of noise; KIND is `npy` or `parquet`. The model is one
convolution with random weights: it is the data that is looked at. Nothing here holds more than a few rows.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import yaml

SHAPE, CLASSES, BLOCK = (96, 96, 3), 10, 500
SPLITS = ("test", "calibration")


def main(folder: str, kind: str, rows: str) -> None:
    """Write everything into an empty folder; the config is `pictures.yaml`."""
    out, count = Path(folder), int(rows)
    for seed, split in enumerate(SPLITS):
        WRITERS[kind](out / split, count, seed)
    save_model(out / "pictures.keras")
    (out / "pictures.yaml").write_text(yaml.safe_dump(config(kind, count), sort_keys=False))


def config(kind: str, rows: int) -> dict[str, Any]:
    """No gate: what is looked at is memory. All calibration rows are used."""
    return {
        "name": "pictures",
        "task": {"kind": "classification", "output": "logits"},
        "model": {"kind": "keras_file", "path": "pictures.keras"},
        "data": DATA[kind],
        "candidates": {"int8": [{"kind": "int8_static", "rows": rows}]},
        "targets": {"cpu": {"runtime": "onnxruntime", "threads": 1, "batch_size": 32}},
        "choose": {"minimize": "size_bytes"},
        "serving": [{"kind": "onnx_server", "target": "cpu"}],
    }


def write_npy(path: Path, rows: int, seed: int) -> None:
    """`<split>-image.npy` and `<split>-label.npy`."""
    with Path(f"{path}-image.npy").open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": (rows, *SHAPE)}
        np.lib.format.write_array_header_1_0(file, header)
        for block in blocks(rows, seed):
            file.write(block.data)
    np.save(f"{path}-label.npy", labels(rows))


def write_parquet(path: Path, rows: int, seed: int) -> None:
    """`<split>.parquet` of bytes and a label, a row group a block."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    width = int(np.prod(SHAPE))
    schema = pa.schema([("image", pa.binary(width)), ("label", pa.int64())])
    numbers = iter(np.array_split(labels(rows), range(BLOCK, rows, BLOCK)))
    with pq.ParquetWriter(f"{path}.parquet", schema, compression="none", use_dictionary=False) as file:
        for block in blocks(rows, seed):
            images = pa.FixedSizeBinaryArray.from_buffers(pa.binary(width), len(block), [None, pa.py_buffer(block)])
            file.write_table(pa.table([images, pa.array(next(numbers))], schema=schema))


def blocks(rows: int, seed: int) -> Iterator[Any]:
    """Rows of noise, some at a time."""
    random = np.random.default_rng(seed)
    for start in range(0, rows, BLOCK):
        yield random.integers(0, 256, (min(BLOCK, rows - start), *SHAPE), np.uint8)


def labels(rows: int) -> Any:
    """Every class in turn."""
    return np.arange(rows, dtype=np.int64) % CLASSES


def save_model(path: Path) -> None:
    """A few hundred weights, untrained."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(0)
    keras.Sequential(
        [
            keras.Input(SHAPE, dtype="uint8", name="image"),
            layers.Rescaling(1 / 255),
            layers.Conv2D(8, 5, strides=4, activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(CLASSES, name="logits"),
        ]
    ).save(path)


WRITERS = {"npy": write_npy, "parquet": write_parquet}
IMAGE = {"column": "image", "shape": list(SHAPE), "dtype": "uint8"}
DATA: dict[str, dict[str, Any]] = {
    "npy": {
        "kind": "npy",
        "splits": {split: {"inputs": f"{split}-image.npy", "labels": f"{split}-label.npy"} for split in SPLITS},
    },
    "parquet": {
        "kind": "parquet",
        "splits": {split: f"{split}.parquet" for split in SPLITS},
        "inputs": {"image": IMAGE},
        "label": "label",
    },
}


if __name__ == "__main__":
    main(*sys.argv[1:])
