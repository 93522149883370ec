"""Fine-tuning under a technique of tensorflow-model-optimization: what pruning, clustering and qat have in common.

The library changes the model that it is given, so every step opens its own from disk. Only layers that a technique can
take are wrapped: asked for a whole model, the library refuses half of the architectures for one layer.
"""

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from pydantic import Field

from tasks.foundations import progress
from tasks.foundations.errors import InputError, NotApplicable
from tasks.foundations.words import suggest
from tasks.models.signature import Signature
from tasks.models.twin import open_twin, save_twin
from tasks.techniques import projection, promises
from tasks.techniques.promises import Promise
from tasks.techniques.step import Step
from tasks.training.config import Optimizer
from tasks.training.fit import FitSettings, History, fit, library_of
from tasks.training.objective import on_labels

Epochs = Annotated[int | None, Field(ge=1, description="Passes over the train split; default as in training.")]
BatchSize = Annotated[int | None, Field(ge=1, description="Rows a step; default as in training.")]
OwnOptimizer = Annotated[Optimizer | None, Field(description="As in training, which is the default.")]
Exclude = Annotated[tuple[str, ...], Field(description="Left as they are: names or classes of layers.")]

# Layers with matrices that the library can wrap and the proof can find again in the ONNX file.
_CONVOLUTIONS = ("Conv1D", "Conv2D", "Conv3D", "Conv2DTranspose", "SeparableConv1D", "SeparableConv2D")
MATRICES = ("Dense", *_CONVOLUTIONS, "Embedding", "LSTM", "GRU", "SimpleRNN", "MultiHeadAttention")
_KERNELS = ("kernel", "pointwise_kernel", "recurrent_kernel", "embeddings")


class Twin(NamedTuple):
    """An opened model and what it has to keep.

    Attributes:
        model: tf_keras.Model, not compiled, for this step alone.
        signature: of its inputs and outputs.
        kept: promises of the techniques before.
    """

    model: Any
    signature: Signature
    kept: tuple[Promise, ...]


def open_source(step: Step) -> Twin:
    """The model that a step starts from."""
    source = Path(step.source)
    return Twin(open_twin(source), Signature.read(source), promises.read(source))


def settings(technique: Any, step: Step) -> FitSettings:
    """How a step trains: the config's `training` section, with what the technique says itself.

    Raises:
        InputError: there is no such section.
    """
    if step.fit is None:
        raise InputError(f"{technique.kind} trains, and the config does not say how: add a training section.")
    own = {name: getattr(technique, name) for name in ("epochs", "batch_size", "optimizer")}
    given = {name: value for name, value in own.items() if value is not None}
    # The best epoch on validation may be one before the technique had done its work.
    training = step.fit.training.model_copy(update={**given, "early_stopping": None})
    return step.fit.model_copy(update={"training": training})


def steps(step: Step, fit_settings: FitSettings) -> int:
    """Number of optimizer steps of a fit."""
    batch = fit_settings.training.batch_size
    return fit_settings.training.epochs * -(-step.dataset["train"].rows // batch)


def choose(kind: str, model: Any, exclude: Collection[str], fits: Callable[[Any], bool], wanted: str) -> list[str]:
    """Names of the layers that a technique takes.

    Args:
        kind: of the technique, for messages.
        model: tf_keras.Model.
        exclude: names or classes of layers to leave out.
        fits: whether the technique can take a layer.
        wanted: what it can take, for the message.

    Raises:
        InputError: an entry of `exclude` is no layer of the model.
        NotApplicable: nothing is left, or the model computes in half precision.
    """
    known = {word for layer in model.layers for word in (layer.name, type(layer).__name__)}
    for word in exclude:
        if word not in known:
            raise InputError(f"{kind}.exclude: {word!r} is no layer of this model.{suggest(word, sorted(known))}")
    half = next((layer for layer in model.layers if layer.compute_dtype in ("float16", "bfloat16")), None)
    if half is not None:
        raise NotApplicable(
            f"{kind} works in float32, and layer {half.name!r} computes in {half.compute_dtype}. Build the model "
            f"without mixed precision, or leave {kind} out of this candidate."
        )
    able = [layer for layer in model.layers if layer.weights and layer.trainable and fits(layer)]
    taken = [layer.name for layer in able if layer.name not in exclude and type(layer).__name__ not in exclude]
    if not taken:
        has = ", ".join(sorted({type(layer).__name__ for layer in model.layers if layer.weights})) or "none"
        left = "`exclude` leaves none of its layers" if able else f"it takes {wanted}; layers with weights here: {has}"
        raise NotApplicable(f"{kind}: {left}. Leave {kind} out of this candidate{', or exclude less' if able else ''}.")
    return taken


def coverage(model: Any, layers: Collection[str]) -> dict[str, Any]:
    """How much of the model a technique has taken: its matrices, in elements, and the layers that it left alone."""
    sizes = {
        layer.name: sum(int(np.prod(weight.shape)) for weight in layer.weights if len(weight.shape) > 1)
        for layer in model.layers
    }
    left = {
        layer.name: type(layer).__name__ for layer in model.layers if sizes[layer.name] and layer.name not in layers
    }
    return {"weights": sum(sizes[name] for name in layers), "of": sum(sizes.values()), "left_out": left}


def wrap(model: Any, layers: Collection[str], wrapper: Callable[[Any], Any]) -> Any:
    """The model with some of its layers wrapped; all layers and weights are those of `model`."""
    import tf_keras

    return tf_keras.models.clone_model(
        model, clone_function=lambda layer: wrapper(layer) if layer.name in layers else layer
    )


def kernels(layer: Any) -> tuple[int, ...]:
    """Indices, in a layer's list of weights, of those that pruning and clustering work on."""
    names = [projection.short_name(weight) for weight in layer.weights]
    return tuple(index for index, name in enumerate(names) if name in _KERNELS)


def promise(
    what: Literal["sparsity", "two_of_four", "clusters"], asked: float, model: Any, layers: Collection[str]
) -> Promise:
    """What is promised of the kernels of some layers."""
    places = {name: kernels(model.get_layer(name)) for name in layers}
    elements = {
        name: tuple(int(np.prod(model.get_layer(name).weights[index].shape)) for index in indices)
        for name, indices in places.items()
    }
    return Promise(what=what, asked=asked, layers=places, elements=elements)


def train(model: Any, step: Step, fit_settings: FitSettings, callbacks: Sequence[Any] = ()) -> History:
    """Fit a model in place, telling how far it is."""
    goal = on_labels(library_of(model), step.dataset, fit_settings, Signature.read(Path(step.source)))
    return fit(model, step.dataset, fit_settings, progress.report_epoch, callbacks, goal)


def finish(step: Step, twin: Twin, model: Any, made: Promise | None = None) -> None:
    """Write a trained tf_keras model without wrappers, with the promises of the techniques before and its own."""
    save_twin(model, twin.signature, Path(step.out))
    promises.write((*twin.kept, made) if made else twin.kept, Path(step.out))


def prove(folder: str) -> dict[str, Any]:
    """Measure a written model against all promises made for it.

    Returns:
        Kind of promise -> what was asked, and what each layer achieves.

    Raises:
        ProofFailed: a layer falls short; it is named.
    """
    model = open_twin(Path(folder))
    return {each.what: promises.show(each, _weights(model, each)) for each in promises.read(Path(folder))}


def keep(twin: Twin, model: Any, regroup_at: int = 0) -> list[Any]:
    """Callbacks that keep the promises of earlier techniques while `model`, made of the twin, is fitted."""
    found = projection.constraints(twin.model, twin.kept)
    return projection.keeping(projection.variables(model, twin.model), found, regroup_at)


def _weights(model: Any, made: Promise) -> dict[str, list[Any]]:
    return {name: [_in_order(model.get_layer(name), at) for at in indices] for name, indices in made.layers.items()}


def _in_order(layer: Any, index: int) -> Any:
    """One weight of a layer as (..., input channels, output channels)."""
    values = layer.weights[index].numpy()
    return np.moveaxis(values, -2, -1) if "Transpose" in type(layer).__name__ else values
