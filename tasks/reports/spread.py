"""The latency plot of one target: a row a candidate, from the fastest call to the tail, on one log axis.

Rows instead of overlaid curves: they read the same with one candidate and with twenty-four.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from tasks.reports import format as text
from tasks.reports.axes import Axis, spread_axis
from tasks.reports.labels import CHARACTER
from tasks.reports.pareto import Tick
from tasks.reports.summary import CandidateRow, LimitLine, ReleaseSummary

ROW = 30
BOTTOM = 44


@dataclass(frozen=True)
class Strip:
    """One candidate's row: three nested bars (p1 to p99, p10 to p90, p25 to p75), marks at p50 and p99."""

    row: CandidateRow
    label: str
    y: float
    whole: tuple[float, float] | None
    most: tuple[float, float] | None
    half: tuple[float, float] | None
    p50: float | None
    p90: float | None
    p99: float | None
    value: str
    tooltip: str


@dataclass(frozen=True)
class LatencyLimit:
    """A latency gate as a vertical line."""

    at: float
    label: str
    x: float
    y: float
    anchor: str


@dataclass(frozen=True)
class LatencyPlot:
    """Everything that the template draws, in pixels."""

    target: str
    width: int
    height: int
    left: float
    right: float
    top: float
    bottom: float
    strips: tuple[Strip, ...]
    ticks: tuple[Tick, ...]
    limits: tuple[LatencyLimit, ...]
    x_label: str
    missing: tuple[str, ...]
    off_plot: tuple[str, ...]
    description: str


def plot(summary: ReleaseSummary, target: str, width: int) -> LatencyPlot | None:
    """Lay the plot out.

    Returns:
        None when no candidate of the target was measured.
    """
    rows = [row for row in summary.rows_of(target) if row.p50_ms is not None]
    if not rows:
        return None
    longest = max(len(text.clip(row.name, 22 if width > 500 else 17)) for row in rows)
    left = min(longest * CHARACTER + 22, width * 0.38)
    right = width - (84.0 if width > 500 else 70.0)
    values = [value for row in rows for value in _extent(row)]
    found = summary.targets.get(target)
    lines = [line for line in (found.limits if found else ()) if line.metric in ("p50_ms", "p90_ms", "p99_ms")]
    near = [line for line in lines if min(values) / 2 <= line.value <= max(values) * 2]
    axis = spread_axis([*values, *(line.value for line in near)], left + 6, right - 6)
    top = 12.0 + 16 * len(near)
    return LatencyPlot(
        target=target,
        width=width,
        height=int(top) + ROW * len(rows) + BOTTOM,
        left=left,
        right=right,
        top=top,
        bottom=top + ROW * len(rows),
        strips=tuple(_strip(row, axis, top + ROW * i + ROW / 2, width) for i, row in enumerate(rows)),
        ticks=_ticks(axis, 6 if width > 500 else 3),
        limits=_limits(near, axis, width),
        x_label=f"latency of one call, ms{' (log scale)' if axis.kind == 'log' else ''}",
        missing=tuple(row.name for row in summary.rows_of(target) if row.p50_ms is None),
        off_plot=tuple(f"{line.label} ({text.number(line.value)} ms)" for line in lines if line not in near),
        description=f"Latency distributions of {len(rows)} candidates on {target}: "
        + "; ".join(_tooltip(row) for row in rows),
    )


def _extent(row: CandidateRow) -> list[float]:
    known = [value for value in (row.p50_ms, row.p99_ms) if value is not None and value > 0]
    inner = [ms for q, ms in row.latency_quantiles if 0.01 <= q <= 0.99 and ms > 0]
    return known + ([inner[0], inner[-1]] if inner else [])


def _strip(row: CandidateRow, axis: Axis, y: float, width: int) -> Strip:
    def bar(low: float, high: float) -> tuple[float, float] | None:
        ends = _quantile(row, low), _quantile(row, high)
        return None if ends[0] is None or ends[1] is None else (axis.position(ends[0]), axis.position(ends[1]))

    def mark(value: float | None) -> float | None:
        return None if value is None else axis.position(value)

    return Strip(
        row=row,
        label=text.clip(row.name, 22 if width > 500 else 17),
        y=y,
        whole=bar(0.01, 0.99),
        most=bar(0.1, 0.9),
        half=bar(0.25, 0.75),
        p50=mark(row.p50_ms),
        p90=mark(row.p90_ms),
        p99=mark(row.p99_ms),
        value=text.milliseconds(row.p50_ms),
        tooltip=_tooltip(row),
    )


def _quantile(row: CandidateRow, q: float) -> float | None:
    """Value at a quantile, linear between the stored ones."""
    points = row.latency_quantiles
    if not points or q < points[0][0] - 0.02 or q > points[-1][0] + 0.02:
        return None
    for (q0, v0), (q1, v1) in pairwise(points):
        if q0 <= q <= q1:
            return v0 if q1 == q0 else v0 + (v1 - v0) * (q - q0) / (q1 - q0)
    return points[0][1] if q < points[0][0] else points[-1][1]


def _ticks(axis: Axis, target: int) -> tuple[Tick, ...]:
    kept: list[Tick] = []
    for value in axis.ticks(target):
        tick = Tick(axis.position(value), text.number(value))
        if not kept or tick.at - kept[-1].at >= 40:
            kept.append(tick)
    return tuple(kept)


def _limits(lines: Sequence[LimitLine], axis: Axis, width: int) -> tuple[LatencyLimit, ...]:
    """Labels above the plot, one row each, on whichever side of their line there is room."""
    placed = []
    for i, line in enumerate(lines):
        at = axis.position(line.value)
        label = text.clip(f"{line.label} ({text.number(line.value)} ms)", int(width / CHARACTER))
        length = len(label) * CHARACTER
        if at + 5 + length <= width:
            x, anchor = at + 5, "start"
        elif at - 5 - length >= 0:
            x, anchor = at - 5, "end"
        else:
            x, anchor = width / 2, "middle"
        placed.append(LatencyLimit(at, label, round(x, 2), 12.0 + 16 * i, anchor))
    return tuple(placed)


def _tooltip(row: CandidateRow) -> str:
    p50, p90, p99 = (text.milliseconds(value) for value in (row.p50_ms, row.p90_ms, row.p99_ms))
    return f"{row.name}: p50 {p50}, p90 {p90}, p99 {p99} ms"
