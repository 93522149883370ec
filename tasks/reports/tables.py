"""The report's tables as rows of plain values: gates as a matrix, slices and classes as heat tables.

The templates only draw; what is compared with what, and which colour that is, is decided (and tested) here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from tasks.evaluation.verdict import Verdict
from tasks.reports import format as text
from tasks.reports import reasons
from tasks.reports.summary import CandidateRow, ReleaseSummary

Groups = Mapping[str, Mapping[str, float | None]]


@dataclass(frozen=True)
class GateCell:
    """One candidate at one gate: the deciding verdict, and how many of its slices did not pass."""

    verdict: Verdict | None
    total: int
    not_passed: int


@dataclass(frozen=True)
class GateMatrix:
    """Candidates of one target against its gates."""

    target: str
    gates: tuple[str, ...]
    rows: tuple[tuple[CandidateRow, tuple[GateCell, ...]], ...]


@dataclass(frozen=True)
class HeatCell:
    """A value with its drop against the base row and a shade: -4 (much worse) to 4 (much better), 0 as before."""

    value: str
    drop: str
    shade: int


@dataclass(frozen=True)
class HeatRow:
    """One line of a heat table."""

    name: str
    outcome: str
    cells: tuple[HeatCell, ...]


@dataclass(frozen=True)
class HeatTable:
    """One metric of every candidate of a target in every group."""

    target: str
    metric: str
    kind: str
    columns: tuple[tuple[str, str], ...]
    rows: tuple[HeatRow, ...]
    base: str


def gate_matrix(summary: ReleaseSummary, target: str) -> GateMatrix | None:
    """Every candidate that was judged against every gate of the target; None when nothing was judged."""
    rows = [row for row in summary.rows_of(target) if row.verdicts]
    gates = tuple(dict.fromkeys(reasons.gate_name(verdict) for row in rows for verdict in row.verdicts))
    if not gates:
        return None
    return GateMatrix(target, gates, tuple((row, tuple(_gate_cell(row, gate) for gate in gates)) for row in rows))


def heat_table(summary: ReleaseSummary, target: str, kind: Literal["slices", "classes"]) -> HeatTable | None:
    """The primary metric in every slice (or class), with drops against the reference, else against float32."""
    rows = [row for row in summary.rows_of(target) if _groups(row, kind)]
    reference: Groups = summary.reference.slices if kind == "slices" else summary.reference.classes
    base_row = summary.baseline(target)
    base = reference or (_groups(base_row, kind) if base_row else {})
    groups = list(dict.fromkeys([*base, *(group for row in rows for group in _groups(row, kind))]))
    if not rows or not groups:
        return None
    metric = _metric_of(summary, [base, *(_groups(row, kind) for row in rows)])
    lines = [_heat_row("reference", "", reference, (reference, groups, metric), summary)] if reference else []
    lines += [_heat_row(row.name, row.outcome, _groups(row, kind), (base, groups, metric), summary) for row in rows]
    columns = tuple((group, _count(group, [base, *(_groups(row, kind) for row in rows)])) for group in groups)
    return HeatTable(target, metric, kind, columns, tuple(lines), "the reference" if reference else "float32")


def higher_is_better(metric: str, summary: ReleaseSummary) -> bool:
    """Direction of a metric of a slice or class."""
    if metric == summary.primary_metric:
        return summary.higher_is_better
    return not any(word in metric for word in ("loss", "error", "mae", "mse", "rmse", "_ms"))


def _groups(row: CandidateRow, kind: str) -> Groups:
    return row.slices if kind == "slices" else row.classes


def _gate_cell(row: CandidateRow, gate: str) -> GateCell:
    verdicts = [verdict for verdict in row.verdicts if reasons.gate_name(verdict) == gate]
    open_ones = sum(verdict.status in ("fail", "inconclusive") for verdict in verdicts)
    return GateCell(reasons.worst(verdicts), len(verdicts), open_ones)


def _metric_of(summary: ReleaseSummary, tables: Sequence[Groups]) -> str:
    """The primary metric where the groups have it, else the first one they have."""
    found = dict.fromkeys(name for table in tables for figures in table.values() for name in figures if name != "n")
    return summary.primary_metric if summary.primary_metric in found else next(iter(found), summary.primary_metric)


def _count(group: str, tables: Sequence[Groups]) -> str:
    counts = [table[group]["n"] for table in tables if group in table and table[group].get("n") is not None]
    return text.integer(counts[0]) if counts else ""


def _heat_row(
    name: str, outcome: str, groups: Groups, scale: tuple[Groups, Sequence[str], str], summary: ReleaseSummary
) -> HeatRow:
    base, columns, metric = scale
    return HeatRow(
        name,
        outcome,
        tuple(
            _heat_cell(groups.get(group, {}).get(metric), base.get(group, {}).get(metric), metric, summary)
            for group in columns
        ),
    )


def _heat_cell(value: float | None, base: float | None, metric: str, summary: ReleaseSummary) -> HeatCell:
    if value is None:
        return HeatCell(text.NONE, "", 0)
    if base is None:
        return HeatCell(_short(value, metric), "", 0)
    worse = base - value if higher_is_better(metric, summary) else value - base
    # Shares are judged on a fixed scale, so that one report's red is another's; other metrics in relation to the base.
    size = abs(worse) if text.is_share(metric) else abs(worse) / max(abs(base), 1e-12)
    shade = sum(size > step for step in (0.002, 0.01, 0.03, 0.1))
    label = text.drop(worse, metric) if worse else ""
    return HeatCell(_short(value, metric), label, -shade if worse > 0 else shade)


def _short(value: float, metric: str) -> str:
    return f"{value * 100:.1f}" if text.is_share(metric) else text.number(value, 3)
