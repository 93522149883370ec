"""The trade-off plot of one target: quality against p50, size as area, refused candidates in plain sight.

A plot that hides what was refused cannot answer the question that people bring to it: what did the gate cost us?
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from tasks.reports import format as text
from tasks.reports.axes import Axis, quality_axis, spread_axis
from tasks.reports.labels import CHARACTER, Box, Placed, Wanted, place, text_box
from tasks.reports.summary import CandidateRow, LimitLine, ReleaseSummary


@dataclass(frozen=True)
class Point:
    """One candidate with both figures."""

    row: CandidateRow
    number: int
    x: float
    y: float
    radius: float
    whisker: tuple[float, float] | None
    label: Placed | None
    tooltip: str


@dataclass(frozen=True)
class Tick:
    """A tick of an axis: pixel and text."""

    at: float
    text: str


@dataclass(frozen=True)
class Guide:
    """A gate's line: where it stands, on which axis, and the shaded side that is refused."""

    vertical: bool
    at: float
    label: str
    label_x: float
    label_y: float
    refused: Box
    anchor: str = "start"

    @property
    def label_box(self) -> Box:
        """The room that the label takes."""
        width = len(self.label) * CHARACTER
        return text_box(self.label, self.label_x - (width if self.anchor == "end" else 0), self.label_y - 11)


@dataclass(frozen=True)
class Plot:
    """Everything that the template draws, in pixels."""

    target: str
    width: int
    height: int
    frame: Box
    points: tuple[Point, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    x_label: str
    y_label: str
    guides: tuple[Guide, ...]
    front: str
    missing: tuple[str, ...]
    off_plot: tuple[str, ...]
    description: str


def plot(summary: ReleaseSummary, target: str, width: int, height: int) -> Plot | None:
    """Lay the plot out.

    Returns:
        None when no candidate of the target has both figures.
    """
    rows = [row for row in summary.rows_of(target) if row.p50_ms is not None and row.primary_value is not None]
    if not rows:
        return None
    frame = Box(64.0, 14.0, width - 14.0, height - 46.0)
    lines = [line for line in _limits(summary, target) if line.metric in (summary.primary_metric, "p50_ms")]
    x_axis, y_axis = _axes(summary, rows, lines, frame)
    drawn = [line for line in lines if (x_axis if line.metric == "p50_ms" else y_axis).covers(line.value)]
    guides = _guides(drawn, x_axis, y_axis, frame)
    return Plot(
        target=target,
        width=width,
        height=height,
        frame=frame,
        points=_points(summary, rows, x_axis, y_axis, (frame, guides)),
        x_ticks=_thin([Tick(x_axis.position(v), text.number(v)) for v in x_axis.ticks(5 if width > 500 else 3)], 44),
        y_ticks=_thin([Tick(y_axis.position(v), _quality_tick(v, summary)) for v in y_axis.ticks(5)], 22),
        x_label=f"p50 latency, ms{' (log scale)' if x_axis.kind == 'log' else ''}",
        y_label=f"{summary.primary_metric}{' (stretched near the best)' if y_axis.kind == 'stretched' else ''}",
        guides=guides,
        front=" ".join(f"{x:g},{y:g}" for x, y in _front(rows, x_axis, y_axis)),
        missing=tuple(row.name for row in summary.rows_of(target) if row not in rows),
        off_plot=tuple(f"{line.label} ({_limit_value(line)})" for line in lines if line not in drawn),
        description=_description(summary, target, rows),
    )


def _limits(summary: ReleaseSummary, target: str) -> Sequence[LimitLine]:
    found = summary.targets.get(target)
    return found.limits if found else ()


def _axes(
    summary: ReleaseSummary, rows: Sequence[CandidateRow], lines: Sequence[LimitLine], frame: Box
) -> tuple[Axis, Axis]:
    latencies = [row.p50_ms for row in rows if row.p50_ms is not None]
    latencies += [end for row in rows for end in (row.p50_interval or ()) if end > 0]
    values = [row.primary_value for row in rows if row.primary_value is not None]
    # A line joins the range when it does not squeeze the points into a corner; else it is named under the plot.
    for line in lines:
        if line.metric == "p50_ms" and min(latencies) / 4 < line.value < max(latencies) * 4:
            latencies.append(line.value)
        elif line.metric != "p50_ms" and _near(line.value, values):
            values.append(line.value)
    x_axis = spread_axis(latencies, frame.left + 18, frame.right - 18)
    return x_axis, quality_axis(values, frame.bottom - 12, frame.top + 16, summary.higher_is_better)


def _near(value: float, values: Sequence[float]) -> bool:
    span = max(max(values) - min(values), 0.02 * max(abs(item) for item in values))
    return min(values) - 4 * span <= value <= max(values) + 4 * span


def _guides(lines: Sequence[LimitLine], x_axis: Axis, y_axis: Axis, frame: Box) -> tuple[Guide, ...]:
    guides: list[Guide] = []
    for line in lines:
        label = text.clip(
            f"{line.label} ({_limit_value(line)})", max(12, int((frame.right - frame.left - 20) / CHARACTER))
        )
        if line.metric == "p50_ms":
            guides.append(_upright(x_axis.position(line.value), label, frame, sum(guide.vertical for guide in guides)))
        else:
            taken = [guide.label_y for guide in guides if not guide.vertical]
            guides.append(_level(y_axis.position(line.value), label, frame, taken))
    return tuple(guides)


def _upright(at: float, label: str, frame: Box, row: int) -> Guide:
    """A latency limit: all to the right of it is refused. Labels stand beside their line, one row each."""
    width = len(label) * CHARACTER
    fits_right, fits_left = at + 5 + width <= frame.right, at - 5 - width >= frame.left
    left_side = fits_left and not fits_right
    x = at - 5 if left_side else at + 5 if fits_right else frame.left + 4
    refused = Box(at, frame.top, frame.right, frame.bottom)
    return Guide(True, at, label, round(x, 2), frame.top + 13 + 15 * row, refused, "end" if left_side else "start")


def _level(at: float, label: str, frame: Box, taken: Sequence[float]) -> Guide:
    """A quality limit: all below it is refused."""
    y = at + 15 if at + 18 < frame.bottom else at - 5
    while any(abs(y - other) < 14 for other in taken):
        y -= 15
    return Guide(False, at, label, frame.left + 8, round(y, 2), Box(frame.left, at, frame.right, frame.bottom))


def _limit_value(line: LimitLine) -> str:
    return f"{text.number(line.value)} ms" if line.metric.endswith("_ms") else text.quality(line.value, line.metric)


def _points(
    summary: ReleaseSummary,
    rows: Sequence[CandidateRow],
    x_axis: Axis,
    y_axis: Axis,
    surroundings: tuple[Box, Sequence[Guide]],
) -> tuple[Point, ...]:
    frame, guides = surroundings
    numbers = {name: i for i, name in enumerate(summary.candidate_names(), start=1)}
    order = sorted(rows, key=lambda row: (not row.winner, not row.pareto, not row.passed, numbers[row.name]))
    largest = max((row.size_bytes or 0 for row in rows), default=0) or 1
    scale = 1.0 if frame.right - frame.left > 500 else 0.65
    wanted = [
        Wanted(
            x_axis.position(row.p50_ms or 0.0),
            y_axis.position(row.primary_value or 0.0),
            round(scale * (5 + 9 * math.sqrt((row.size_bytes or 0) / largest)), 2),
            text.clip(row.name, 24),
            f"#{numbers[row.name]}",
        )
        for row in order
    ]
    taken = [guide.label_box for guide in guides]
    for row, spot in zip(order, wanted, strict=True):
        low, high = _whisker(row, x_axis) or (spot.x, spot.x)
        taken.append(Box(low, spot.y - 2, high, spot.y + 2))
    taken += [_line(guide, frame) for guide in guides]
    taken += [
        Box(min(a[0], b[0]) - 1, min(a[1], b[1]) - 1, max(a[0], b[0]) + 1, max(a[1], b[1]) + 1)
        for a, b in pairwise(_front(rows, x_axis, y_axis))
    ]
    labels = place(wanted, frame, taken)
    return tuple(
        Point(
            row=row,
            number=numbers[row.name],
            x=spot.x,
            y=spot.y,
            radius=spot.radius,
            whisker=_whisker(row, x_axis),
            label=label,
            tooltip=_tooltip(summary, row),
        )
        for row, spot, label in zip(order, wanted, labels, strict=True)
    )


def _line(guide: Guide, frame: Box) -> Box:
    if guide.vertical:
        return Box(guide.at - 1, frame.top, guide.at + 1, frame.bottom)
    return Box(frame.left, guide.at - 1, frame.right, guide.at + 1)


def _whisker(row: CandidateRow, x_axis: Axis) -> tuple[float, float] | None:
    if row.p50_interval is None:
        return None
    return x_axis.position(row.p50_interval[0]), x_axis.position(row.p50_interval[1])


def _tooltip(summary: ReleaseSummary, row: CandidateRow) -> str:
    value = text.quality(row.primary_value, summary.primary_metric)
    return (
        f"{row.name}: {summary.primary_metric} {value}, p50 {text.milliseconds(row.p50_ms)} ms, "
        f"{text.size(row.size_bytes)}, {row.outcome}{'. ' + row.reason if row.reason else ''}"
    )


def _front(rows: Sequence[CandidateRow], x_axis: Axis, y_axis: Axis) -> list[tuple[float, float]]:
    """The front as a staircase: between two points nothing better is known than the slower one's quality."""
    front = sorted((row for row in rows if row.pareto), key=lambda row: row.p50_ms or 0.0)
    spots = [(x_axis.position(row.p50_ms or 0.0), y_axis.position(row.primary_value or 0.0)) for row in front]
    steps: list[tuple[float, float]] = []
    for x, y in spots:
        if steps and y >= steps[-1][1]:  # on the front by its size alone, not by these two axes
            continue
        if steps:
            steps.append((x, steps[-1][1]))
        steps.append((x, y))
    return steps


def _quality_tick(value: float, summary: ReleaseSummary) -> str:
    if not text.is_share(summary.primary_metric):
        return text.number(value, 4)
    return f"{value * 100:.4g}\u202f%"


def _thin(ticks: Sequence[Tick], distance: float) -> tuple[Tick, ...]:
    kept: list[Tick] = []
    for tick in ticks:
        if not kept or abs(tick.at - kept[-1].at) >= distance:
            kept.append(tick)
    return tuple(kept)


def _description(summary: ReleaseSummary, target: str, rows: Sequence[CandidateRow]) -> str:
    passed = sum(row.passed for row in rows)
    winner = summary.winner(target)
    chosen = f"The winner is {winner.name}." if winner else "There is no winner."
    return (
        f"{summary.primary_metric} against p50 latency of {len(rows)} candidates on {target}; "
        f"{passed} passed every gate. {chosen}"
    )
