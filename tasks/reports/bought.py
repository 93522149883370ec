"""What each technique that trains has bought here, in plain sentences: transfer size, speed, or nothing shown.

Zeros and shared values change neither the size on disk nor the speed, so each is compared with the candidate of the
same chain without it; a gain in accuracy is told beside what training on alone gains, the chain with `fine_tuning`.
"""

from collections.abc import Sequence
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
    found = [_shown(row.proof.get("proof", {})), *_left_out(row.proof), *_transfer(row, rows), *_taught(summary, row)]
    found += _as_fast(row)
    if row.drop is not None and row.drop < 0:
        found.append(_gain(summary, row, rows))
    if _is_control(row):
        found.append("The control: training on without a technique.")
    return [sentence for sentence in found if sentence]


def _shown(proof: dict[str, Any]) -> str:
    """What the final file shows."""
    facts = []
    if "sparsity" in proof:
        share = text.percent(proof["sparsity"]["whole"], 1)
        facts.append(f"{share} zeros in the weights of {_layers(proof['sparsity'])}")
    if "two_of_four" in proof:
        facts.append(f"two of every four weights zero in {_layers(proof['two_of_four'])}")
    if "clusters" in proof:
        most = f"{proof['clusters']['whole']:.0f}"
        facts.append(f"at most {most} distinct weights an output channel in {_layers(proof['clusters'])}")
    return f"The final file has {' and '.join(facts)}." if facts else ""


def _layers(proof: dict[str, Any]) -> str:
    count = len(proof["achieved"])
    return f"{count} layer{'s' * (count != 1)}"


def _left_out(proof: dict[str, Any]) -> list[str]:
    """Layers with weights that each technique of the chain did not take, and how much it took."""
    told = []
    for step in _chain(proof):
        coverage = step.get("training", {}).get("coverage")
        if coverage and coverage["left_out"]:
            names = [f"{name} ({kind})" for name, kind in coverage["left_out"].items()]
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            share = text.percent(coverage["weights"] / coverage["of"])
            told.append(f"{step['step']} took {share} of the weights and left out {', '.join(names[:3])}{more}.")
    return told


def _chain(proof: dict[str, Any]) -> list[dict[str, Any]]:
    """The evidence of every step, first to last."""
    steps = [proof]
    while "before" in steps[0]:
        steps.insert(0, steps[0]["before"])
    return steps


def _epochs(row: CandidateRow) -> int:
    """Epochs that a candidate was trained for after the reference."""
    histories = (step.get("training", {}).get("history", {}) for step in _chain(row.proof))
    return sum(history.get("epochs", 0) for history in histories)


def _is_control(row: CandidateRow) -> bool:
    return row.chain[:1] == (_CONTROL,) and not {*row.chain} & {*_TUNED}


def _transfer(row: CandidateRow, rows: Sequence[CandidateRow]) -> list[str]:
    """The compressed size against the chain without pruning and clustering; speed is not theirs."""
    if not {"pruning", "clustering"} & {*row.chain}:
        return []
    # The control has come the same way, through tf_keras.
    partner = _same_but(row, rows, extra=(_CONTROL,)) or _same_but(row, rows)
    told = "It buys transfer size, not speed: the runtime multiplies zeros and shared values like all others."
    if partner is None or not (row.gzip_bytes and partner.gzip_bytes):
        return [told]
    size = _size_words(partner.gzip_bytes / row.gzip_bytes, partner.name)
    times = ""
    if row.p50_ms and partner.p50_ms:
        times = f" (p50 {text.milliseconds(row.p50_ms)} ms beside {text.milliseconds(partner.p50_ms)} ms)"
    if partner.gzip_bytes <= row.gzip_bytes:
        return [f"Compressed it is {size}{times}: it has bought nothing here."]
    return [f"Compressed it is {size}{times}. {told}"]


def _size_words(ratio: float, partner: str) -> str:
    if ratio == 1:
        return f"as large as {partner}"
    return f"{text.ratio(max(ratio, 1 / ratio))} {'smaller' if ratio > 1 else 'larger'} than {partner}"


def _taught(summary: ReleaseSummary, row: CandidateRow) -> list[str]:
    if "distillation" not in row.chain:
        return []
    share = summary.size_ratio(row)
    size = f", {_size_words(1 / share, 'float32')}" if share else ""
    return [f"A student of an architecture of its own{size}; its speed comes from that."]


def _as_fast(row: CandidateRow) -> list[str]:
    proofs = [verdict.reason for verdict in row.verdicts if verdict.gate.startswith("not slower than")]
    return [f"{reason[0].upper()}{reason[1:]}" for reason in proofs]


def _gain(summary: ReleaseSummary, row: CandidateRow, rows: Sequence[CandidateRow]) -> str:
    """A gain over the reference, beside that of the control."""
    metric = summary.primary_metric
    own = f"It is {_amount(row, metric)} better than the reference in {metric}"
    control = _same_but(row, rows, extra=(_CONTROL,))
    if "distillation" in row.chain:
        return f"{own}, which no control in this release explains."
    if _is_control(row):
        return f"{own}."
    if control is None or control.drop is None:
        return f"{own}, which the further training alone may have given: add [{_CONTROL}, ...] to see."
    told = "better" if control.drop < 0 else "worse"
    alone = "leaves it equal" if control.drop == 0 else f"makes it {_amount(control, metric)} {told}"
    own_epochs, other = _epochs(row), _epochs(control)
    long = "" if own_epochs == other else f", {other} instead of {own_epochs} epochs"
    return f"{own}; training on without a technique ({control.name}{long}) {alone}."


def _amount(row: CandidateRow, metric: str) -> str:
    value = abs(row.drop or 0.0)
    return f"{value * 100:.2f} points" if text.is_share(metric) else text.number(value, 2)


def _same_but(row: CandidateRow, rows: Sequence[CandidateRow], extra: Sequence[str] = ()) -> CandidateRow | None:
    """The candidate with this one's chain but for techniques that train, with `extra` in their place."""
    first = [kind for kind in row.chain if kind == "distillation"]
    rest = [kind for kind in row.chain if kind not in (*_TUNED, _CONTROL, "distillation")]
    wanted = tuple([*first, *extra, *rest])
    return next((other for other in rows if other.chain == wanted and other.name != row.name), None)
