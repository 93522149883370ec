"""`python -m tests.benchmarks.versions FOLDER SEED`: a config whose release is short, its data and a model.

The model has random weights from the seed, so two seeds make two versions whose answers differ in every row. There is
no gate: what is looked at is how production moves between them.
"""

import shutil
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from tasks.bundle.manifest import Manifest
from tasks.journal.fold import fold
from tasks.promotion import moves
from tasks.promotion.control import Control, Order
from tasks.promotion.registration import record_version
from tests.benchmarks.bench import Bench
from tests.benchmarks.process import run
from tests.benchmarks.served import dense

MODEL = "dense"
ROWS = 256
SPLITS = ("test", "calibration")
VERSIONS = (1, 2)  # and their seeds
ORDER = Order(actor="benchmark", reason="benchmark", force=True)


def main(folder: str, seed: str) -> None:
    """Write everything into an empty folder; the config is `dense.yaml`."""
    out = Path(folder)
    for number, split in enumerate(SPLITS):
        np.save(out / f"{split}-image.npy", asked(number))
        np.save(out / f"{split}-label.npy", np.arange(ROWS, dtype=np.int64) % 10)
    dense(int(seed)).save(out / "dense.keras")
    (out / "dense.yaml").write_text(yaml.safe_dump(config(), sort_keys=False))


def asked(seed: int = 0) -> np.ndarray[Any, Any]:
    """Rows of one split."""
    return np.random.default_rng(seed).random((ROWS, 784), np.float32)


def config() -> dict[str, Any]:
    """One candidate, float32, on one target."""
    splits = {split: {"inputs": f"{split}-image.npy", "labels": f"{split}-label.npy"} for split in SPLITS}
    return {
        "name": MODEL,
        "task": {"kind": "classification", "output": "logits"},
        "model": {"kind": "keras_file", "path": "dense.keras"},
        "data": {"kind": "npy", "splits": splits},
        "targets": {"cpu": {"runtime": "onnxruntime", "threads": 1, "batch_size": 1}},
        "choose": {"minimize": "size_bytes"},
        "serving": [{"kind": "onnx_server", "target": "cpu"}],
    }


def released(bench: Bench) -> Path:
    """An installation with two versions of the model, 2 in production and 1 below it; made once a run."""
    home = bench.folder / "home-versions"
    if not home.is_dir():
        for seed in VERSIONS:
            folder = bench.folder / f"versions-{seed}"
            folder.mkdir()
            run(["tests.benchmarks.versions", str(folder), str(seed)])
            run(["flows", "release", str(folder / "dense.yaml"), "--json"], {"SLIPWAY_HOME": str(home)})
    return home


def renamed(control: Control, folder: Path, names: Iterable[str]) -> Control:
    """Controls that know both versions under other names too, the new one in production.

    A move reads its model's whole journal several times, so many moves of one model would measure that.

    Args:
        control: of the installation.
        folder: where copies of the bundles are put.
        names: of the models to be made.
    """
    other = replace(control, bundle_path=lambda digest: _bundle(control, folder, digest))
    digests = fold(control.journal.events(MODEL)).digests
    for name in names:
        for version in VERSIONS:
            draft = folder / f"draft-{name}-{version}"
            shutil.copytree(control.bundle_path(digests[version]), draft)
            manifest = Manifest.read(draft).model_copy(update={"model": name})
            manifest.write(draft)
            draft.rename(folder / manifest.digest)
            record_version(other, name, version, manifest.digest, ORDER)
            moves.promote(other, name, version, ORDER)
    return other


def _bundle(control: Control, folder: Path, digest: str) -> Path:
    return folder / digest if (folder / digest).is_dir() else control.bundle_path(digest)


if __name__ == "__main__":
    main(*sys.argv[1:])
