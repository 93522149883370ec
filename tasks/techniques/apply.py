"""Running one technique on one model: the job behind a step of a chain."""

import json
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from tasks.data.dataset import Split
from tasks.foundations import menu
from tasks.foundations.errors import InputError, ProofFailed, SlipwayError, StepFailed
from tasks.foundations.record import Record
from tasks.models import onnx_export, onnx_file, onnx_parity, saved_model, sizes
from tasks.models.onnx_export import ExportRequest, ExportResult
from tasks.models.rows import count, match
from tasks.models.signature import Signature
from tasks.techniques import promises
from tasks.techniques.step import Step, Technique
from tasks.training.fit import FitSettings

MENU = "tasks.techniques"
# Rows of the calibration split that the new file and its source are compared on; shown, not judged.
COMPARED_ROWS = 128


class CompressRequest(Record):
    """One technique, applied once.

    Attributes:
        source: folder to start from, of the technique's level.
        technique: the technique as in the YAML, with its `kind`.
        calibration: the calibration split.
        out: empty folder for the model in the technique's form, `signature.json`, `evidence.json`.
        dataset: `train` and `validation`, for techniques that train.
        fit: how those are trained where the technique says nothing else.
        teacher: split -> folder of the reference's outputs on it, for a distillation.
    """

    source: str
    technique: dict[str, Any]
    calibration: Split
    out: str
    dataset: dict[str, Split] = {}
    fit: FitSettings | None = None
    teacher: dict[str, str] = {}


class CompressResult(Record):
    """Figures of a finished step.

    Attributes:
        size_bytes: size of `model.onnx`, or of the SavedModel.
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
        ProofFailed: the result does not show what was asked, here or earlier in the chain, or gives numbers that are
            not finite.
        StepFailed: ONNX's checker or ONNX Runtime refuse the file, or a training diverged.
    """
    technique = parse(request.technique)
    source, out = Path(request.source), Path(request.out)
    told = _apply(technique, Step.model_validate(request.model_dump(exclude={"technique"})))
    evidence: dict[str, Any] = {"step": technique.kind, "settings": request.technique, **_before(source)}
    if technique.level == "onnx":
        evidence |= _finish_onnx(technique, source, out, request.calibration)
        size = (out / onnx_file.FILE).stat().st_size
    else:
        evidence |= {"training": told, "proof": technique.prove(request.out, request.source)}
        size = sizes.measure(out / saved_model.SAVED_MODEL).raw_bytes
    (out / onnx_export.EVIDENCE).write_text(json.dumps(evidence, indent=2, sort_keys=True))
    return CompressResult(size_bytes=size, evidence=evidence)


def export(request: ExportRequest) -> ExportResult:
    """Convert a model of a training technique to ONNX, and show the chain's promises on the file (a job).

    Raises:
        StepFailed: as `onnx_export.export`.
        ProofFailed: a promise is not to be seen in the file.
    """
    source, out = Path(request.source), Path(request.out)
    result = onnx_export.export(request)
    evidence = {**result.evidence, "proof": _hand_on(source, out), **_before(source)}
    (out / onnx_export.EVIDENCE).write_text(json.dumps(evidence, indent=2, sort_keys=True))
    return result.model_copy(update={"evidence": evidence})


def _before(source: Path) -> dict[str, Any]:
    """The evidence of the steps before: the last file of a chain tells the whole of it."""
    path = source / onnx_export.EVIDENCE
    return {"before": json.loads(path.read_text())} if path.exists() else {}


def _finish_onnx(technique: Technique, source: Path, out: Path, calibration: Split) -> dict[str, Any]:
    signature = Signature.read(source)
    signature.write(out)
    onnx_file.check(out / onnx_file.FILE)
    return {
        "proof": technique.prove(str(out), str(source)) | _hand_on(source, out),
        "difference": _difference(source, out, signature, calibration),
    }


def _hand_on(source: Path, out: Path) -> dict[str, Any]:
    """Let the promises of a model go with it, and show them on its new ONNX file."""
    made = promises.read(source)
    promises.write(made, out)
    return promises.prove(made, out)


def _apply(technique: Technique, step: Step) -> dict[str, Any] | None:
    """Whatever a quantizer raises costs the candidate, not the release."""
    try:
        return technique.apply(step)
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
