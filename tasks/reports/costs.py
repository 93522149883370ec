"""Which hardware to take: the cheapest target and candidate that keep every gate, and what that saves."""

from collections.abc import Sequence

from tasks.evaluation.latency import RESOLUTION
from tasks.reports import format as text
from tasks.reports.summary import CandidateRow, Priced, Recommendation, ReleaseSummary


def recommend(rows: Sequence[CandidateRow]) -> Recommendation | None:
    """The cheapest row that passed, beside the cheapest one of any other target; None where none has a cost."""
    priced = [
        Priced(
            target=row.target,
            candidate=row.name,
            cost_per_million=row.cost_per_million,
            cost_interval=row.cost_interval,
        )
        for row in rows
        if row.passed and row.cost_per_million is not None
    ]
    priced.sort(key=lambda each: (each.cost_per_million, each.target, each.candidate))
    if not priced:
        return None
    best = priced[0]
    other = next((each for each in priced if each.target != best.target), None)
    saving = 1 - best.cost_per_million / other.cost_per_million if other else None
    return Recommendation(**best.model_dump(), next=other, saving=saving)


def sentence(summary: ReleaseSummary) -> str:
    """The recommendation in words, empty where there is none."""
    found = summary.recommendation
    if found is None:
        return ""
    cost = text.number(found.cost_per_million)
    said = f"Cheapest hardware: {found.candidate} on {found.target}, {cost} per million predictions{_compared(found)}."
    return " ".join([said, *_cautions(summary, found)])


def _compared(found: Recommendation) -> str:
    if found.next is None or found.saving is None:
        return ""
    other = f"{found.next.candidate} on {found.next.target} ({text.number(found.next.cost_per_million)})"
    if found.next.cost_per_million < found.cost_per_million * RESOLUTION:
        return f", within {100 * (RESOLUTION - 1):.0f} % of {other}"
    overlap = " (their intervals overlap: measure again before you rely on it)" if _overlap(found, found.next) else ""
    return f", {100 * found.saving:.0f} % cheaper than {other}{overlap}"


def _overlap(best: Priced, other: Priced) -> bool:
    """Whether the measurements leave it open which of two is cheaper; two targets are never measured in pairs."""
    if best.cost_interval is None or other.cost_interval is None:
        return True
    return best.cost_interval[1] >= other.cost_interval[0]


def _cautions(summary: ReleaseSummary, found: Recommendation) -> list[str]:
    """What keeps the comparison from being the whole truth."""
    compared = [found.target, *([found.next.target] if found.next else [])]
    free = [name for name in summary.targets if summary.targets[name].settings.get("cost_per_hour") is None]
    noisy = [name for name in compared if name in summary.targets and summary.targets[name].control_ok is False]
    said = [f"{name} was too noisy to measure (its A/A control is off): release again first." for name in noisy]
    return [*said, *([f"Not compared, for want of a cost_per_hour: {', '.join(free)}."] if free else [])]
