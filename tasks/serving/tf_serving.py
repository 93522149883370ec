"""TensorFlow Serving: integer folders, and a `models.config` that names the version to serve.

Under its default policy ("latest") the server takes the highest number, so the only way back would be to delete the
newer folder. A config with `specific` versions goes both ways and deletes nothing. Start the server with
`--model_config_file=<root>/tf_serving/models.config --model_config_file_poll_wait_seconds=1`: without the second flag
it reads the file once.
"""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from tasks.foundations.files import write_whole
from tasks.foundations.locks import hold
from tasks.foundations.record import Record
from tasks.serving import pointer as pointers
from tasks.serving import staging
from tasks.serving.pointer import Pointer
from tasks.serving.staging import Payload

CONFIG = "models.config"
LABEL = "stable"
LOCK_SECONDS = 60


class TfServing(Record):
    """Serve the winner of a TensorFlow target; see `ServingTarget` for the methods."""

    form: ClassVar[str] = "savedmodel"

    kind: Literal["tf_serving"]
    target: str = Field(description="The target whose winner is served; its runtime must yield a SavedModel.")

    def stage(self, root: Path, model: str, version: int, payload: Payload) -> bool:
        """Copy the SavedModel, its warm-up requests included, whole to `<model>/<version>/`."""
        return staging.stage(self._base(root, model), version, payload)

    def point(self, root: Path, model: str, pointer: Pointer) -> None:
        """Replace `pointer.json`, then `models.config`, which follows the pointers of all models."""
        with self._config_lock(root, model):
            pointers.write(self._base(root, model), pointer)
            self._write_config(root)

    def current(self, root: Path, model: str) -> Pointer | None:
        """What `pointer.json` says."""
        return pointers.present(self._base(root, model))

    def withdraw(self, root: Path, model: str) -> None:
        """Take the model out of `models.config`; its folders stay."""
        with self._config_lock(root, model):
            pointers.remove(self._base(root, model))
            self._write_config(root)

    def prune(self, root: Path, model: str, keep: frozenset[int], dry_run: bool = False) -> list[int]:
        """Remove staged versions that are neither kept nor in use."""
        return staging.prune(self._base(root, model), keep, dry_run)

    def sweep(self, root: Path, model: str) -> list[str]:
        """Remove what killed processes left, beside `models.config` too."""
        left = staging.sweep(self._base(root, model))
        if not (root / self.kind).is_dir():
            return left
        with self._config_lock(root, model):
            return left + staging.sweep(root / self.kind)

    def _base(self, root: Path, model: str) -> Path:
        return staging.folder_of(root, self.kind, model)

    def _config_lock(self, root: Path, model: str) -> AbstractContextManager[None]:
        """Moves of two models must not write the one config over each other."""
        return hold(root / self.kind / f".{CONFIG}.lock", f"a move of {model}", timeout_s=LOCK_SECONDS)

    def _write_config(self, root: Path) -> None:
        folder = root / self.kind
        models = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
        served = [(base, pointer) for base in models if (pointer := pointers.read(base)) is not None]
        text = config_text([(base, pointer.version, _loaded(base, pointer)) for base, pointer in served])
        path = folder / CONFIG
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            write_whole(path, text)


def config_text(models: list[tuple[Path, int, list[int]]]) -> str:
    """The text form of a `ModelServerConfig`.

    Args:
        models: (folder of the model, the version behind the label `stable`, versions to load), one a model.
    """
    entries = [_ENTRY.format(**_entry(base, stable, versions)) for base, stable, versions in models]
    return f"{_HEAD}model_config_list {{\n{''.join(entries)}}}\n"


_HEAD = "# Written by every promotion and rollback; changes by hand are lost.\n"
_ENTRY = """\
  config {{
    name: "{name}"
    base_path: "{base}"
    model_platform: "tensorflow"
    model_version_policy {{ specific {{ {versions} }} }}
    version_labels {{ key: "{label}" value: {stable} }}
  }}
"""


def _entry(base: Path, stable: int, versions: list[int]) -> dict[str, object]:
    return {
        "name": base.name,
        "base": str(base.absolute()).replace("\\", "\\\\").replace('"', '\\"'),
        "versions": " ".join(f"versions: {version}" for version in versions),
        "label": LABEL,
        "stable": stable,
    }


def _loaded(base: Path, pointer: Pointer) -> list[int]:
    """Versions to keep loaded: the served one, and the one before it while its number is lower.

    A label can only move between loaded versions, so the old one stays until the label has moved, and a rollback finds
    its version loaded. A higher number would be what requests without a label get, so it never stays.
    """
    previous = pointer.previous
    keeps = previous is not None and previous < pointer.version and (base / str(previous)).is_dir()
    return [pointer.version, previous] if keeps and previous is not None else [pointer.version]
