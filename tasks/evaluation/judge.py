"""One candidate against every gate of one target: verdicts, never exceptions, and nothing passes for lack of evidence.

**How a verdict falls.** A gate limits one quantity (a drop, a ratio, a value). It is estimated with one-sided bounds
at the gate's confidence, and the gate
- passes only if the bound on the bad side is inside the limit, so a model that truly violates the limit passes with
  probability 1 - confidence at most (Tango's bound is asymptotic: exact levels are in the tests);
- fails if the point estimate itself violates the limit;
- is inconclusive if the point is inside but its bound is not: more rows, rounds or calls could decide.
Several gates or slices need no correction: all must pass, which only lowers the chance of a wrong pass.

**Speed-ups** (`min_speedup`, and `max_ratio` of times) resolve no better than 5 %: such a gate fails only if the point
misses the bound by more than 5 % and is inconclusive if it misses by less, however narrow the interval; a bound above 1
is a claim of being faster, so it also needs a point of 1.05 to pass. The sentence says which of the two, rounds or
resolution, left it undecided. With an A/A control off by more than 5 % every measured verdict of the
target is inconclusive.

**The same file** as the champion's passes every gate against it. Against other partners it is judged as what it is: no
drop and a ratio of exactly 1, without measurement.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from tasks.evaluation.evidence import Evidence, Setting
from tasks.evaluation.gates import AT_LEAST, Gate
from tasks.evaluation.latency import (
    LOOKS,
    RESOLUTION,
    Estimate,
    Samples,
    control_is_off,
    more_rounds_needed,
    speedup,
    straddles,
    turned_over,
    value,
)
from tasks.evaluation.quality import Array, Finding, agreement, quality
from tasks.evaluation.rows import Arrays, count
from tasks.evaluation.rows import named as named_arrays
from tasks.evaluation.slices import named
from tasks.evaluation.verdict import Status, Verdict
from tasks.foundations.errors import InputError, StepFailed

MEASURED = ("latency", "throughput", "memory", "cost")
TIMED = ("latency", "throughput", "cost")
TOLD_APART = f"the {100 * (RESOLUTION - 1):.0f} % that can be told apart, and more rounds would hardly change that."


def judge(gates: Sequence[Gate], candidate: Evidence, setting: Setting) -> list[Verdict]:
    """Judge one candidate by every gate that concerns the target.

    Args:
        gates: from the config; those of other targets are skipped.
        candidate: what is known of it.
        setting: the target's labels, partners and measurements.

    Returns:
        One verdict a gate, or one a slice where the gate names slices, in the order of the gates.
    """
    return [
        verdict for gate in gates if gate.concerns(setting.target) for verdict in _verdicts(gate, candidate, setting)
    ]


def passes(verdicts: Sequence[Verdict]) -> bool:
    """Whether the candidate can win: everything passed or does not apply."""
    return all(verdict.status in ("pass", "not_applicable") for verdict in verdicts)


def undecided(gates: Sequence[Gate], samples: Samples, target: str, digests: Mapping[str, str] | None = None) -> bool:
    """Whether the measuring loop should add rounds: ask after every round, it answers yes up to the next look.

    Rounds are looked at after 5, 10 and 15 (`latency.more_rounds_needed`); in between and before, the answer is yes.

    Args:
        gates: from the config.
        samples: what was measured until now.
        target: gates of other targets are not asked.
        digests: contender -> digest; pairs of the same file need no measurement.
    """
    contenders = [name for name in samples.calls_ms if name not in (samples.control, "champion")]
    asked = [gate for gate in gates if gate.concerns(target) and gate.family in MEASURED]
    digests = digests or {}

    def same_file(gate: Gate, name: str) -> bool:
        return gate.partner is not None and digests.get(name, name) == digests.get(gate.partner, gate.partner)

    if len({digests.get(name, name) for name in contenders}) == 1 and all(
        same_file(gate, contenders[0]) for gate in asked
    ):
        return samples.rounds < LOOKS[0]  # nothing to choose and nothing to judge: a noisy control changes no verdict

    def open_question(gate: Gate, name: str) -> bool:
        partner = gate.partner
        measured = all(samples.has(gate.metric, each) for each in (name, partner) if each)
        if same_file(gate, name) or not measured:
            return False
        finding = _measured(gate, samples, name, partner)
        return straddles(finding.estimate, gate.allowed)

    return more_rounds_needed(samples, (open_question(gate, name) for gate in asked for name in contenders))


def _verdicts(gate: Gate, candidate: Evidence, setting: Setting) -> list[Verdict]:
    partner = _partner(gate, setting)
    if gate.partner is not None and partner is None:
        return [_verdict(gate, "not_applicable", "First release: there is no champion to compare with.")]
    for side in (candidate, partner):
        if side is not None and side.failure:
            return [_verdict(gate, "fail", f"{side.name} could not be judged: {side.failure}")]
    if gate.slices is None:
        return [_closed(gate, candidate, partner, setting, None)]
    return [_closed(gate, candidate, partner, setting, name) for name in named(gate, setting.slices)]


def _partner(gate: Gate, setting: Setting) -> Evidence | None:
    partners = {"reference": setting.reference, "float32": setting.float32, "champion": setting.champion}
    return partners[gate.partner] if gate.partner else None


def _closed(gate: Gate, candidate: Evidence, partner: Evidence | None, setting: Setting, name: str | None) -> Verdict:
    """A verdict whatever happens: what cannot be computed fails."""
    try:
        return _judged(gate, candidate, partner, setting, name)
    except (StepFailed, InputError) as error:
        return _verdict(gate, "fail", str(error), name=name)


def _judged(gate: Gate, candidate: Evidence, partner: Evidence | None, setting: Setting, name: str | None) -> Verdict:
    rows = _rows(setting, name)
    if partner is not None and partner.digest == candidate.digest and gate.family != "agreement":
        return _same_file(gate, partner, name)
    if gate.family not in MEASURED:
        finding = _computed(gate, candidate, partner, setting, rows)
        return _decided(gate, finding, _status(gate, finding.estimate), name)
    if setting.samples is None:
        raise StepFailed(f"{gate.metric} was not measured on target {setting.target}.")
    finding = _measured(gate, setting.samples, candidate.name, partner.name if partner else None)
    noise = control_is_off(setting.samples)
    if noise and gate.family in TIMED:
        return _verdict(gate, "inconclusive", noise, finding.estimate, name)
    timed_ratio = gate.family in TIMED and partner is not None
    if not timed_ratio:
        return _decided(gate, finding, _status(gate, finding.estimate), name)
    advised = Finding(finding.estimate, _speed_advice(gate, finding.estimate))
    return _decided(gate, advised, _speed_status(gate, finding.estimate), name)


def _rows(setting: Setting, name: str | None) -> Array:
    if name is None:
        return np.arange(count(setting.labels))
    if name not in setting.slices:
        raise StepFailed(f"The test data has no slice {name!r}. Slices: {', '.join(setting.slices) or 'none'}.")
    rows: Array = setting.slices[name]
    return rows


def _same_file(gate: Gate, partner: Evidence, name: str | None) -> Verdict:
    ratio = gate.bound in ("min_speedup", "max_ratio")
    estimate = Estimate.exact(1.0 if ratio else 0.0)
    status: Status = "pass" if gate.partner == "champion" else _status(gate, estimate)
    same = f"It is the same file as {partner.name}."
    reason = same if status == "pass" else f"{_sentence(gate, Finding(estimate), status)} {same}"
    return _verdict(gate, status, reason, estimate, name)


def _computed(gate: Gate, candidate: Evidence, partner: Evidence | None, setting: Setting, rows: Array) -> Finding:
    if gate.family == "size":
        own = _size(gate.metric, candidate)
        return Finding(Estimate.exact(own / _size(gate.metric, partner) if partner else own))
    outputs = _outputs(candidate, setting)
    others = _outputs(partner, setting) if partner else None
    if gate.family == "agreement" and others is not None:
        return agreement(gate, setting, outputs, others)
    return quality(gate, setting, outputs, others, rows)


def _size(metric: str, evidence: Evidence) -> float:
    size = evidence.size_bytes if metric == "size_bytes" else evidence.gzip_bytes
    if not size:
        raise StepFailed(f"{metric} of {evidence.name} is not known.")
    return float(size)


def _outputs(evidence: Evidence, setting: Setting) -> Arrays:
    rows = count(setting.labels)
    if evidence.outputs is None:
        raise StepFailed(f"{evidence.name} has no predictions.")
    for outputs in named_arrays(evidence.outputs).values():
        if outputs.ndim == 0 or outputs.shape[0] != rows:
            raise StepFailed(f"{evidence.name} has predictions of shape {outputs.shape} for {rows} test rows.")
    return evidence.outputs


def _measured(gate: Gate, samples: Samples, name: str, partner: str | None) -> Finding:
    """A measured value, or a speed-up turned into a ratio where the gate limits that."""
    if partner is None:
        advice = "More calls would decide." if gate.metric.startswith("p") else "More rounds would decide."
        return Finding(value(samples, gate.metric, name, gate.confidence), advice)
    gain = speedup(samples, gate.metric, name, partner, gate.confidence)
    if gate.bound == "max_ratio":
        gain = turned_over(gain)
    return Finding(gain, f"{gain.n} rounds do not separate it from the limit.")


def _status(gate: Gate, estimate: Estimate) -> Status:
    """Pass by the bound, fail by the point, else inconclusive."""
    sign = 1 if gate.bound in AT_LEAST else -1
    bad_side = estimate.low if gate.bound in AT_LEAST else estimate.high
    if sign * estimate.point < sign * gate.allowed:
        return "fail"
    return "pass" if bad_side is not None and sign * bad_side >= sign * gate.allowed else "inconclusive"


def _speed_status(gate: Gate, estimate: Estimate) -> Status:
    """As `_status`, with nothing claimed under 5 %: in speed-ups, whichever way the gate is written."""
    demanded, gain = _in_speedups(gate, estimate)
    if gain.point * RESOLUTION < demanded:
        return "fail"
    if gain.low is None or gain.low < demanded:
        return "inconclusive"
    return "inconclusive" if demanded > 1 and gain.point < RESOLUTION else "pass"


def _speed_advice(gate: Gate, estimate: Estimate) -> str:
    """Why `_speed_status` is inconclusive where it is: too few rounds, or a difference too small to be told apart."""
    demanded, gain = _in_speedups(gate, estimate)
    if gain.high is not None and gain.high < demanded:
        room = gate.allowed * RESOLUTION if gate.bound == "max_ratio" else gate.allowed / RESOLUTION
        missed = "It is slower" if demanded == 1 else "It misses the limit"
        return f"{missed} by less than {TOLD_APART} If so much does not matter, allow {room:.3g}."
    if gain.low is not None and gain.low >= demanded:
        return f"It is faster by less than {TOLD_APART} A limit of 1 asks for no more than `not slower`."
    return (
        f"{gain.n} rounds do not separate it from the limit. Measure again on a quieter machine, or leave more room in "
        "the limit."
    )


def _in_speedups(gate: Gate, estimate: Estimate) -> tuple[float, Estimate]:
    """The demanded speed-up and the measured one; a ratio is turned over."""
    if gate.bound != "max_ratio":
        return gate.allowed, estimate
    return 1 / gate.allowed, turned_over(estimate)


def _decided(gate: Gate, finding: Finding, status: Status, name: str | None) -> Verdict:
    return _verdict(gate, status, _sentence(gate, finding, status), finding.estimate, name)


def _sentence(gate: Gate, finding: Finding, status: Status) -> str:
    estimate = finding.estimate
    at_least = gate.bound in AT_LEAST
    what = {"max_drop": "loss", "max_drop_percent": "loss in percent", "min_gain": "gain"}.get(gate.bound)
    what = what or {"min_speedup": "speed-up", "max_ratio": "ratio"}.get(gate.bound) or "value"
    side = estimate.low if at_least else estimate.high
    limit = f"{'at least' if at_least else 'at most'} {gate.allowed:.4g}"
    bound = "no bound yet" if side is None else f"{gate.confidence:.4g} bound {side:.4g}"
    if estimate.low == estimate.high == estimate.point:
        bound = "exact"
    text = f"{gate.metric}: {what} {estimate.point:.4g} ({bound}, n {estimate.n:,}), allowed {limit}."
    return f"{text} {finding.advice}".strip() if status == "inconclusive" else text


def _verdict(
    gate: Gate, status: Status, reason: str, estimate: Estimate | None = None, name: str | None = None
) -> Verdict:
    return Verdict(
        gate=gate.describe() + (f" on {name}" if name else ""),
        metric=gate.metric,
        status=status,
        reason=reason,
        against=gate.partner,
        slice=name,
        measured=None if estimate is None else estimate.point,
        allowed=gate.allowed,
        interval=None if estimate is None else estimate.interval,
        n=None if estimate is None else estimate.n,
        confidence=gate.confidence,
    )
