"""Slipway's own server: follows `pointer.json` in `<root>/onnx_server/<model>/` and runs the ONNX file it names."""

from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from tasks.foundations.record import Record
from tasks.serving import onnx_observation, staging
from tasks.serving import pointer as pointers
from tasks.serving.answers import Observation, Validation
from tasks.serving.pointer import Pointer
from tasks.serving.served import Batching, Served
from tasks.serving.staging import Payload
from tasks.serving.trial import Trial


class OnnxServer(Record):
    """Serve the winner of an ONNX Runtime target; see `ServingTarget` for the methods."""

    form: ClassVar[str] = "onnx"

    kind: Literal["onnx_server"]
    target: str = Field(description="The target whose winner is served; its runtime must yield ONNX.")
    deadline_ms: float = Field(
        1000.0,
        gt=0,
        le=3_600_000,
        description="From the last byte of a request to its answer; what cannot be answered in time is refused.",
    )
    queue: int = Field(64, ge=1, le=100_000, description="Requests that wait at most; the next one gets 503.")
    batching: Batching | None = Field(None, description="Run requests that wait together; left out, each by itself.")
    limit_s: float = Field(
        60.0,
        gt=0,
        le=3600,
        description="Within which every server must answer with the new version after a move, or it is undone.",
    )
    validation: Trial = Field(
        default_factory=Trial, description="The trial in a server of its own that a version must pass before traffic."
    )

    @model_validator(mode="after")
    def _answers_in_time(self) -> Self:
        if self.batching is not None and self.batching.max_delay_ms >= self.deadline_ms:
            raise ValueError(
                f"batching.max_delay_ms ({self.batching.max_delay_ms:g}) must be below deadline_ms "
                f"({self.deadline_ms:g}): a request that is alone would wait for others until it is too late"
            )
        return self

    def settings(self) -> dict[str, Any]:
        """Deadline, queue and batching, for every node."""
        served = Served(deadline_ms=self.deadline_ms, queue=self.queue, batching=self.batching)
        return served.model_dump(mode="json")

    def stage(self, root: Path, model: str, version: int, payload: Payload) -> bool:
        """Copy the version whole."""
        return staging.stage(self._base(root, model), version, payload)

    # pydantic has a deprecated class method of this name, which nobody calls.
    def validate(  # type: ignore[override]
        self, root: Path, model: str, version: int, payload: Payload
    ) -> Validation:
        """Start a server with this version alone, ask it the golden requests and measure it."""
        from tasks.serving import _onnx_validation

        pointer = Pointer(serial=1, version=version, digest=payload.digest, settings=self.settings())
        return _onnx_validation.validate(root, model, pointer, self.validation)

    def point(self, root: Path, model: str, pointer: Pointer) -> None:
        """Replace `pointer.json`."""
        pointers.write(self._base(root, model), pointer)

    def current(self, root: Path, model: str) -> Pointer | None:
        """What `pointer.json` says."""
        return pointers.present(self._base(root, model))

    def observe(self, root: Path, model: str, pointer: Pointer) -> list[Observation]:
        """Ask every registered node until it serves the version."""
        return onnx_observation.observe(root, model, pointer, self.limit_s)

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
