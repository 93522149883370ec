"""Where files of the checkout lie on another machine: its own checkout may have another path."""

from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]


def from_checkout(path: Path) -> str:
    """How a path is told to another machine: from the checkout where it lies in it, else as it is."""
    path = path.resolve()
    return str(path.relative_to(CHECKOUT)) if path.is_relative_to(CHECKOUT) else str(path)


def in_checkout(told: str) -> Path:
    """Where that path lies on this machine."""
    return CHECKOUT / told
