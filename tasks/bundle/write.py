"""Lays a bundle out on disk and seals it. Between the two, `registry` adds MLflow's own files.

Files are copied, never linked: onnx refuses linked files, and a bundle must not change when its source does.
"""

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tasks.bundle.golden import read_golden
from tasks.bundle.manifest import (
    EVIDENCE,
    GOLDEN,
    TARGETS,
    FolderName,
    Form,
    MadeBy,
    Manifest,
    ServingEntry,
    TargetEntry,
)
from tasks.bundle.verify import entry, scan, target_digest
from tasks.bundle.warmup import FILE as WARMUP
from tasks.bundle.warmup import write_warmup
from tasks.foundations.errors import DigestMismatch, StepFailed
from tasks.foundations.record import Record
from tasks.models.litert_file import MODEL_FILE as LITERT_FILE
from tasks.models.signature import FILE as SIGNATURE_FILE
from tasks.models.signature import Signature
from tasks.store.digest import digest_folder

MODEL_FILE = "model.onnx"
SAVED_MODEL = "saved_model"
CONFIG_FILE = "config.json"


class Winner(Record):
    """One target's winner, as the steps before left it.

    Attributes:
        candidate: its name.
        form: `onnx` (a folder with model.onnx) or `savedmodel` (a folder with saved_model/).
        folder: absolute path of the candidate's artifact.
        digest: the artifact's digest, as it passed the gates.
        golden: absolute path of its golden requests (see `tasks.bundle.golden`).
        runtime: the target's settings.
        cpu_flags: instruction sets of the machine that the gates were measured on.
        environment: library -> version on that machine.
    """

    candidate: str
    form: Form
    folder: str
    digest: str
    golden: str
    runtime: dict[str, Any]
    cpu_flags: tuple[str, ...] = ()
    environment: dict[str, str] = {}


class BundleRequest(Record):
    """Everything that a bundle is made from.

    Attributes:
        model: registered name.
        winners: target name -> winner, the target that plain MLflow loads first.
        serving: where the targets are published.
        evidence: name -> absolute path of a file or folder, copied to `evidence/<name>`.
        config: the resolved config, written to `evidence/config.json`.
        requirements: pip requirements that plain MLflow needs to load the model.
        release: id of the release.
        config_digest: sha256 of the resolved config.
        sources: name -> digest or version of the code that made it.
        out: absolute path of an empty folder.
    """

    model: str
    winners: dict[FolderName, Winner]
    serving: tuple[ServingEntry, ...] = ()
    evidence: dict[FolderName, str] = {}
    config: dict[str, Any]
    requirements: tuple[str, ...]
    release: str
    config_digest: str
    sources: dict[str, str] = {}
    out: str


def layout(request: BundleRequest) -> Path:
    """Copy winners, golden requests and evidence. Imports TensorFlow only for a `savedmodel` winner (its warm-up).

    Returns:
        The folder; it is no bundle before `seal`.

    Raises:
        DigestMismatch: a winner is not what passed the gates.
        StepFailed: no winner, or winners whose signatures differ.
    """
    folder = Path(request.out)
    _common_signature(request)
    for name, winner in request.winners.items():
        _lay_target(folder / TARGETS / name, winner, request.model)
    evidence = folder / EVIDENCE
    evidence.mkdir(parents=True)
    for name, source in request.evidence.items():
        _copy(Path(source), evidence / name)
    (evidence / CONFIG_FILE).write_text(json.dumps(request.config, indent=2, sort_keys=True))
    return folder


def seal(request: BundleRequest) -> Manifest:
    """Write the manifest over all that now lies in the folder; nothing may change afterwards.

    Returns:
        The manifest.

    Raises:
        DigestMismatch: a link or special file lies in the folder.
    """
    folder = Path(request.out)
    found, special = scan(folder)
    if special:
        raise DigestMismatch(f"{folder} holds links or special files: {', '.join(special)}. A bundle is plain files.")
    files = {name: entry(folder / name) for name in found}
    draft = Manifest(
        schema=1,
        model=request.model,
        targets={name: _target(name, winner, "") for name, winner in request.winners.items()},
        serving=request.serving,
        signature=_common_signature(request),
        made_by=MadeBy(
            release=request.release,
            config=request.config_digest,
            sources=request.sources,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        ),
        files=files,
    )
    targets = {
        name: target.model_copy(update={"digest": target_digest(draft.target_files(name))})
        for name, target in draft.targets.items()
    }
    manifest = draft.model_copy(update={"targets": targets})
    manifest.write(folder)
    return manifest


def _target(name: str, winner: Winner, digest: str) -> TargetEntry:
    return TargetEntry(
        candidate=winner.candidate,
        form=winner.form,
        path=f"{TARGETS}/{name}",
        digest=digest,
        winner=winner.digest,
        runtime=winner.runtime,
        cpu_flags=winner.cpu_flags,
        environment=winner.environment,
    )


def _common_signature(request: BundleRequest) -> Signature:
    signatures = {name: Signature.read(Path(winner.folder)) for name, winner in request.winners.items()}
    if not signatures:
        raise StepFailed(f"No target of {request.model!r} has a winner, so there is nothing to bundle.")
    (first, signature), *others = signatures.items()
    for name, other in others:
        if other != signature:
            raise StepFailed(
                f"The winners for {first!r} and {name!r} have different signatures ({signature} and {other}). "
                "One version has one signature."
            )
    return signature


def _lay_target(folder: Path, winner: Winner, model: str) -> None:
    source = Path(winner.folder)
    found = digest_folder(source)
    if found != winner.digest:
        raise DigestMismatch(
            f"{source} has digest {found[:12]}, but {winner.digest[:12]} passed the gates. Release again."
        )
    if winner.form == "onnx":
        folder.mkdir(parents=True)
        # External weights, where a model is too large for one file, lie beside it under names of their own.
        for item in sorted(source.iterdir()):
            if item.name.startswith(MODEL_FILE):
                _copy(item, folder / item.name)
    elif winner.form == "litert":
        folder.mkdir(parents=True)
        _copy(source / LITERT_FILE, folder / LITERT_FILE)
    else:
        _copy(source / SAVED_MODEL, folder)
    shutil.copyfile(source / SIGNATURE_FILE, folder / SIGNATURE_FILE)
    _copy(Path(winner.golden), folder / GOLDEN)
    if winner.form == "savedmodel":
        _lay_warmup(folder, winner, model)


def _lay_warmup(folder: Path, winner: Winner, model: str) -> None:
    """The warm-up file that a worker has left beside the golden requests; else written here."""
    brought = (folder / GOLDEN / WARMUP).parent
    if brought.exists():
        brought.rename((folder / WARMUP).parent)
        return
    _, inputs, _ = read_golden(folder / GOLDEN)
    write_warmup(folder, model, inputs, batch_size=int(winner.runtime.get("batch_size", 1)))


def _copy(source: Path, destination: Path) -> None:
    if source.is_symlink() or not source.exists():
        raise StepFailed(f"{source} is missing or a link; only plain files go into a bundle.")
    if source.is_dir():
        shutil.copytree(source, destination, symlinks=True, copy_function=shutil.copyfile)
    else:
        shutil.copyfile(source, destination)
