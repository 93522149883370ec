"""Slipway's own server: follows `pointer.json` in `<root>/onnx_server/<model>/` and runs the ONNX file it names."""

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from tasks.foundations.record import Record
from tasks.serving import pointer as pointers
from tasks.serving import staging
from tasks.serving.pointer import Pointer
from tasks.serving.staging import Payload


class OnnxServer(Record):
    """Serve the winner of an ONNX Runtime target; see `ServingTarget` for the methods."""

    form: ClassVar[str] = "onnx"

    kind: Literal["onnx_server"]
    target: str = Field(description="The target whose winner is served; its runtime must yield ONNX.")

    def stage(self, root: Path, model: str, version: int, payload: Payload) -> bool:
        """Copy the version whole."""
        return staging.stage(self._base(root, model), version, payload)

    def point(self, root: Path, model: str, pointer: Pointer) -> None:
        """Replace `pointer.json`."""
        pointers.write(self._base(root, model), pointer)

    def current(self, root: Path, model: str) -> Pointer | None:
        """What `pointer.json` says."""
        return pointers.present(self._base(root, model))

    def withdraw(self, root: Path, model: str) -> None:
        """Remove `pointer.json`."""
        pointers.remove(self._base(root, model))

    def prune(self, root: Path, model: str, keep: frozenset[int], dry_run: bool = False) -> list[int]:
        """Remove staged versions that are neither kept nor in use."""
        return staging.prune(self._base(root, model), keep, dry_run)

    def sweep(self, root: Path, model: str) -> list[str]:
        """Remove what killed processes left."""
        return staging.sweep(self._base(root, model))

    def _base(self, root: Path, model: str) -> Path:
        return staging.folder_of(root, self.kind, model)
