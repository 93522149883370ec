"""What each technique that trains has bought here, in plain sentences: transfer size, speed, or nothing shown.

Zeros and shared values change neither the size on disk nor the speed, so each is compared with the candidate of the
same chain without it; a gain in accuracy is told beside what training on alone gains, the chain with `fine_tuning`.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from tasks.reports import format as text
from tasks.reports.summary import CandidateRow, ReleaseSummary

_TUNED = ("pruning", "clustering", "qat")
_CONTROL = "fine_tuning"


class Bought(NamedTuple):
    """One candidate on one target, and what its techniques bought."""

    candidate: str
    sentences: tuple[str, ...]


def bought(summary: ReleaseSummary, target: str) -> list[Bought]:
    """Sentences for every candidate of a target that was trained further or taught, and measured."""
    rows = [row for row in summary.rows_of(target) if row.outcome not in ("broken", "not_applicable")]
    trained = [row for row in rows if {*row.chain} & {*_TUNED, _CONTROL, "distillation"}]
    return [Bought(row.name, tuple(_sentences(summary, row, rows))) for row in trained]


def _sentences(summary: ReleaseSummary, row: CandidateRow, rows: Sequence[CandidateRow]) -> list[str]:
    found = [_shown(row.proof.get("proof", {})), *_transfer(row, rows), *_taught(summary, row), *_as_fast(row)]
    if row.drop is not None and row.drop < 0:
        found.append(_gain(summary, row, rows))
    if row.chain[:1] == (_CONTROL,):
        found.append("The control: the same training without a technique.")
    return [sentence for sentence in found if sentence]


def _shown(proof: dict[str, Any]) -> str:
    """What the final file shows."""
    facts = []
    if "sparsity" in proof:
        layers = len(proof["sparsity"]["achieved"])
        facts.append(f"{text.percent(proof['sparsity']['whole'], 1)} zeros in the weights of {_layers(layers)}")
    if "two_of_four" in proof:
        facts.append(f"two of every four weights zero in {_layers(len(proof['two_of_four']['achieved']))}")
    if "clusters" in proof:
        facts.append(f"at most {proof['clusters']['whole']:.0f} distinct weights an output channel")
    return f"The final file has {' and '.join(facts)}." if facts else ""


def _layers(count: int) -> str:
    return f"{count} layer{'s' * (count != 1)}"


def _transfer(row: CandidateRow, rows: Sequence[CandidateRow]) -> list[str]:
    """The compressed size against the chain without pruning and clustering; speed is not theirs."""
    if not {"pruning", "clustering"} & {*row.chain}:
        return []
    without = _same_but(row, rows, lambda kind: kind not in _TUNED)
    told = "It buys transfer size, not latency: the runtime multiplies zeros and shared values like all others."
    if without is None or not (row.gzip_bytes and without.gzip_bytes):
        return [told]
    ratio = without.gzip_bytes / row.gzip_bytes
    return [f"Compressed it is {text.ratio(ratio)} smaller than {without.name}, which was not trained for it. {told}"]


def _taught(summary: ReleaseSummary, row: CandidateRow) -> list[str]:
    if "distillation" not in row.chain:
        return []
    share = summary.size_ratio(row)
    smaller = f", {text.ratio(1 / share)} smaller than float32" if share else ""
    return [f"A student of an architecture of its own{smaller}; its speed comes from that."]


def _as_fast(row: CandidateRow) -> list[str]:
    proofs = [verdict.reason for verdict in row.verdicts if verdict.gate.startswith("not slower than")]
    return [f"{reason[0].upper()}{reason[1:]}" for reason in proofs]


def _gain(summary: ReleaseSummary, row: CandidateRow, rows: Sequence[CandidateRow]) -> str:
    """A gain over the reference, beside that of the control."""
    metric = summary.primary_metric
    own = f"It is {_amount(row, metric)} better than the reference in {metric}"
    control = _same_but(row, rows, lambda kind: kind not in _TUNED, extra=(_CONTROL,))
    if "distillation" in row.chain:
        return f"{own}, which no control in this release explains."
    if row.chain[:1] == (_CONTROL,):
        return f"{own}."
    if control is None or control.drop is None:
        return f"{own}, which the further training alone may have given: add [{_CONTROL}, ...] to see."
    told = "better" if control.drop < 0 else "worse"
    alone = "leaves it equal" if control.drop == 0 else f"makes it {_amount(control, metric)} {told}"
    return f"{own}; training on without a technique ({control.name}) {alone}."


def _amount(row: CandidateRow, metric: str) -> str:
    value = abs(row.drop or 0.0)
    return f"{value * 100:.2f} points" if text.is_share(metric) else text.number(value, 2)


def _same_but(
    row: CandidateRow, rows: Sequence[CandidateRow], kept: Callable[[str], bool], extra: Sequence[str] = ()
) -> CandidateRow | None:
    """The candidate with this one's chain but for some techniques, with others in their place."""
    first = [kind for kind in row.chain if kind == "distillation"]
    rest = [kind for kind in row.chain if kept(kind) and kind != "distillation"]
    wanted = tuple([*first, *extra, *rest])
    return next((other for other in rows if other.chain == wanted), None)
