"""Zeros where weights matter least: the model compresses to a fraction when it travels, its speed stays what it was.

Magnitude pruning during fine-tuning (Zhu and Gupta, "To prune, or not to prune", 2017, arXiv:1710.01878), and 2:4:
two zeros in every four neighbours along the input channels (Mishra et al., 2021, arXiv:2104.08378).
"""

from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from tasks.foundations.record import Record
from tasks.techniques import trainable
from tasks.techniques.promises import Promise
from tasks.techniques.step import Place, Step

# Masks are chosen anew so many times on the way to the final sparsity, if the training has as many steps.
UPDATES = 20


class Pruning(Record):
    """Weights of small magnitude become zero while the rest is trained on."""

    level: ClassVar[Literal["training", "onnx"]] = "training"
    place: ClassVar[Place] = "training"
    followed_by: ClassVar[str | None] = None

    kind: Literal["pruning"] = "pruning"
    sparsity: float = Field(0.5, gt=0, lt=1, description="Share of zeros in each pruned layer at the end.")
    pattern: Literal["unstructured", "2:4"] = Field(
        "unstructured",
        description="Zeros anywhere, or two in every four neighbours along the input channels (sparsity 0.5; "
        "Dense and Conv2D).",
    )
    schedule: Literal["polynomial", "constant"] = Field(
        "polynomial", description="Sparsity rises from initial_sparsity (cubic), or is there from the first step on."
    )
    initial_sparsity: float = Field(0.0, ge=0, lt=1, description="Where the polynomial schedule starts.")
    end: float = Field(
        0.6, gt=0, le=1, description="Share of the fine-tuning after which the sparsity is reached; the rest recovers."
    )
    epochs: trainable.Epochs = None
    batch_size: trainable.BatchSize = None
    optimizer: trainable.OwnOptimizer = None
    exclude: trainable.Exclude = ()

    @field_validator("pattern", mode="before")
    @classmethod
    def _unquoted(cls, value: Any) -> Any:
        return "2:4" if value == 124 else value  # YAML takes 2:4 without quotes for minutes and seconds

    @model_validator(mode="after")
    def _possible(self) -> "Pruning":
        if self.pattern == "2:4" and self.sparsity != 0.5:
            raise ValueError(f"pattern 2:4 has a sparsity of 0.5. Got {self.sparsity}: leave sparsity out")
        steady = "pattern 2:4" if self.pattern == "2:4" else "schedule constant" if self.schedule == "constant" else ""
        timed = ("end", "initial_sparsity", *(("schedule",) if self.pattern == "2:4" else ()))
        # By value: a worker is handed the defaults too.
        idle = [name for name in timed if getattr(self, name) != type(self).model_fields[name].default]
        if steady and idle:
            raise ValueError(f"{steady} has its zeros from the first step on: leave {', '.join(idle)} out")
        if self.initial_sparsity > self.sparsity:
            raise ValueError(f"initial_sparsity {self.initial_sparsity} is above sparsity {self.sparsity}")
        return self

    def apply(self, step: Step) -> dict[str, Any]:
        """Prune while fine-tuning.

        Raises:
            NotApplicable: no layer can be pruned.
            InputError: no `training` section, or an entry of `exclude` is no layer.
            StepFailed: the training diverged.
        """
        from tensorflow_model_optimization.sparsity.keras import UpdatePruningStep, prune_low_magnitude, strip_pruning

        twin = trainable.open_source(step)
        layers = trainable.choose(self.kind, twin.model, self.exclude, self._fits, _wanted(self.pattern))
        made = self._promise(twin.model, layers)
        coverage = trainable.coverage(twin.model, layers)
        settings = trainable.settings(self, step)
        begin, end, frequency = self._schedule(trainable.steps(step, settings))
        how = self._how(begin, end, frequency)
        wrapped = trainable.wrap(twin.model, layers, lambda layer: prune_low_magnitude(layer, **how))
        keep = trainable.keep(twin, wrapped, regroup_at=end + 1)
        callbacks = [UpdatePruningStep(), *(_masking(wrapped) if keep else []), *keep]
        history = trainable.train(wrapped, step, settings, callbacks)
        trainable.finish(step, twin, strip_pruning(wrapped), made)
        return {"layers": layers, "coverage": coverage, "history": history.model_dump(mode="json")}

    def prove(self, folder: str, source: str) -> dict[str, Any]:
        """Count zeros, layer by layer.

        Raises:
            ProofFailed: a layer has fewer than asked, or another promise of the chain was broken.
        """
        return trainable.prove(folder)

    def _fits(self, layer: Any) -> bool:
        if self.pattern == "2:4":
            return type(layer).__name__ in ("Dense", "Conv2D") and int(layer.kernel.shape[-2]) >= 4
        return type(layer).__name__ in trainable.MATRICES

    def _promise(self, model: Any, layers: list[str]) -> Promise:
        what: Literal["sparsity", "two_of_four"] = "two_of_four" if self.pattern == "2:4" else "sparsity"
        asked = 2.0 if self.pattern == "2:4" else self.sparsity
        return trainable.promise(what, asked, model, layers)

    def _schedule(self, total: int) -> tuple[int, int, int]:
        """(first step, last step, steps between) at which masks are chosen."""
        if self.schedule == "constant":
            return 0, 0, 1
        frequency = max(1, int(total * self.end) // UPDATES)
        return 0, max(1, int(total * self.end) // frequency) * frequency, frequency

    def _how(self, begin: int, end: int, frequency: int) -> dict[str, Any]:
        from tensorflow_model_optimization.sparsity.keras import ConstantSparsity, PolynomialDecay

        if self.pattern == "2:4":
            return {"pruning_schedule": ConstantSparsity(0.5, 0, -1, 1), "sparsity_m_by_n": (2, 4)}
        if self.schedule == "constant":
            return {"pruning_schedule": ConstantSparsity(self.sparsity, begin, max(end, 1), frequency)}
        return {"pruning_schedule": PolynomialDecay(self.initial_sparsity, self.sparsity, begin, end, 3, frequency)}


def _masking(wrapped: Any) -> list[Any]:
    """A callback that puts pruned weights back to zero after a step; by itself the library does so in the next one."""
    import tf_keras

    pruned = [layer for layer in wrapped.layers if hasattr(layer, "pruning_obj")]

    class Mask(tf_keras.callbacks.Callback):  # type: ignore[misc, unused-ignore]
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            for layer in pruned:
                layer.pruning_obj.weight_mask_op()

    return [Mask()]


def _wanted(pattern: str) -> str:
    return "Dense and Conv2D of at least four input channels" if pattern == "2:4" else ", ".join(trainable.MATRICES)
