"""Candidates in the forms that targets open: what came of every chain, or why nothing did."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from prefect.exceptions import UnfinishedRun

from flows.desk import Desk
from tasks.bridge import bridge
from tasks.compress import compress
from tasks.convert import convert
from tasks.foundations.errors import InputError, NotApplicable, StepFailed
from tasks.models import sizes
from tasks.predict import REFERENCE_BATCH, predict
from tasks.rehearse import rehearse
from tasks.runtimes.tensorflow import TensorFlow
from tasks.store.artifact import Artifact

Future = Any  # a PrefectFuture[Artifact]; tasks take futures where they name their results
FORM_FOLDER = {"onnx": "model.onnx", "savedmodel": "saved_model", "litert": "model.tflite"}

OPENED = {"savedmodel": "a SavedModel", "litert": "LiteRT files"}


@dataclass(frozen=True)
class Contestant:
    """One candidate on one target, ready to be measured and judged, or the reason why it is not.

    Attributes:
        name: the candidate.
        target: name of the target.
        model: its artifact in the target's form.
        predictions: its outputs on the test rows.
        golden: its golden requests.
        size: raw and gzip bytes of the form.
        failure: why it dropped out, None if it did not.
        applies: False where the candidate has no such form, or a technique has nothing to change in this model.
    """

    name: str
    target: str
    model: Artifact | None = None
    predictions: Artifact | None = None
    golden: Artifact | None = None
    size: sizes.Sizes | None = None
    failure: str | None = None
    applies: bool = True


@dataclass(frozen=True)
class _Pending:
    name: str
    target: str
    steps: list[Future]
    model: Artifact | Future
    here: list[Future]  # predictions and golden requests; of a target with a machine of its own that makes them


def prepare(desk: Desk, reference: Artifact, dataset: Artifact) -> list[Contestant]:
    """Run every chain, and predictions and golden requests of every target, side by side; wait for all.

    A step that fails costs its own candidate only.

    Raises:
        SlipwayError: what no other candidate can escape either (a full disk, a damaged store).
    """
    making = _Making(desk, reference, dataset)
    pending: list[_Pending | Contestant] = []
    for name, chain in desk.config.chains().items():
        reason = impossible(chain, reference.format)
        made = None if reason else making.make(name, chain)
        for place, target in desk.config.targets.items():
            unfit = reason or unfit_form(chain, target)
            if made is None or unfit:
                pending.append(Contestant(name, place, failure=unfit, applies=False))
            else:
                pending.append(_ask(desk, name, place, made, dataset))
    return [each if isinstance(each, Contestant) else _settle(desk, each) for each in pending]


def impossible(chain: list[Any], form: str) -> str | None:
    """Why a chain cannot be applied to a reference of this form, None if it can."""
    first = next((technique for technique in chain if technique.level == "training"), None)
    if form != "saved_model" or first is None or first.place == "distillation":
        return None
    return (
        f"{first.kind} trains the model further, and this one came as a SavedModel, which is for inference only. Give "
        "its Keras file, or begin the chain with distillation"
    )


def unfit_form(chain: list[Any], target: Any) -> str | None:
    """Why a chain has nothing for a target, None if it has."""
    if target.form == "onnx" or all(technique.level != "onnx" for technique in chain):
        return None
    return f"{chain[-1].kind} exists in ONNX only; {target.runtime} opens {OPENED[target.form]}"


@dataclass(frozen=True)
class _Made:
    """What a chain comes to: its steps up to the SavedModel, that form, and the steps from there to each other form.

    `before` is what the first of them needs beside a model: where that fails, the reason stands there.
    """

    before: list[Future]
    training: list[Future]
    saved_model: Artifact | Future
    onward: dict[str, list[Future]]


class _Making:
    """The steps of all chains; what several chains begin with is made once."""

    def __init__(self, desk: Desk, reference: Artifact, dataset: Artifact) -> None:
        self._desk, self._reference, self._dataset = desk, reference, dataset
        self._converted: dict[str, Future] = {}
        self._wanted = {target.form for target in desk.config.targets.values()}

    def make(self, name: str, chain: list[Any]) -> _Made:
        """Submit the steps of a chain, with a bridge before and a conversion after the training techniques."""
        model: Artifact | Future = self._reference
        form = self._reference.format
        before: list[Future] = []
        steps: list[Future] = []
        for technique in (each for each in chain if each.level == "training"):
            if technique.place == "distillation":
                before += self._teacher.values()
                steps.append(self._compress(name, technique, model, teacher=self._teacher))
                form = "keras"
            else:
                if form == "keras":
                    steps.append(self._bridge(name, model))
                steps.append(self._compress(name, technique, steps[-1] if steps else model))
                form = "tf_keras"
            model = steps[-1]
        last = [technique for technique in chain if technique.level == "onnx"]
        onward = {"onnx": self._in_onnx(name, last, model)} if "onnx" in self._wanted else {}
        if "litert" in self._wanted and not last:
            onward["litert"] = [self._convert(name, model, "litert")]
        return _Made(before, steps, model, onward)

    def _in_onnx(self, name: str, techniques: list[Any], model: Artifact | Future) -> list[Future]:
        steps = [self._convert(name, model, "onnx")]
        for technique in techniques:
            steps.append(self._compress(name, technique, steps[-1]))
        return steps

    def _compress(self, name: str, technique: Any, source: Any, teacher: dict[str, Future] | None = None) -> Future:
        desk = self._desk
        return compress.submit(desk.executor, name, technique, source, self._dataset, desk.fit, teacher)

    def _bridge(self, name: str, model: Artifact | Future) -> Future:
        if model is self._reference:
            return self._crossed
        return bridge.submit(self._desk.executor, name, model, self._dataset)

    def _convert(self, name: str, model: Artifact | Future, form: str) -> Future:
        if model is not self._reference:
            return convert.submit(self._desk.executor, name, model, self._dataset, form)
        if form not in self._converted:
            self._converted[form] = convert.submit(self._desk.executor, "float32", model, self._dataset, form)
        return self._converted[form]

    @cached_property
    def _crossed(self) -> Future:
        return bridge.submit(self._desk.executor, "reference", self._reference, self._dataset)

    @cached_property
    def _teacher(self) -> dict[str, Future]:
        whole = TensorFlow(runtime="tensorflow", threads=1, batch_size=1)
        return {
            split: predict.submit(
                self._desk.executor,
                "reference",
                "tensorflow",
                whole,
                self._reference,
                self._dataset,
                REFERENCE_BATCH,
                split=split,
            )
            for split in ("train", "validation")
        }


def _ask(desk: Desk, name: str, place: str, made: _Made, dataset: Artifact) -> _Pending:
    target = desk.config.targets[place]
    onward = made.onward.get(target.form, [])
    model = onward[-1] if onward else made.saved_model
    here = (
        []
        if target.work_pool
        else [
            predict.submit(desk.executor, name, place, target, model, dataset),
            rehearse.submit(desk.executor, name, place, target, model, dataset, desk.config.name, desk.config.task),
        ]
    )
    return _Pending(name, place, [*made.before, *made.training, *onward], model, here)


def _settle(desk: Desk, pending: _Pending) -> Contestant:
    results: list[Artifact] = []
    for future in (*pending.steps, pending.model, *pending.here):
        try:
            results.append(future if isinstance(future, Artifact) else future.result())
        except (StepFailed, InputError) as error:
            applies = not isinstance(error, NotApplicable)
            return Contestant(pending.name, pending.target, failure=str(error), applies=applies)
        except UnfinishedRun:  # a step before it failed, and is asked first
            continue
    predictions, golden = results[-2:] if pending.here else (None, None)
    model = results[-3] if pending.here else results[-1]
    form = FORM_FOLDER[desk.config.targets[pending.target].form]
    return Contestant(
        name=pending.name,
        target=pending.target,
        model=model,
        predictions=predictions,
        golden=golden,
        size=sizes.measure(desk.store.path(model.digest) / form),
    )
