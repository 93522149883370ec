"""`python -m tests.benchmarks.calibrate ONNX METHOD ROWS`: peak memory of one static quantization."""

import sys
import tempfile
from pathlib import Path

import numpy as np

from tasks.data.dataset import Split
from tasks.models.signature import Signature
from tasks.runtimes._timed import read_memory
from tasks.techniques.int8_static import Int8Static
from tasks.techniques.step import Step


def main(source: str, method: str, rows: str) -> None:
    """Calibrate on that many random rows and print the peak in bytes."""
    with tempfile.TemporaryDirectory() as folder:
        split = make_split(Path(folder) / "calibration", Signature.read(Path(source)), int(rows))
        out = Path(folder) / "out"
        out.mkdir()
        technique = Int8Static.model_validate({"calibration": method, "rows": int(rows)})
        technique.apply(Step(source=source, out=str(out), calibration=split))
    print(read_memory("VmHWM"))


def make_split(folder: Path, signature: Signature, rows: int) -> Split:
    """A split of random rows, written in pieces."""
    (folder / "inputs").mkdir(parents=True)
    generator = np.random.default_rng(0)
    for name, spec in signature.inputs.items():
        shape = (rows, *spec.shape[1:])
        file = np.lib.format.open_memmap(folder / "inputs" / f"{name}.npy", "w+", np.float32, shape)
        for start in range(0, rows, 1000):
            file[start : start + 1000] = generator.random(file[start : start + 1000].shape, np.float32)
        file.flush()
        del file
    return Split(folder=str(folder), inputs=tuple(signature.inputs), rows=rows)


if __name__ == "__main__":
    main(*sys.argv[1:])
