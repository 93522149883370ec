"""What a bundle is: the list of every file with its digest, and what made it. Written last, so it seals the folder.

MLmodel, conda.yaml, ...        plain MLflow loads the folder: its data is the first ONNX target's own file
evidence/                       the resolved config, verdicts and proofs that the release was decided by
targets/<name>/                 one self-contained folder a target; a serving node copies it whole
    model.onnx                  form `onnx`
    model.tflite                form `litert`
    saved_model.pb, variables/, assets/, assets.extra/tf_serving_warmup_requests      form `savedmodel`
    signature.json, golden/, MLmodel
manifest.json                   this file
"""

import hashlib
import json
import re
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError

from tasks.foundations.errors import DigestMismatch
from tasks.foundations.files import write_whole
from tasks.foundations.record import Record
from tasks.models.signature import Signature

FILE = "manifest.json"
MLFLOW_META = "registered_model_meta"  # MLflow writes it beside an MLmodel when the folder is loaded as `models:/...`
TARGETS = "targets"
EVIDENCE = "evidence"
GOLDEN = "golden"

Form = Literal["onnx", "savedmodel", "litert"]


def _plain_relative(path: str) -> str:
    parts = PurePosixPath(path).parts
    if not parts or path != "/".join(parts) or parts[0] == "/" or ".." in parts or "\\" in path or "\0" in path:
        raise ValueError(f"{path!r} is not a plain relative path below the bundle")
    return path


def _plain_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
        raise ValueError(f"{name!r} cannot be a folder name: letters, digits, `_`, `.` and `-` only")
    return name


RelativePath = Annotated[str, AfterValidator(_plain_relative)]
FolderName = Annotated[str, AfterValidator(_plain_name)]


class FileEntry(Record):
    """One file of the bundle.

    Attributes:
        sha256: hex digest of its bytes.
        size: bytes.
    """

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size: int = Field(ge=0)


class TargetEntry(Record):
    """One target's winner.

    Attributes:
        candidate: name of the winning candidate.
        form: what the folder holds.
        path: folder relative to the bundle, `targets/<name>`.
        digest: of that folder as it lies in the bundle (`digest_folder` without `registered_model_meta`), so that a
            serving node can check its copy.
        winner: digest of the candidate that passed the gates; equal winners are the same model.
        runtime: the target's settings; sessions are opened with exactly these.
        cpu_flags: instruction sets of the machine that the gates and the golden answers come from.
        environment: library -> version on that machine.
    """

    candidate: str
    form: Form
    path: RelativePath
    digest: str
    winner: str
    runtime: dict[str, Any]
    cpu_flags: tuple[str, ...] = ()
    environment: dict[str, str] = {}


class ServingEntry(Record):
    """Where a target's winner is published: a serving kind and the target it serves.

    Attributes:
        kind: word of the serving menu.
        target: name of the target.
        settings: the kind's other settings.
    """

    kind: str
    target: str
    settings: dict[str, Any] = {}


class MadeBy(Record):
    """Where a bundle comes from.

    Attributes:
        release: id of the release.
        config: sha256 of the resolved config.
        sources: name -> digest or version of the code that made it.
        created: ISO 8601 time in UTC.
    """

    release: str
    config: str
    sources: dict[str, str] = {}
    created: str


class Manifest(Record):
    """The content of `manifest.json`.

    Attributes:
        schema_version: version of this layout, `schema` in the file.
        model: registered name.
        targets: target name -> its winner.
        serving: where the targets are published.
        signature: of every form of the model.
        made_by: see `MadeBy`.
        files: relative path -> digest and size of every file but this one.
    """

    schema_version: Literal[1] = Field(default=1, alias="schema")
    model: str
    targets: dict[FolderName, TargetEntry]
    serving: tuple[ServingEntry, ...] = ()
    signature: Signature
    made_by: MadeBy
    files: dict[RelativePath, FileEntry]

    @property
    def digest(self) -> str:
        """sha256 (hex) of the manifest's text: names the whole bundle, settings included, but not what MLflow adds.

        A sealed bundle whose manifest was edited still agrees with itself; whoever remembers this digest notices.
        """
        return hashlib.sha256(self._text().encode()).hexdigest()

    @property
    def winner_digests(self) -> dict[str, str]:
        """Target -> digest of its winner, to tell whether the same models are already in production."""
        return {name: target.winner for name, target in self.targets.items()}

    def target_files(self, target: str) -> dict[str, FileEntry]:
        """Files of one target, by path relative to the target's folder."""
        prefix = f"{self.targets[target].path}/"
        return {path.removeprefix(prefix): entry for path, entry in self.files.items() if path.startswith(prefix)}

    def write(self, folder: Path) -> None:
        """Seal the folder: after this rename the bundle exists, before it there is none."""
        write_whole(folder / FILE, self._text())

    def _text(self) -> str:
        return json.dumps(self.model_dump(mode="json", by_alias=True), indent=2, sort_keys=True)

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """Read the manifest of a bundle; `verify` is what proves it.

        Raises:
            DigestMismatch: there is none, or it is not one of ours.
        """
        try:
            content = (folder / FILE).read_text(encoding="utf-8")
        except (FileNotFoundError, UnicodeDecodeError) as error:
            raise DigestMismatch(
                f"{folder} has no readable {FILE}, so it is no finished bundle. Release the model again."
            ) from error
        try:
            return cls.model_validate_json(content)
        except ValidationError as error:
            raise DigestMismatch(f"{folder / FILE} is not a manifest of schema 1: {error}.") from error
