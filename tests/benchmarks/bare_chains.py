"""The chains of candidates in the bare script: two processes, as its two versions of Keras ask for, one a core.

This process converts, quantizes and distils; the other one imports tf_keras and does all fine-tuning, one chain after
another. A chain that distils and fine-tunes, too, is not in the config that is measured, and not here.
"""

import os
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from tasks.data.dataset import Split
from tasks.models import onnx_export
from tasks.models.bridge.job import BridgeRequest, bridge
from tasks.models.onnx_export import ExportRequest
from tasks.runtimes.predict import PredictRequest, predict
from tasks.runtimes.tensorflow import TensorFlow
from tasks.techniques import apply
from tasks.techniques.apply import CompressRequest, compress
from tasks.training.fit import FitSettings

WHOLE = TensorFlow(runtime="tensorflow", threads=1, batch_size=1)
REFERENCE_BATCH = 256
TRAINED = ("train", "validation")


def other_process() -> ProcessPoolExecutor:
    """A process that fine-tunes; it begins to import at once."""
    pool = ProcessPoolExecutor(1, get_context("spawn"), _be_legacy)
    pool.submit(int)
    return pool


def _be_legacy() -> None:
    os.environ |= {"TF_USE_LEGACY_KERAS": "1", "TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}
    import tensorflow  # noqa: F401
    import tf_keras  # noqa: F401


def outputs_of(reference: Path, split: Split, out: Path) -> None:
    """The trained model's own outputs, many rows a call."""
    predict(PredictRequest(folder=str(reference), out=str(out), target=WHOLE, split=split, batch_size=REFERENCE_BATCH))


@dataclass
class Chains:
    """What the chains of a config are made from.

    Attributes:
        reference: model folder of the trained model.
        splits: the data.
        fit: how techniques train.
        folder: name -> new empty folder.
        pool: of the other process.
    """

    reference: Path
    splits: dict[str, Split]
    fit: FitSettings
    folder: Callable[[str], Path]
    pool: ProcessPoolExecutor

    def onnx(self, chains: dict[str, list[Any]]) -> dict[str, Path]:
        """Candidate -> folder of its ONNX form."""
        tuned = {name: self._tune(name, chain) for name, chain in chains.items() if _fine_tunes(chain)}
        converted = self._export("float32", [], self.reference, onnx_export.export)
        made = {
            name: self._quantize(name, chain, self._distil(name, chain) or converted)
            for name, chain in chains.items()
            if name not in tuned
        }
        for name, future in tuned.items():
            exported = self._export(name, chains[name], Path(future.result()), apply.export)
            made[name] = self._quantize(name, chains[name], exported)
        return {name: made[name] for name in chains}

    def _tune(self, name: str, chain: list[Any]) -> "Future[str]":
        """All training techniques of a chain; the other process takes its jobs in order."""
        source, requests = self._crossed, []
        for technique in (each for each in chain if each.level == "training"):
            requests.append(self._request(technique, source, self.folder(f"steps/{name}-{technique.kind}")))
            source = Path(requests[-1].out)
        return self.pool.submit(tune, requests)

    @cached_property
    def _crossed(self) -> Path:
        out = self.folder("steps/crossed")
        inputs = self.splits["calibration"].input_files()
        self.pool.submit(bridge, BridgeRequest(source=str(self.reference), inputs=inputs, out=str(out)))
        return out

    @cached_property
    def _teacher(self) -> dict[str, str]:
        said = {split: self.folder(f"predictions/teacher-{split}") for split in TRAINED}
        for split, out in said.items():
            outputs_of(self.reference, self.splits[split], out)
        return {split: str(out) for split, out in said.items()}

    def _distil(self, name: str, chain: list[Any]) -> Path | None:
        """The student of a chain as ONNX, None if it has none."""
        technique = next((each for each in chain if each.place == "distillation"), None)
        if technique is None:
            return None
        request = self._request(technique, self.reference, self.folder(f"steps/{name}-student"))
        compress(request.model_copy(update={"teacher": self._teacher}))
        return self._export(name, chain, Path(request.out), onnx_export.export)

    def _export(self, name: str, chain: list[Any], source: Path, how: Callable[[ExportRequest], Any]) -> Path:
        last = all(technique.level == "training" for technique in chain)
        out = self.folder(f"onnx/{name}" if last else f"steps/{name}-onnx")
        how(ExportRequest(source=str(source), inputs=self.splits["test"].input_files(), out=str(out)))
        return out

    def _quantize(self, name: str, chain: list[Any], source: Path) -> Path:
        for technique in (each for each in chain if each.level == "onnx"):
            out = f"onnx/{name}" if technique is chain[-1] else f"steps/{name}-{technique.kind}"
            request = self._request(technique, source, self.folder(out))
            compress(request)
            source = Path(request.out)
        return source

    def _request(self, technique: Any, source: Path, out: Path) -> CompressRequest:
        trains = technique.level == "training"
        return CompressRequest(
            source=str(source),
            technique=technique.model_dump(mode="json"),
            calibration=self.splits["calibration"],
            out=str(out),
            dataset={name: self.splits[name] for name in TRAINED} if trains else {},
            fit=self.fit if trains else None,
        )


def tune(requests: list[CompressRequest]) -> str:
    """One technique after another, in the other process; the folder of the last."""
    for request in requests:
        compress(request)
    return requests[-1].out


def _fine_tunes(chain: list[Any]) -> bool:
    return any(technique.place == "training" for technique in chain)
