"""A gate's bound as a line on the plots: `max_drop 0.01 against reference` is the floor 0.9733, not 0.01."""

import math
from collections.abc import Mapping, Sequence

from tasks.evaluation.gates import Gate
from tasks.reports.summary import LimitLine

TIMES = ("p50_ms", "p90_ms", "p99_ms")


def limit_lines(
    gates: Sequence[Gate], target: str, primary_metric: str, partners: Mapping[str, Mapping[str, float | None]]
) -> tuple[LimitLine, ...]:
    """Lines of the gates that hold on a target, over all rows, on an axis that is plotted.

    Args:
        gates: of the config.
        target: name of the target; gates of others are left out, and so are gates on slices.
        primary_metric: the quality axis.
        partners: `reference`, `float32`, `champion` -> their figures on this target; a bound against a figure that is
            not known has no line.
    """
    lines = []
    for gate in gates:
        if gate.concerns(target) and gate.slices is None and gate.metric in (primary_metric, *TIMES):
            value = _value(gate, partners.get(gate.partner or "", {}).get(gate.metric))
            if value is not None and math.isfinite(value):  # a speed-up of 1e-320 has no place on any axis
                lines.append(LimitLine(metric=gate.metric, value=value, label=gate.describe()))
    return tuple(lines)


def _value(gate: Gate, base: float | None) -> float | None:
    if gate.bound in ("min", "max"):
        return gate.allowed
    if base is None:
        return None
    better = 1.0 if gate.is_better_higher else -1.0
    match gate.bound:
        case "max_drop":
            return base - better * gate.allowed
        case "max_drop_percent":
            return base - better * abs(base) * gate.allowed / 100
        case "min_gain":
            return base + better * gate.allowed
        case "min_speedup":
            return base / gate.allowed
        case _:  # max_ratio
            return base * gate.allowed
