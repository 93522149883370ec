"""Scales and ticks of the report's plots, in plain numbers so that they can be tested without looking.

The plots are SVG written by hand: they follow the reader's dark or light theme, stay sharp in print, and are equal
byte for byte for equal figures.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal["linear", "log", "stretched"]

LEAST = 1e-9
"""Differences below it are none: no axis is shorter, and none is stretched to show them."""


@dataclass(frozen=True)
class Axis:
    """Maps values to pixels.

    Attributes:
        low: value at `start`.
        high: value at `end`.
        start: pixel of `low`; may be larger than `end` (an axis that grows upwards).
        end: pixel of `high`.
        kind: `log` needs positive values; `stretched` is asinh of the distance from `anchor`, which keeps fine
            differences near the best visible beside one ruined candidate.
        anchor: the best value, for `stretched`.
        unit: distance from `anchor` below which `stretched` is nearly linear.
    """

    low: float
    high: float
    start: float
    end: float
    kind: Kind = "linear"
    anchor: float = 0.0
    unit: float = 1.0

    def position(self, value: float) -> float:
        """Pixel of a value, held inside the axis."""
        low, high, here = self._curve(self.low), self._curve(self.high), self._curve(value)
        share = (here - low) / (high - low) if high != low else 0.5
        return round(self.start + min(1.0, max(0.0, share)) * (self.end - self.start), 2)

    def covers(self, value: float) -> bool:
        """Whether the value lies on the axis."""
        return min(self.low, self.high) <= value <= max(self.low, self.high)

    def ticks(self, target: int = 5) -> list[float]:
        """Round values inside the axis, about `target` of them."""
        low, high = min(self.low, self.high), max(self.low, self.high)
        if self.kind == "log":
            return _log_ticks(low, high, target)
        if self.kind == "stretched":
            return self._stretched_ticks(low, high)
        return _linear_ticks(low, high, target)

    def _curve(self, value: float) -> float:
        if self.kind == "log":
            return math.log(max(value, 1e-12))
        if self.kind == "stretched":
            return math.asinh((value - self.anchor) / self.unit)
        return value

    def _stretched_ticks(self, low: float, high: float) -> list[float]:
        sign = -1.0 if self.anchor - low > high - self.anchor else 1.0
        reach = max(self.anchor - low, high - self.anchor)
        steps = [0.0]
        step = 10 ** math.floor(math.log10(self.unit))
        while step < self.unit:
            step *= 2
        factors = 3.0, 10 / 3
        while step <= reach and len(steps) < 7:
            steps.append(step)
            step *= factors[len(steps) % 2]
        return sorted({tick for step in steps if low <= (tick := _rounded(self.anchor + sign * step, step)) <= high})


def spread_axis(values: Sequence[float], start: float, end: float) -> Axis:
    """An axis for positive sizes such as latencies: log when the largest is over three times the smallest."""
    low, high = min(values), max(values)
    if low > 0 and high / low > 3:
        margin = (high / low) ** 0.08
        return Axis(low / margin, high * margin, start, end, "log")
    margin = max((high - low) * 0.12, abs(high) * 0.05, LEAST)
    return Axis(max(0.0, low - margin) if low >= 0 else low - margin, high + margin, start, end)


def quality_axis(values: Sequence[float], start: float, end: float, higher_is_better: bool = True) -> Axis:
    """An axis on which better is towards `end`; stretched when one ruined candidate would flatten all the others."""
    low, high = min(values), max(values)
    best = high if higher_is_better else low
    distances = sorted(abs(best - value) for value in values)
    typical = distances[len(distances) // 2] or next((d for d in distances if d > 0), 0.0)
    span = high - low
    margin = max(span * 0.12, abs(best) * 0.002, LEAST)
    kind: Kind = "stretched" if typical > LEAST and span > 12 * typical else "linear"
    worst_end, best_end = (low - margin, high + margin) if higher_is_better else (high + margin, low - margin)
    if kind == "stretched":
        best_end = best + typical * (1 if higher_is_better else -1)
    return Axis(worst_end, best_end, start, end, kind, anchor=best, unit=typical or 1.0)


def _rounded(value: float, step: float) -> float:
    """The value to the decade of its distance from the best: far ticks need no fine digits."""
    decade = 10.0 ** math.floor(math.log10(step)) if step > 0 else 1e-10
    return round(round(value / decade) * decade, 10)


def _linear_ticks(low: float, high: float, target: int) -> list[float]:
    if high <= low:
        return [low]
    raw = (high - low) / max(target, 1)
    scale = 10 ** math.floor(math.log10(raw))
    step = next(factor * scale for factor in (1, 2, 5, 10) if factor * scale >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    count = math.floor(high / step + 1e-9) - first + 1
    return [tick for i in range(count) if low <= (tick := round((first + i) * step, 12)) <= high]


def _log_ticks(low: float, high: float, target: int) -> list[float]:
    for factors in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7)):
        ticks = [
            round(factor * 10**power, 12)
            for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
            for factor in factors
            if low <= factor * 10.0**power <= high
        ]
        if len(ticks) >= min(target, 4):
            return ticks
    return ticks if len(ticks) >= 2 else _linear_ticks(low, high, target)
