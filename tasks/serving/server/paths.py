"""Which prediction a path asks for, in both protocols."""

from dataclasses import dataclass
from functools import lru_cache

OIP, TFS = "v2", "v1"
LONGEST = 256
"""Bytes of a request target that is read by itself; a longer one is Starlette's."""


@dataclass(frozen=True, slots=True)
class Call:
    """A prediction that a path asks for.

    Attributes:
        protocol: `v2` or `v1`.
        model: as the client wrote it.
        version: None for the one in production.
        label: of TensorFlow Serving's paths.
    """

    protocol: str
    model: str
    version: int | None = None
    label: str | None = None


def parse(path: str) -> Call | None:
    """The prediction that a path of a POST names; None for every other path."""
    if path.endswith("/infer") and path.startswith("/v2/models/"):
        return _place(OIP, path[len("/v2/models/") : -len("/infer")])
    if path.endswith(":predict") and path.startswith("/v1/models/"):
        return _place(TFS, path[len("/v1/models/") : -len(":predict")])
    return None


@lru_cache(maxsize=1024)
def parse_target(target: bytes) -> Call | None:
    """As `parse`, for a request target as it came; None too where it has to be taken apart first."""
    if len(target) > LONGEST or not target.isascii() or b"%" in target or b"?" in target or b"#" in target:
        return None
    return parse(target.decode())


def number(word: str) -> int | None:
    """The version that a path names; None if the word is none."""
    return int(word) if word.isascii() and word.isdecimal() and len(word) < 19 else None


def _place(protocol: str, rest: str) -> Call | None:
    """`M`, `M/versions/N` or, for TensorFlow Serving, `M/labels/L`."""
    parts = rest.split("/")
    if len(parts) == 1:
        return Call(protocol, rest)
    if len(parts) != 3:
        return None
    model, kind, word = parts
    if kind == "versions":
        version = number(word)
        return None if version is None else Call(protocol, model, version=version)
    return Call(protocol, model, label=word) if kind == "labels" and protocol == TFS else None
