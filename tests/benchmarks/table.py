"""Rows of the benchmark table: what was measured, what is allowed, whether that holds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Row:
    """One figure.

    Attributes:
        name: what it is, its unit among it.
        measured: the figure.
        at_most, at_least: the allowed side; without either the row only informs.
        note: what it was computed from.
    """

    name: str
    measured: float
    at_most: float | None = None
    at_least: float | None = None
    note: str = ""

    @property
    def ok(self) -> bool:
        """Whether the figure is a number on the allowed side."""
        above = self.at_most is None or self.measured <= self.at_most
        return math.isfinite(self.measured) and above and (self.at_least is None or self.measured >= self.at_least)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        measured = self.measured if math.isfinite(self.measured) else None
        sides = {"at_most": self.at_most, "at_least": self.at_least}
        return {"name": self.name, "measured": measured, **sides, "ok": self.ok, "note": self.note}


def as_text(section: str, rows: Sequence[Row]) -> str:
    """A section as lines of fixed columns."""
    lines = [f"{section}"]
    for row in rows:
        limits = [f"<= {_figure(row.at_most)}"] if row.at_most is not None else []
        limits += [f">= {_figure(row.at_least)}"] if row.at_least is not None else []
        verdict = ("ok" if row.ok else "MISSED") if limits else ""
        lines.append(
            f"  {row.name:<58}{_figure(row.measured):>10}  {' '.join(limits):<9}{verdict:<7} {row.note}".rstrip()
        )
    return "\n".join(lines)


def _figure(value: float) -> str:
    if not math.isfinite(value):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
