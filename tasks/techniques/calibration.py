"""The ranges of activations, measured on calibration rows in memory that does not grow with their number.

ONNX Runtime's own calibrators keep every batch's activations until the end, and their entropy method has exactly one
candidate at its default of 128 bins (the full range). Here a batch is as large as a fixed budget allows, one pass takes
minima and maxima, and a second one, for entropy and percentile, fills histograms over the ranges that are then known.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Literal, NamedTuple

import numpy as np

from tasks.foundations.errors import StepFailed
from tasks.models import onnx_file
from tasks.models.rows import batches, take
from tasks.models.signature import Signature

Array = np.ndarray[Any, Any]
Method = Literal["minmax", "entropy", "percentile"]
Ranges = dict[str, tuple[float, float]]

# Activations of one batch, bytes. A batch has at least one row whatever that costs.
BUDGET = 32 << 20
MAX_BATCH = 256
BINS = 2048
# Below 8 values a bin, differences between bins are chance and entropy would cut for no reason.
VALUES_PER_BIN = 8
# Levels of an 8-bit value but one, so that the middle bin holds zero.
LEVELS = 255
# What is clipped piles up at the ends; a range that clips most values is no range.
MIN_KEPT = 0.9


class Rows(NamedTuple):
    """What a model is fed with while it is measured.

    Attributes:
        signature: names and dtypes of the inputs.
        arrays: input name -> (at least `number`, ...), memory-mapped.
        number: how many rows to use, from the first.
    """

    signature: Signature
    arrays: Mapping[str, Array]
    number: int


def measure_ranges(
    model: Any, rows: Rows, method: Method = "minmax", percentile: float = 100.0, operators: Collection[str] = ()
) -> Ranges:
    """Range of the float activations of a model.

    Args:
        model: ModelProto.
        rows: what it is fed with.
        method: `minmax` takes the extremes, `percentile` cuts half of the rest at either end, `entropy` takes the
            threshold whose quantized distribution loses least (Kullback-Leibler; Migacz, GTC 2017, S7310).
        percentile: share kept by `percentile`, in percent.
        operators: only what these types of operators read or write; all if empty.

    Returns:
        Tensor name -> (low, high).

    Raises:
        StepFailed: an activation is not finite.
    """
    names = _float_activations(model, operators)
    feed = _Feed(model, names, rows)
    extremes = _extremes(names, feed)
    if method == "minmax":
        return extremes
    entropy = method == "entropy"
    spans = {name: _span(*extremes[name], symmetric=entropy) for name in names}
    counts = _histograms(feed, spans, zeros=not entropy)
    choose: Callable[[Array, tuple[float, float]], tuple[float, float]] = (
        entropy_range if entropy else lambda hist, span: percentile_range(hist, span, percentile)
    )
    return {name: _inside(choose(counts[name], spans[name]), extremes[name]) for name in names}


def percentile_range(histogram: Array, span: tuple[float, float], percentile: float) -> tuple[float, float]:
    """Range that holds `percentile` percent of the counts, the same share cut at either end.

    Args:
        histogram: (bins,) counts.
        span: (low, high) that the bins divide evenly.
        percentile: 0 to 100.
    """
    edges = np.linspace(*span, len(histogram) + 1)
    total = np.cumsum(histogram)
    cut = (100.0 - percentile) / 200.0 * total[-1]
    first = int(np.searchsorted(total, cut, side="right"))
    last = int(np.searchsorted(total, total[-1] - cut, side="left"))
    return float(edges[min(first, last)]), float(edges[last + 1])


def entropy_range(histogram: Array, span: tuple[float, float]) -> tuple[float, float]:
    """Symmetric range whose quantization changes the distribution least.

    Bins are merged until they hold 8 values on average; with too few values for that the whole span is returned, since
    differences between nearly empty bins are chance.

    Args:
        histogram: (bins,) counts, bins a power of two, over a span symmetric around 0. Without exact zeros: they are
            kept by any range, and the spike that a ReLU makes of them hides everything else.
        span: (-threshold, threshold).
    """
    bins = len(histogram)
    while bins * VALUES_PER_BIN > histogram.sum() and bins > LEVELS:
        bins //= 2
    if bins <= 2 * LEVELS:
        return span
    merged = histogram.reshape(bins, -1).sum(axis=1)
    half = bins // 2
    widths = list(range(LEVELS // 2 + 1, half + 1, 4))
    losses = [_divergence(merged, half, width) for width in widths]
    # The widest of equally good ranges.
    best = len(widths) - 1 - int(np.argmin(losses[::-1]))
    threshold = span[1] * widths[best] / half
    return -threshold, threshold


def _divergence(histogram: Array, half: int, width: int) -> float:
    """Kullback-Leibler divergence of the clipped distribution from its quantized form, less its expected noise."""
    inside = histogram[half - width : half + width].astype(np.float64)
    if inside.sum() < MIN_KEPT * histogram.sum():
        return np.inf
    clipped = inside.copy()
    clipped[0] += histogram[: half - width].sum()
    clipped[-1] += histogram[half + width :].sum()
    level = np.arange(2 * width) * LEVELS // (2 * width)
    filled = clipped > 0
    sums = np.bincount(level, inside, LEVELS)
    bins = np.bincount(level, filled, LEVELS)
    quantized = np.where(filled, (sums / np.maximum(bins, 1))[level], 0.0)
    p, q = clipped[filled], np.maximum(quantized[filled], 1e-4)
    p, q = p / p.sum(), q / q.sum()
    # Counts that differ by chance alone give a divergence of (bins - levels) / (2 n): a chi-square over 2 n.
    noise = (filled.sum() - (bins > 0).sum()) / (2.0 * histogram.sum())
    return max(0.0, float(np.sum(p * np.log(p / q))) - float(noise))


class _Feed:
    """Batches of a model's activations; the batch size follows from what one row needs."""

    def __init__(self, model: Any, names: list[str], rows: Rows) -> None:
        self._names, self._rows = names, rows
        self._session = onnx_file.session(_with_outputs(model, names), level="basic")
        row = self._run(take(rows.arrays, rows.signature, slice(0, 1)))
        self._batch = int(np.clip(BUDGET // max(1, sum(array.nbytes for array in row.values())), 1, MAX_BATCH))

    def _run(self, feed: dict[str, Array]) -> dict[str, Array]:
        return dict(zip(self._names, self._session.run(self._names, feed), strict=True))

    def __iter__(self) -> Iterator[dict[str, Array]]:
        signature, arrays, number = self._rows
        for feed in batches(arrays, signature, number, self._batch):
            yield self._run(feed)


def _float_activations(model: Any, operators: Collection[str]) -> list[str]:
    """Float tensors between nodes, in the graph's order."""
    import onnx

    inferred = onnx.shape_inference.infer_shapes(model)
    graph = inferred.graph
    kinds = {value.name: value.type.tensor_type.elem_type for value in (*graph.value_info, *graph.output, *graph.input)}
    wanted = (*(value.name for value in graph.input), *(name for node in graph.node for name in node.output))
    touched = {
        name
        for node in graph.node
        if not operators or node.op_type in operators
        for name in (*node.input, *node.output)
    }
    return [name for name in dict.fromkeys(wanted) if name in touched and kinds.get(name) == onnx.TensorProto.FLOAT]


def _with_outputs(model: Any, names: list[str]) -> bytes:
    import onnx

    twin = onnx.ModelProto()
    twin.CopyFrom(model)
    present = {value.name for value in twin.graph.output}
    for name in names:
        if name not in present:
            twin.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    content: bytes = twin.SerializeToString()
    return content


def _extremes(names: list[str], feed: _Feed) -> Ranges:
    low = dict.fromkeys(names, np.inf)
    high = dict.fromkeys(names, -np.inf)
    for batch in feed:
        for name, array in batch.items():
            if array.size:
                # numpy's minimum keeps a NaN, Python's min() may lose it.
                low[name] = float(np.minimum(low[name], array.min()))
                high[name] = float(np.maximum(high[name], array.max()))
    for name in names:
        if not np.isfinite([low[name], high[name]]).all():
            raise StepFailed(
                f"Activation {name!r} ranges from {low[name]} to {high[name]} on the calibration rows. Expected finite "
                "values: check these rows and the model's numerics."
            )
    return {name: (low[name], high[name]) for name in names}


def _span(low: float, high: float, symmetric: bool) -> tuple[float, float]:
    if symmetric:
        bound = max(abs(low), abs(high)) or 1.0
        return -bound, bound
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _histograms(feed: _Feed, spans: Mapping[str, tuple[float, float]], zeros: bool) -> dict[str, Array]:
    counts = {name: np.zeros(BINS, dtype=np.int64) for name in spans}
    for batch in feed:
        for name, array in batch.items():
            values = array if zeros else array[array != 0.0]
            counts[name] += np.histogram(values, bins=BINS, range=spans[name])[0]
    return counts


def _inside(chosen: tuple[float, float], extremes: tuple[float, float]) -> tuple[float, float]:
    return max(chosen[0], extremes[0]), min(chosen[1], extremes[1])
