"""Quantization-aware training: fine-tuning with eight-bit rounding in the forward pass (Jacob et al., 2018).

Ranges start where the calibration rows have them. The weights learn to stand the rounding; the rounding is taken
out again and done by `int8_static`, which must follow. Exported as it is, the model is 1.9 times slower than float, for
ONNX Runtime then runs every convolution in float between two quantizers.
"""

from typing import Any, ClassVar, Literal

import numpy as np

from tasks.foundations.record import Record
from tasks.techniques import projection, ranges, trainable
from tasks.techniques.step import Place, Step

_TAKEN = ("Conv2D", "Dense", "DepthwiseConv2D")


class Qat(Record):
    """Training on with the rounding of eight bits."""

    level: ClassVar[Literal["training", "onnx"]] = "training"
    place: ClassVar[Place] = "training"
    followed_by: ClassVar[str | None] = "int8_static"

    kind: Literal["qat"] = "qat"
    epochs: trainable.Epochs = None
    batch_size: trainable.BatchSize = None
    optimizer: trainable.OwnOptimizer = None
    exclude: trainable.Exclude = ()

    def apply(self, step: Step) -> dict[str, Any]:
        """Fine-tune with fake quantization of weights and activations, and take it out again.

        Raises:
            NotApplicable: no layer can be trained that way.
            InputError: no `training` section, or an entry of `exclude` is no layer.
            StepFailed: the training diverged.
        """
        from tensorflow_model_optimization.quantization.keras import quantize_annotate_layer, quantize_apply

        twin = trainable.open_source(step)
        layers = trainable.choose(self.kind, twin.model, self.exclude, _fits, ", ".join(_TAKEN))
        coverage = trainable.coverage(twin.model, layers)
        settings = trainable.settings(self, step)
        plain = trainable.open_source(step).model
        observed = ranges.observe(plain, layers, twin.signature, step.calibration)
        quantized = quantize_apply(trainable.wrap(twin.model, layers, quantize_annotate_layer))
        ranges.start(quantized, observed)
        history = trainable.train(quantized, step, settings, trainable.keep(twin, quantized))
        changed = _take_over(plain, quantized)
        trainable.finish(step, twin, plain)
        return {
            "layers": layers,
            "coverage": coverage,
            "changed_weights": changed,
            "history": history.model_dump(mode="json"),
        }

    def prove(self, folder: str, source: str) -> dict[str, Any]:
        """What earlier techniques promised; that the integers are used is `int8_static`'s proof.

        Raises:
            ProofFailed: a promise of the chain was broken.
        """
        return trainable.prove(folder)


def _fits(layer: Any) -> bool:
    from tensorflow_model_optimization.python.core.quantization.keras import quantize_aware_activation as aware

    kinds = aware.QuantizeAwareActivation
    known = kinds._PRE_QUANT_ACTIVATIONS | kinds._POST_QUANT_ACTIVATIONS
    return type(layer).__name__ in _TAKEN and getattr(layer.activation, "__name__", "") in known


def _take_over(plain: Any, quantized: Any) -> int:
    """Copy the trained weights into the plain model; how many of them have changed."""
    trained = projection.variables(quantized, plain)
    changed = 0
    for layer in plain.layers:
        for index, variable in enumerate(layer.weights):
            value = trained[layer.name, index].numpy()
            changed += not np.array_equal(variable.numpy(), value)
            variable.assign(value)
    return changed
