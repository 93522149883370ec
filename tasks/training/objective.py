"""What a fit strives for: which outputs of a model have a loss, and which labels go with them.

A model may have several outputs. One, or of a custom task several, are fitted; the others get no loss and are left
alone. Outputs are told by position: a model in which a technique has wrapped layers calls them by other names.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tasks.data.dataset import Split
from tasks.foundations.errors import InputError
from tasks.foundations.words import suggest
from tasks.models.interface import Interface
from tasks.models.output import judged_output, last_activation, refuse_contradiction
from tasks.models.signature import Signature
from tasks.training import losses
from tasks.training.config import TrainingConfig

if TYPE_CHECKING:
    from tasks.training.fit import FitSettings

SPLITS = ("train", "validation")


class Objective(NamedTuple):
    """What a fit strives for: the labels, or something else.

    Attributes:
        losses: position of an output -> its loss, of (targets, outputs) -> (rows,).
        targets: split -> (rows, ...) of each of these outputs, in their order.
        name: of the figure that people watch.
        metric: a metric of the model's library, on (targets, outputs); only for a single output.
    """

    losses: Mapping[int, Any]
    targets: Mapping[str, tuple[Any, ...]]
    name: str = "loss"
    metric: Any = None


def on_labels(library: Any, dataset: Mapping[str, Split], settings: "FitSettings", signature: Signature) -> Objective:
    """The losses of the settings on the labels of train and validation.

    Args:
        library: `keras` or `tf_keras`, that of the model.
        dataset: holds both splits.
        settings: of the fit.
        signature: of the model, whose outputs labels are named by.

    Raises:
        InputError: losses that do not fit the labels, the outputs or the task, or labels that fit no output.
    """
    labels = {split: _by_output(dataset[split].labels(), signature, settings) for split in SPLITS}
    named = _losses(settings.training, [name for name in signature.outputs if name in labels["train"]])
    width = None
    made = {}
    for position, name in ((position, name) for position, name in enumerate(signature.outputs) if name in named):
        shape = signature.outputs[name].shape
        if settings.meaning.kind == "custom":
            _check_shapes(named[name], name, labels["train"][name].shape, shape)
        width = shape[-1] if len(shape) > 1 else 1
        made[position] = losses.build(named[name], library, settings.meaning, width, Path(settings.folder))
    targets = {split: tuple(labels[split][name] for name in named) for split in SPLITS}
    return Objective(made, targets, *losses.metric(library, settings.meaning, width))


def refuse_contradictions(model: Any, settings: "FitSettings", outputs: Sequence[str]) -> None:
    """Look at the last layers of a custom task's outputs that are trained by a crossentropy.

    Raises:
        InputError: an activation is not what the task says.
    """
    if settings.meaning.kind != "custom":
        return  # looked at when the model was opened
    for position, name in enumerate(outputs):
        loss = settings.training.losses.get(name, settings.training.losses.get("", ""))
        if loss in losses.CLASS:
            refuse_contradiction(last_activation(model, position), settings.meaning)


def with_outputs(model: Any, library: Any, interface: Interface, wanted: list[int]) -> Any:
    """A model of the same weights that gives only some of the outputs, because Keras wants a loss for each.

    The others are still computed: what a technique does to their layers happens while they run.

    Args:
        model: of `library`.
        library: `keras` or `tf_keras`.
        interface: of the model.
        wanted: positions of the outputs.
    """
    if len(wanted) == len(interface.signature.outputs) == 1:
        return model

    class Fitted(library.layers.Layer):  # type: ignore[misc]
        def call(self, outputs: Any) -> Any:
            chosen = [outputs[position] for position in wanted]
            return chosen[0] if len(chosen) == 1 else chosen

    if library.__name__ == "tf_keras":  # always a graph; its callbacks look for layers that are its own
        nested = getattr(model, "_nested_inputs", None)
        return library.Model(model.inputs if nested is None else nested, Fitted()(model.outputs))
    inputs = interface.arrange(
        {
            name: library.Input(spec.shape[1:], dtype="string" if spec.dtype == "str" else spec.dtype, name=name)
            for name, spec in interface.signature.inputs.items()
        }
    )
    return library.Model(inputs, Fitted()(library.tree.flatten(model(inputs))))


def _by_output(labels: Any, signature: Signature, settings: "FitSettings") -> dict[str, Any]:
    if isinstance(labels, Mapping):
        return dict(labels)
    names = tuple(signature.outputs)
    if settings.meaning.kind == "custom" and len(names) > 1:
        raise InputError(
            f"data: the model has the outputs {', '.join(names)}, and the labels are one array. To train it, give "
            f"labels by output name, {{'{names[0]}': ..., ...}}; outputs without labels get no loss."
        )
    return {judged_output(signature, settings.meaning): labels}


def _losses(training: TrainingConfig, outputs: list[str]) -> dict[str, str]:
    """Output with labels -> its loss."""
    if isinstance(training.loss, str):
        return dict.fromkeys(outputs, training.loss)
    for name in training.loss:
        if name not in outputs:
            raise InputError(
                f"training.loss: there are no labels for {name!r}.{suggest(name, outputs)} Outputs with labels: "
                f"{', '.join(outputs)}."
            )
    missing = [name for name in outputs if name not in training.loss]
    if missing:
        raise InputError(
            f"training.loss: there are labels for {', '.join(missing)}, and no loss. Name one, or leave the labels out."
        )
    return {name: training.loss[name] for name in outputs}


def _check_shapes(loss: str, output: str, labels: tuple[int, ...], shape: tuple[int | None, ...]) -> None:
    """Labels and outputs that only fit by stretching one of them would train on nonsense, silently.

    Raises:
        InputError: a known loss cannot compare them entry by entry.
    """
    wanted = shape[1:-1] if loss == "sparse_categorical_crossentropy" else shape[1:]
    given = labels[1:]
    possible = (wanted, (*wanted, 1), wanted[:-1] if wanted[-1:] == (1,) else wanted)
    if ".py:" in loss or any(_same(given, each) for each in possible):
        return
    raise InputError(
        f"data: a row of the labels of {output!r} has shape {given}, the model's output {tuple(shape[1:])}; {loss} "
        f"needs labels of shape {tuple(wanted)}. Reshape them, or write a loss of your own, file.py:function."
    )


def _same(given: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    return len(given) == len(wanted) and all(size in (None, have) for have, size in zip(given, wanted, strict=True))
