"""Running one technique on one model: the job behind a step of a chain."""

import json
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from tasks.data.dataset import Split
from tasks.foundations import menu
from tasks.foundations.errors import InputError, ProofFailed, SlipwayError, StepFailed
from tasks.foundations.record import Record
from tasks.models import onnx_export, onnx_file, onnx_parity
from tasks.models.rows import count, match
from tasks.models.signature import Signature
from tasks.techniques.step import Step, Technique

MENU = "tasks.techniques"
# Rows of the calibration split that the new file and its source are compared on; shown, not judged.
COMPARED_ROWS = 128


class CompressRequest(Record):
    """One technique, applied once.

    Attributes:
        source: folder to start from, of the technique's level.
        technique: the technique as in the YAML, with its `kind`.
        calibration: the calibration split.
        out: empty folder for `model.onnx`, `signature.json`, `evidence.json`.
    """

    source: str
    technique: dict[str, Any]
    calibration: Split
    out: str


class CompressResult(Record):
    """Figures of a finished step.

    Attributes:
        size_bytes: size of `model.onnx`.
        evidence: the content of `evidence.json`.
    """

    size_bytes: int
    evidence: dict[str, Any]


def parse(technique: dict[str, Any]) -> Technique:
    """The choice of the menu that a dict names.

    Raises:
        InputError: no such kind, or wrong fields.
    """
    try:
        parsed: Technique = TypeAdapter(menu.union(MENU)).validate_python(technique)
    except ValidationError as error:
        raise InputError(f"Not a technique: {technique}. {error.errors()[0]['msg']}.") from error
    return parsed


def compress(request: CompressRequest) -> CompressResult:
    """Apply, check, open, prove (a job: runs in a worker).

    Raises:
        NotApplicable: the technique cannot be applied to this model.
        ProofFailed: the file does not show what was asked, or gives numbers that are not finite.
        StepFailed: ONNX's checker or ONNX Runtime refuse the file.
    """
    technique = parse(request.technique)
    source, out = Path(request.source), Path(request.out)
    _apply(technique, Step(source=request.source, out=request.out, calibration=request.calibration))
    signature = Signature.read(source)
    signature.write(out)
    path = out / onnx_file.FILE
    onnx_file.check(path)
    evidence = {
        "step": technique.kind,
        "settings": request.technique,
        "proof": technique.prove(request.out, request.source),
        "difference": _difference(source, out, signature, request.calibration),
    }
    (out / onnx_export.EVIDENCE).write_text(json.dumps(evidence, indent=2, sort_keys=True))
    return CompressResult(size_bytes=path.stat().st_size, evidence=evidence)


def _apply(technique: Technique, step: Step) -> None:
    """Whatever a quantizer raises costs the candidate, not the release."""
    try:
        technique.apply(step)
    except (SlipwayError, MemoryError):  # the worker says better what ran out
        raise
    except Exception as error:
        raise StepFailed(
            f"{technique.kind} broke on this model: {type(error).__name__}: {error}. Leave it out of this "
            "candidate, or exclude the layer if it names one."
        ) from error


def _difference(source: Path, out: Path, signature: Signature, split: Split) -> dict[str, Any]:
    """How far the new file is from its source, by output."""
    arrays = match(split.input_arrays(), signature)
    rows = min(COMPARED_ROWS, count(arrays))
    before, after = (onnx_export.run(folder / onnx_file.FILE, arrays, signature, rows) for folder in (source, out))
    try:
        found = onnx_parity.compare(before, after)
    except onnx_parity.NotFinite as error:
        raise ProofFailed(f"{error} Exclude the layer that overflows, or leave this technique out.") from error
    return {name: figures.model_dump(mode="json") for name, figures in found.items()}
