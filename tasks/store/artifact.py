"""What steps hand each other: where a folder is, what is in it, its digest and what made it. Never models or arrays."""

from typing import Any

from tasks.foundations.record import Record


class Artifact(Record):
    """One immutable published folder.

    Attributes:
        uri: location of the folder in the store.
        format: what is in it: `dataset`, `keras`, `savedmodel`, `onnx`, `predictions`, `latency`, `bundle`.
        digest: sha256 (hex) over the sorted relative paths and the sha256 of each file.
        size_bytes: sum of the file sizes.
        made_by: step, settings, input digests and library versions that made it.
        result: small figures that the step returned beside its files; empty if none.
    """

    uri: str
    format: str
    digest: str
    size_bytes: int
    made_by: dict[str, Any] = {}
    result: dict[str, Any] = {}
