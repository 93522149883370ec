"""What training techniques have done to a model's weights, to be kept by every later step and shown on its ONNX file.

`promises.json` travels with the model from folder to folder. A later training step projects the weights back onto what
was promised (`projection`); each ONNX file made of the model is measured against it here.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tasks.foundations.errors import ProofFailed
from tasks.foundations.record import Record
from tasks.models import onnx_file
from tasks.techniques.weights import of_layers

FILE = "promises.json"
# Pruned counts are whole numbers: rounded, they miss the asked share by half a weight, and a file by what padding adds.
HALF, ROUNDING = 0.5 + 1e-6, 0.002
Array = np.ndarray[Any, Any]


class Promise(Record):
    """What one technique has done.

    Attributes:
        what: `sparsity`: share of zeros in each layer. `two_of_four`: at most two of four neighbours along the input
            channels are not zero. `clusters`: distinct values in each output channel, zero included.
        asked: the share, 2, or the number.
        layers: layer -> indices of the promised weights in the layer's own list of weights.
        elements: layer -> number of elements of each of them.
    """

    what: Literal["sparsity", "two_of_four", "clusters"]
    asked: float
    layers: dict[str, tuple[int, ...]]
    elements: dict[str, tuple[int, ...]]


def read(folder: Path) -> tuple[Promise, ...]:
    """The promises of a model folder, none if it has no such file."""
    path = folder / FILE
    if not path.exists():
        return ()
    return tuple(Promise.model_validate(each) for each in json.loads(path.read_text()))


def write(promises: Sequence[Promise], folder: Path) -> None:
    """Write `promises.json`, if there is something to promise."""
    if promises:
        content = [promise.model_dump(mode="json") for promise in promises]
        (folder / FILE).write_text(json.dumps(content, indent=2) + "\n")


def prove(promises: Sequence[Promise], folder: Path) -> dict[str, Any]:
    """Measure `model.onnx` of a folder against the promises.

    Returns:
        For every promise its kind, what was asked, and layer -> what was achieved in the worst of its weights.

    Raises:
        ProofFailed: a layer does not keep a promise, or its weights are not to be found in the file.
    """
    if not promises:
        return {}
    model = onnx_file.read(folder)
    return {promise.what: show(promise, _promised(promise, model)) for promise in promises}


def show(promise: Promise, found: Mapping[str, list[Array]]) -> dict[str, Any]:
    """Measure the weights of a promise.

    Args:
        promise: what was asked.
        found: layer -> its promised weights, each (..., input channels, output channels).

    Returns:
        What was asked, what each layer achieves in the worst of its weights, and what all achieve together.

    Raises:
        ProofFailed: naming every layer that falls short.
    """
    achieved = {layer: _worst(promise, weights) for layer, weights in found.items()}
    sizes = {layer: min(each.size for each in weights) for layer, weights in found.items()}
    _refuse_unkept(promise, achieved, sizes)
    return {"asked": promise.asked, "achieved": achieved, "whole": _whole(promise, found)}


def _refuse_unkept(promise: Promise, achieved: dict[str, float], sizes: dict[str, int]) -> None:
    short = {layer: value for layer, value in achieved.items() if not _kept(promise, value, sizes[layer])}
    if not short:
        return
    worst = ", ".join(f"{layer} ({_words(promise, value)})" for layer, value in list(short.items())[:5])
    more = f" and {len(short) - 5} more" if len(short) > 5 else ""
    raise ProofFailed(
        f"{_words(promise, promise.asked)} were promised, but not kept by {worst}{more}. {_advice(promise)}"
    )


def measure(promise: Promise, weight: Array) -> float:
    """What one weight, (..., input channels, output channels), achieves."""
    if promise.what == "sparsity":
        return float(np.mean(weight == 0))
    if promise.what == "two_of_four":
        return float(_most_of_four(weight))
    columns = weight.reshape(-1, weight.shape[-1])
    return float(max(len(np.unique(column)) for column in columns.T))


def _promised(promise: Promise, model: Any) -> dict[str, list[Array]]:
    """Layer -> those of its weights that the promise is about: the ones of as many elements.

    Recurrent layers and attention lose their names in conversion. Each of their weights becomes one constant, so as
    many constants of that size, of all that no other layer has a claim to, must keep the promise.

    Raises:
        ProofFailed: there are too few.
    """
    named, rest = of_layers(model, promise.layers)
    sign = -1 if promise.what == "sparsity" else 1
    spare = sorted((each.values for each in rest), key=lambda values: sign * measure(promise, values))
    found = {}
    for layer, elements in promise.elements.items():
        own = [each.values for each in named[layer] if each.values.size in elements]
        # All of them: a layer that is used twice may stand in the file twice.
        found[layer] = own if len(own) >= len(elements) else [_take(spare, size, layer, promise) for size in elements]
    return found


def _take(spare: list[Array], size: int, layer: str, promise: Promise) -> Array:
    for index, values in enumerate(spare):
        if values.size == size:
            return spare.pop(index)
    raise ProofFailed(
        f"The weights of layer {layer!r} are not to be found in the ONNX file, so {promise.what} cannot be shown "
        "there. Exclude the layer from the technique."
    )


def _worst(promise: Promise, weights: list[Array]) -> float:
    values = [measure(promise, each) for each in weights]
    return min(values) if promise.what == "sparsity" else max(values)


def _whole(promise: Promise, found: Mapping[str, list[Array]]) -> float:
    """Over all layers together: the share of zeros, or the largest number."""
    values = [each for weights in found.values() for each in weights]
    if promise.what == "sparsity":
        return round(sum(int(np.sum(each == 0)) for each in values) / sum(each.size for each in values), 6)
    return _worst(promise, values)


def _kept(promise: Promise, value: float, size: int) -> bool:
    return value >= promise.asked - max(ROUNDING, HALF / size) if promise.what == "sparsity" else value <= promise.asked


def _most_of_four(weight: Array) -> int:
    """The most non-zero values among four neighbours along the input channels."""
    inputs = np.moveaxis(weight, -2, -1)
    rows = inputs.reshape(-1, inputs.shape[-1])
    padded = np.pad(rows, ((0, 0), (0, -rows.shape[1] % 4)))
    return int((padded.reshape(-1, 4) != 0).sum(axis=1).max(initial=0))


def _words(promise: Promise, value: float) -> str:
    if promise.what == "sparsity":
        return f"{value:.1%} zeros"
    return f"{value:.0f} of 4 non-zero weights" if promise.what == "two_of_four" else f"{value:.0f} distinct values"


def _advice(promise: Promise) -> str:
    if promise.what == "sparsity":
        return "A layer cannot lose its last weight, and a short training may end before its schedule: ask for less."
    return "Exclude these layers from the technique."
