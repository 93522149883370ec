"""Places the names beside the points of a plot so that no two overlap, however many candidates there are.

Greedy: the most important label first, near places before far ones; a name that fits nowhere becomes its number in
the table, and a number that fits nowhere is left to the point's tooltip. The result depends on the input only.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

CHARACTER = 6.7  # widest usual advance of the report's 12 px label font, in px
HEIGHT = 15.0


@dataclass(frozen=True)
class Box:
    """An upright rectangle in pixels."""

    left: float
    top: float
    right: float
    bottom: float

    def overlaps(self, other: "Box") -> bool:
        """Whether the two share any area."""
        return (
            self.left < other.right and other.left < self.right and self.top < other.bottom and other.top < self.bottom
        )

    def inside(self, other: "Box") -> bool:
        """Whether this box lies wholly within the other."""
        return (
            self.left >= other.left
            and self.right <= other.right
            and self.top >= other.top
            and self.bottom <= other.bottom
        )


@dataclass(frozen=True)
class Wanted:
    """A label that asks for a place: its point, the point's radius, the full and the short text."""

    x: float
    y: float
    radius: float
    text: str
    short: str


@dataclass(frozen=True)
class Placed:
    """A label that got one. `leader` is the line from the point to the text, None when they touch."""

    text: str
    box: Box
    leader: tuple[float, float, float, float] | None

    @property
    def x(self) -> float:
        """Left end of the text."""
        return round(self.box.left + 1, 2)

    @property
    def baseline(self) -> float:
        """Baseline of the text."""
        return round(self.box.bottom - 4, 2)


def text_box(text: str, left: float, top: float) -> Box:
    """The room that a label of one line needs."""
    return Box(left, top, left + len(text) * CHARACTER + 2, top + HEIGHT)


def place(wanted: Sequence[Wanted], frame: Box, taken: Sequence[Box] = ()) -> list[Placed | None]:
    """Find a place for each label.

    Args:
        wanted: the labels, most important first. Every point keeps its own area free of text.
        frame: labels stay inside it.
        taken: areas already in use.

    Returns:
        One entry a label, in the order given; None where not even the short text fits.
    """
    blocked = [*taken, *(_mark(item) for item in wanted)]
    results: list[Placed | None] = []
    for item in wanted:
        found = _search(item, item.text, frame, blocked) or _search(item, item.short, frame, blocked)
        results.append(found)
        if found is not None:
            blocked.append(found.box)
    return results


def _mark(item: Wanted) -> Box:
    reach = item.radius + 1
    return Box(item.x - reach, item.y - reach, item.x + reach, item.y + reach)


def _search(item: Wanted, text: str, frame: Box, blocked: Sequence[Box]) -> Placed | None:
    for gap in (4.0, 14.0, 26.0, 40.0, 58.0, 80.0):
        for angle in (0, 180, -35, 35, -90, 90, -145, 145, -65, 65, -115, 115):
            box = _at(item, text, gap, math.radians(angle))
            if box.inside(frame) and not any(box.overlaps(other) for other in blocked):
                return Placed(text, box, _leader(item, box) if gap > 4 else None)
    return None


def _at(item: Wanted, text: str, gap: float, angle: float) -> Box:
    width = len(text) * CHARACTER + 2
    reach = item.radius + gap
    x, y = item.x + math.cos(angle) * reach, item.y + math.sin(angle) * reach
    # The side of the text that faces the point sits at (x, y).
    left = x - width * (1 - math.cos(angle)) / 2
    top = y - HEIGHT * (1 - math.sin(angle)) / 2
    return Box(round(left, 2), round(top, 2), round(left + width, 2), round(top + HEIGHT, 2))


def _leader(item: Wanted, box: Box) -> tuple[float, float, float, float]:
    x = min(max(item.x, box.left), box.right)
    y = min(max(item.y, box.top + 2), box.bottom - 2)
    distance = math.hypot(x - item.x, y - item.y) or 1.0
    start = item.radius / distance
    return (
        round(item.x + (x - item.x) * start, 2),
        round(item.y + (y - item.y) * start, 2),
        round(x, 2),
        round(y, 2),
    )
