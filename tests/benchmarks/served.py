"""`python -m tests.benchmarks.served OUT`: models for the benchmarks of serving, as a release would stage them.

All weights are random: no time depends on them. `dense` is 784 numbers in and ten out, so that a request costs more
than its computation; `digits` is the net of `configs/digits.yaml`; `mobilenet` has the size of a real one; `heavy`
computes for milliseconds on 64 numbers, so that a client can ask for far more than a server can give.
"""

import os

os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "2", "CUDA_VISIBLE_DEVICES": "-1"}

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tasks.bundle.golden_job import GoldenRequest, write_golden
from tasks.bundle.manifest import FileEntry
from tasks.data.dataset import Split
from tasks.models import saved_model
from tasks.models.onnx_export import ExportRequest, export
from tasks.models.signature import Signature
from tasks.runtimes.onnxruntime import OnnxRuntime
from tasks.serving import pointer as pointers
from tasks.serving.onnx_server import OnnxServer
from tasks.serving.pointer import Pointer
from tasks.serving.served import Served
from tasks.serving.staging import Payload, folder_of
from tasks.store.digest import digest_file, digest_folder, list_files
from tests.benchmarks import published
from tests.benchmarks.bench import Bench
from tests.benchmarks.calibrate import make_split
from tests.benchmarks.process import ROOT, run

ROWS = 64
TARGET = OnnxRuntime(runtime="onnxruntime", threads=1, batch_size=1)


def main(out: str) -> None:
    """Write `<model>/onnx`, what a server gets, and `<model>/rows`, a split, into the folder OUT."""
    for name, build in BUILDS.items():
        make(Path(out) / name, build())


def make(folder: Path, model: Any) -> None:
    """Export, and ask the golden requests."""
    reference, onnx = folder / "reference", folder / "onnx"
    golden = onnx / "golden"
    for each in (reference, golden):
        each.mkdir(parents=True)
    saved_model.save(model, reference)
    split = make_split(folder / "rows", Signature.read(reference), ROWS)
    exported = folder / "exported"
    exported.mkdir()
    export(ExportRequest(source=str(reference), inputs=split.input_files(), out=str(exported)))
    for name in ("model.onnx", "signature.json"):
        (exported / name).rename(onnx / name)
    write_golden(
        GoldenRequest(folder=str(onnx), target=TARGET, split=split, classification=False, out=str(golden), rows=16)
    )


def dense(seed: int = 0) -> Any:
    """203,530 weights."""
    import keras

    keras.utils.set_random_seed(seed)
    layers = keras.layers
    return keras.Sequential(
        [keras.Input((784,), name="image"), layers.Dense(256, activation="relu"), layers.Dense(10, name="logits")]
    )


def digits() -> Any:
    """The net of `configs/digits.py`, which imports what it needs from nowhere else."""
    import runpy

    return runpy.run_path(str(ROOT / "configs" / "digits.py"))["build"]()


def heavy() -> Any:
    """Half a billion multiplications and additions on 64 numbers."""
    import keras

    keras.utils.set_random_seed(0)
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((64,), name="row"),
            layers.Reshape((8, 8, 1)),
            layers.UpSampling2D(8),
            *[layers.Conv2D(48, 3, padding="same", activation="relu") for _ in range(5)],
            layers.GlobalAveragePooling2D(),
            layers.Dense(10, name="logits"),
        ]
    )


BUILDS: dict[str, Callable[[], Any]] = {"dense": dense, "digits": digits, "mobilenet": published.build, "heavy": heavy}


def models(bench: Bench) -> Path:
    """The folder that `main` has written, made once a run of the benchmarks."""
    out = bench.folder / "served"
    if not out.is_dir():
        out.mkdir()
        run(["tests.benchmarks.served", str(out)])
    return out


def rows_of(model: Path) -> tuple[str, np.ndarray[Any, Any]]:
    """Name of a model's one input, and its rows."""
    split = Split(folder=str(model / "rows"), inputs=tuple(Signature.read(model / "onnx").inputs), rows=ROWS)
    ((name, rows),) = split.input_arrays().items()
    return name, np.asarray(rows, np.float32)


def publish(root: Path, name: str, model: Path, served: Served | None = None) -> None:
    """Let a serving folder serve a model under a name, as version 1."""
    folder = model / "onnx"
    files = {
        path: FileEntry(sha256=digest_file(full), size=full.stat().st_size) for path, full in list_files(folder).items()
    }
    payload = Payload(folder=str(folder), digest=digest_folder(folder), files=files)
    OnnxServer(kind="onnx_server", target="cpu").stage(root, name, 1, payload)
    settings = (served or Served()).model_dump(mode="json")
    pointer = Pointer(serial=1, version=1, digest=payload.digest, settings=settings)
    pointers.write(folder_of(root, "onnx_server", name), pointer)


if __name__ == "__main__":
    main(*sys.argv[1:])
