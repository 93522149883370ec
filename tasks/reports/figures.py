"""The same figures as flat MLflow metrics, so that releases can be compared and sorted in MLflow's own tables.

MLflow allows letters, digits and `_-. :/` in a metric's name, up to 250 characters.
"""

import re

from tasks.reports.summary import CandidateRow, ReleaseSummary

LIMIT = 250
_PLAIN = (
    "primary_value",
    "primary_drop",
    "accuracy",
    "accuracy_drop",
    "agreement",
    "p50_ms",
    "p90_ms",
    "p99_ms",
    "speedup_p50",
    "throughput_per_s",
    "cost_per_million",
    "load_ms",
    "first_call_ms",
    "peak_memory_bytes",
    "size_bytes",
    "gzip_bytes",
    "rounds",
    "calls",
    "seconds",
)
_INTERVALS = ("p50_interval", "p90_interval", "p99_interval", "speedup_interval")
_REFUSED = re.compile(r"[^A-Za-z0-9_\-. :/]")


def metrics_of(summary: ReleaseSummary) -> dict[str, float]:
    """Every figure of the release as `target/candidate/figure`, beside a few of the release itself."""
    figures: dict[str, float] = {"exit_code": float(summary.exit_code), "promoted": float(summary.promoted)}
    figures |= {f"stage/{stage.name}/seconds": 0.0 for stage in summary.stages if stage.seconds is not None}
    for stage in summary.stages:
        if stage.seconds is not None:
            figures[f"stage/{stage.name}/seconds"] += stage.seconds
    for name, target in summary.targets.items():
        if target.control_ratio is not None:
            figures[f"{name}/control_ratio"] = target.control_ratio
    for row in summary.rows:
        figures |= {f"{row.target}/{row.name}/{figure}": value for figure, value in _figures(row).items()}
    return _named(figures)


def candidate_metrics(summary: ReleaseSummary, candidate: str) -> dict[str, float]:
    """One candidate's figures as `target/figure`, for its own child run."""
    rows = [row for row in summary.rows if row.name == candidate]
    return _named({f"{row.target}/{figure}": value for row in rows for figure, value in _figures(row).items()})


def _figures(row: CandidateRow) -> dict[str, float]:
    found: dict[str, float | None] = {name: getattr(row, name) for name in _PLAIN}
    found["passed"], found["winner"], found["pareto"] = float(row.passed), float(row.winner), float(row.pareto)
    for name in _INTERVALS:
        low, high = getattr(row, name) or (None, None)
        found[name.replace("_interval", "_low")], found[name.replace("_interval", "_high")] = low, high
    found |= row.metrics
    for kind, groups in (("slice", row.slices), ("class", row.classes)):
        for group, values in groups.items():
            found |= {f"{kind}/{group}/{metric}": value for metric, value in values.items()}
    return {name: float(value) for name, value in found.items() if value is not None}


def _named(figures: dict[str, float]) -> dict[str, float]:
    """Names as MLflow takes them; two that become equal are kept apart by a number."""
    named: dict[str, float] = {}
    for name, value in figures.items():
        parts = [part if part.strip(".") else "_" for part in _REFUSED.sub("_", name).split("/")]
        clean = "/".join(parts)[:LIMIT]
        attempt, i = clean, 2
        while attempt in named:
            attempt, i = f"{clean[: LIMIT - 4]}_{i}", i + 1
        named[attempt] = value
    return named
