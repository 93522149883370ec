"""The outcome of one gate for one candidate on one target: a value, never an exception."""

from typing import Literal

from tasks.foundations.record import Record

Status = Literal["pass", "fail", "inconclusive", "not_applicable"]


class Verdict(Record):
    """What a gate measured, what it allows, and how sure that is.

    Attributes:
        gate: the gate in one readable phrase, `accuracy max_drop 0.01 against reference`.
        metric: metric name, `accuracy`, `p50_ms`, `size_bytes`.
        against: what it was compared with, or None for an absolute bound.
        slice: `column=value` where the gate looks at one slice, else None.
        status: see `Status`.
        measured: point estimate of the quantity that the bound limits (a drop, a ratio, a value), None if missing.
        allowed: the bound itself.
        interval: (low, high) at `confidence` of `measured`, None where there is none.
        n: number of independent observations behind it: rows, rounds or calls.
        confidence: one-sided confidence of the decision, e.g. 0.95.
        reason: one sentence for a person.
    """

    gate: str
    metric: str
    status: Status
    reason: str
    against: str | None = None
    slice: str | None = None
    measured: float | None = None
    allowed: float | None = None
    interval: tuple[float, float] | None = None
    n: int | None = None
    confidence: float | None = None
