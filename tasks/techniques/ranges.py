"""Where fake quantization starts: at the ranges that activations have on the calibration rows.

tensorflow-model-optimization starts every range at -6..6 and lets it follow the data by a thousandth a step. A net
whose activations are far smaller (EfficientNet divides pixels by 255) loses its whole signal to rounding and diverges;
far larger ones are clipped. A few epochs do not mend that. `int8_static` measures ranges on the same rows.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

from tasks.data.dataset import Split
from tasks.models.rows import batches, count, match
from tasks.models.signature import Signature
from tasks.models.twin import named
from tasks.techniques.projection import by_name, short_name

ROWS, BATCH_SIZE = 256, 32


class Range(NamedTuple):
    """Smallest and largest value, zero among them, as eight bits need it."""

    low: float = 0.0
    high: float = 0.0

    def with_values(self, values: Any) -> "Range":
        """The range that holds the values of a tensor, too."""
        import tensorflow as tf

        return Range(min(self.low, float(tf.reduce_min(values))), max(self.high, float(tf.reduce_max(values))))


class _Watched:
    """An activation that remembers what went in and what came out."""

    def __init__(self, activation: Callable[[Any], Any]) -> None:
        self.activation = activation
        self.before, self.after = Range(), Range()

    def __call__(self, values: Any) -> Any:
        result = self.activation(values)
        self.before, self.after = self.before.with_values(values), self.after.with_values(result)
        return result


def observe(model: Any, layers: Collection[str], signature: Signature, split: Split) -> dict[str, tuple[Range, Range]]:
    """Run a model on the first 256 rows as in training: batch norms go by the batch, not by what they have averaged.

    Args:
        model: tf_keras.Model, left as it is.
        layers: names of layers that have an activation.
        signature: of the model's inputs and outputs.
        split: the calibration rows.

    Returns:
        Layer -> ranges before and after its activation.
    """
    import tensorflow as tf

    weights = model.get_weights()
    watched = {name: _Watched(model.get_layer(name).activation) for name in layers}
    interface, arrays = named(model, signature), match(split.input_arrays(), signature)
    try:
        for name, each in watched.items():
            model.get_layer(name).activation = each
        for feed in batches(arrays, signature, min(ROWS, count(arrays)), BATCH_SIZE):
            model(interface.arrange({name: tf.constant(array) for name, array in feed.items()}), training=True)
    finally:
        model.set_weights(weights)
        for name, each in watched.items():
            model.get_layer(name).activation = each.activation
    return {name: (each.before, each.after) for name, each in watched.items()}


def start(quantized: Any, found: Mapping[str, tuple[Range, Range]]) -> None:
    """Let the quantizers of activations start there; those of a layer that has put out nothing but zeros stay."""
    layers = by_name(quantized)
    for name, (before, after) in found.items():
        bounds: dict[str, float] = {}
        for prefix, each in (("pre_activation", before), ("post_activation", after)):
            if each.low < each.high:
                bounds |= {f"{prefix}_min": each.low, f"{prefix}_max": each.high}
        for variable in layers[name].weights:
            if short_name(variable) in bounds:
                variable.assign(bounds[short_name(variable)])
