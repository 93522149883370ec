"""The sentences of a release: why this one, what was refused and by which gate. One wording for every place."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from tasks.evaluation.gates import AT_LEAST
from tasks.evaluation.latency import RESOLUTION, Estimate, comparison
from tasks.evaluation.verdict import Status, Verdict
from tasks.reports import format as text
from tasks.reports.summary import CandidateRow, Outcome, ReleaseSummary

GLYPHS: dict[str, str] = {
    "pass": "\u2713",
    "fail": "\u2715",
    "inconclusive": "?",
    "broken": "!",
    "not_applicable": "\u2013",
}
WORDS: dict[Outcome, str] = {
    "pass": "passed",
    "fail": "refused",
    "inconclusive": "inconclusive",
    "broken": "broken",
    "not_applicable": "not applicable",
}
_SEVERITY: tuple[Status, ...] = ("fail", "inconclusive", "pass", "not_applicable")


@dataclass(frozen=True)
class State:
    """The release in one word, with the colour class it is shown in."""

    word: str
    tone: str


def state(summary: ReleaseSummary) -> State:
    """What became of the release."""
    if summary.promoted:
        return State("Promoted", "pass")
    by_code = {1: State("Failed", "fail"), 2: State("Not started", "fail"), 3: State("Refused", "fail")}
    by_code |= {4: State("Inconclusive", "inconclusive"), 130: State("Interrupted", "fail")}
    by_code |= {143: State("Terminated", "fail")}
    if summary.exit_code in by_code:
        return by_code[summary.exit_code]
    if summary.exit_code == 0 and summary.version not in (None, summary.previous):
        return State("Waiting", "inconclusive")
    return State("Unchanged", "not_applicable") if summary.exit_code == 0 else State("Failed", "fail")


def verdict_word(row: CandidateRow) -> str:
    """The row's verdict in one or two words."""
    return "winner" if row.winner else WORDS[row.outcome]


def blocking(row: CandidateRow) -> list[Verdict]:
    """The verdicts that stopped a candidate: failures first, then what could not be decided."""
    failed = [verdict for verdict in row.verdicts if verdict.status == "fail"]
    return failed + [verdict for verdict in row.verdicts if verdict.status == "inconclusive"]


def short_reason(row: CandidateRow) -> str:
    """A word for the table: the metric that stopped the candidate, or its outcome."""
    stopped = blocking(row)
    if row.outcome in ("fail", "inconclusive") and stopped:
        where = f" {stopped[0].slice}" if stopped[0].slice else ""
        return f"{stopped[0].metric}{where}"
    return "n/a" if row.outcome == "not_applicable" else verdict_word(row)


def gate_name(verdict: Verdict) -> str:
    """The gate without the slice that the verdict is about: one gate gives a verdict a slice."""
    return verdict.gate.removesuffix(f" on {verdict.slice}") if verdict.slice else verdict.gate


def reason(row: CandidateRow) -> str:
    """The row's own sentence, or one made of what stopped it."""
    if row.reason:
        return row.reason
    stopped = blocking(row)
    if stopped and row.outcome in ("fail", "inconclusive"):
        more = f" (and {len(stopped) - 1} more)" if len(stopped) > 1 else ""
        return f"{stopped[0].reason}{more}"
    return {"broken": "a step failed", "not_applicable": "does not apply to this target"}.get(row.outcome, "")


def why(summary: ReleaseSummary, target: str) -> str:
    """Why the winner won, or why there is none, in a few sentences."""
    rows = summary.rows_of(target)
    found = summary.targets.get(target)
    said = found.reason if found else ""
    winner = summary.winner(target)
    if winner is None:
        return _why_none(rows, target, said)
    passed = sum(row.passed for row in rows)
    field = "the only candidate that" if passed == 1 else f"the best of {passed} candidates that"
    sentence = said or f"{winner.name} is {field} passed every gate on {target} ({summary.objective})."
    facts = _advantages(summary, winner)
    return f"{sentence} It is {facts}." if facts else sentence


def tally(row: CandidateRow) -> str:
    """`3 passed, 1 not applicable`: the gates of one candidate, counted."""
    words = {"pass": "passed", "fail": "failed", "inconclusive": "inconclusive", "not_applicable": "not applicable"}
    counts = {word: sum(verdict.status == status for verdict in row.verdicts) for status, word in words.items()}
    return ", ".join(f"{count} {word}" for word, count in counts.items() if count) or "no gates"


def worst(verdicts: Sequence[Verdict]) -> Verdict | None:
    """The verdict that decides among several of one gate (its slices); of equal ones the nearest to the limit."""
    return min(verdicts, key=lambda verdict: (_SEVERITY.index(verdict.status), _room(verdict)), default=None)


def _room(verdict: Verdict) -> float:
    """What is left up to the limit, below 0 beyond it: of the point where that fails, else of its bound.

    A verdict without a figure has none: what could not be judged comes before what was.
    """
    if verdict.measured is None or verdict.allowed is None:
        return -math.inf
    at_least = verdict.gate.removeprefix(f"{verdict.metric} ").partition(" ")[0] in AT_LEAST
    figure = verdict.measured
    if verdict.status != "fail":
        if verdict.interval is None:
            return -math.inf
        figure = verdict.interval[0 if at_least else 1]
    return figure - verdict.allowed if at_least else verdict.allowed - figure


def _advantages(summary: ReleaseSummary, row: CandidateRow) -> str:
    facts = []
    if row.name == "float32":
        return ""
    if row.speedup_p50 is not None:
        low, high = row.speedup_interval or (None, None)
        facts.append(_speed_words(Estimate(row.speedup_p50, low, high, row.rounds or 0)))
    share = summary.size_ratio(row)
    if share:
        facts.append(f"{text.ratio(1 / share)} smaller" if share <= 1 else f"{text.ratio(share)} larger")
    if row.drop is not None:
        facts.append(_drop_words(row.drop, summary.primary_metric))
    return f"{', '.join(facts[:-1])} and {facts[-1]}" if len(facts) > 1 else "".join(facts)


def _speed_words(speedup: Estimate) -> str:
    word = comparison(speedup)
    if word == "no difference":
        ends = (speedup.low, speedup.high)
        equal = all(end is not None and 1 / RESOLUTION <= end <= RESOLUTION for end in ends)
        return "as fast as float32" if equal else "not shown to be faster or slower than float32"
    return f"{text.ratio(speedup.point if word == 'faster' else 1 / speedup.point)} {word} than float32"


def _drop_words(value: float, metric: str) -> str:
    if value == 0:
        return f"equal to the reference in {metric}"
    amount = f"{abs(value) * 100:.2f} points" if text.is_share(metric) else text.number(abs(value), 2)
    return f"{amount} {'worse' if value > 0 else 'better'} than the reference in {metric}"


def _why_none(rows: Sequence[CandidateRow], target: str, said: str) -> str:
    if not rows:
        return said or f"No candidate reached {target}."
    counts = {word: sum(row.outcome == outcome for row in rows) for outcome, word in WORDS.items()}
    parts = [f"{count} {word}" for word, count in counts.items() if count]
    stopped = Counter(gate for row in rows for gate in {gate_name(verdict) for verdict in blocking(row)})
    gates = ", ".join(
        f"{gate} ({count} of {len(rows)})"
        for gate, count in sorted(stopped.items(), key=lambda item: (-item[1], item[0]))[:3]
    )
    head = f"No winner on {target}: of {len(rows)} candidate{'s' * (len(rows) > 1)}, {', '.join(parts)}."
    return " ".join(part for part in (head, said, f"Stopped by {gates}." if gates else "") if part)
