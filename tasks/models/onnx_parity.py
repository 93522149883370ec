"""Numbers that say whether two forms of one model compute the same thing."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from tasks.foundations.errors import StepFailed
from tasks.foundations.record import Record

Array = np.ndarray[Any, Any]

# Two float32 implementations of one graph differ by reordered sums. On the models of facts/ that is below 1e-5 of the
# largest output; ten times that is no longer rounding.
TOLERANCE = 1e-4
# The same for a model that itself computes in half precision (Keras's mixed_float16): below 1e-3, on the nets of the
# tests and a residual net of six blocks.
HALF_TOLERANCE = 1e-2


class NotFinite(StepFailed):
    """An output is infinite or NaN where the reference is not."""


class Parity(Record):
    """How far one output of a model is from the reference.

    Attributes:
        rows: rows that were compared.
        max_abs: largest absolute difference.
        max_rel: largest difference relative to the reference, over elements of at least a thousandth of `scale`.
        scale: largest absolute reference value, at least 1.
        top1: share of rows with the same largest entry, None where the output has no classes to rank.
    """

    rows: int
    max_abs: float
    max_rel: float
    scale: float
    top1: float | None = None


def compare(reference: Mapping[str, Array], other: Mapping[str, Array]) -> dict[str, Parity]:
    """Compare outputs by name.

    Raises:
        StepFailed: an output is missing, has another shape, or is not finite where the reference is.
    """
    return {name: _compare(name, array, other.get(name)) for name, array in reference.items()}


def refuse_difference(parity: Mapping[str, Parity], tolerance: float = TOLERANCE, form: str = "ONNX") -> None:
    """Fail if an output of a form is further from the reference than rounding explains.

    Raises:
        StepFailed: `max_abs` is over `tolerance * scale`; the message carries the figures.
    """
    for name, figures in parity.items():
        if figures.max_abs > tolerance * figures.scale:
            top1 = "" if figures.top1 is None else f", top-1 agreement {figures.top1:.4f}"
            raise StepFailed(
                f"Output {name!r} of the {form} model differs from the reference by {figures.max_abs:.3g} (relative "
                f"{figures.max_rel:.3g}{top1}) on {figures.rows} rows; allowed is {tolerance * figures.scale:.3g}. "
                "An operator was converted wrongly: use only targets with `runtime: tensorflow`, or replace the layer."
            )


def _compare(name: str, reference: Array, other: Array | None) -> Parity:
    if other is None or reference.shape != other.shape:
        got = "nothing" if other is None else f"shape {other.shape}"
        raise StepFailed(f"Output {name!r} has shape {reference.shape} in the reference, the other form gives {got}.")
    if reference.dtype.kind not in "fiub":
        equal = float(np.mean(reference.astype(str) == other.astype(str)))
        return Parity(rows=len(reference), max_abs=1.0 - equal, max_rel=1.0 - equal, scale=1.0)
    want, have = reference.astype(np.float64), other.astype(np.float64)
    finite = np.isfinite(want)
    if not np.array_equal(finite, np.isfinite(have)):
        raise NotFinite(f"Output {name!r} is not finite where the reference is: a value overflows.")
    difference = np.abs(want - have)[finite]
    scale = max(1.0, float(np.max(np.abs(want[finite]), initial=0.0)))
    large = np.abs(want[finite]) >= 1e-3 * scale
    relative = difference[large] / np.abs(want[finite])[large]
    return Parity(
        rows=len(want),
        max_abs=float(np.max(difference, initial=0.0)),
        max_rel=float(np.max(relative, initial=0.0)),
        scale=scale,
        top1=_top1(want, have),
    )


def _top1(want: Array, have: Array) -> float | None:
    if want.ndim < 2 or want.shape[-1] < 2 or want.size == 0:
        return None
    return float(np.mean(want.argmax(-1) == have.argmax(-1)))
