"""Candidates in the forms that targets open: what came of every chain, or why nothing did."""

from dataclasses import dataclass
from typing import Any

from prefect.exceptions import UnfinishedRun

from flows.desk import Desk
from tasks.compress import compress
from tasks.convert import convert
from tasks.evaluation.task import Classification
from tasks.foundations.errors import InputError, StepFailed
from tasks.models import sizes
from tasks.predict import predict
from tasks.rehearse import rehearse
from tasks.store.artifact import Artifact

Future = Any  # a PrefectFuture[Artifact]; tasks take futures where they name their results
FORM_FOLDER = {"onnx": "model.onnx", "savedmodel": "saved_model"}


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
        applies: False where the candidate has no such form.
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
    predictions: Future
    golden: Future


def prepare(desk: Desk, reference: Artifact, dataset: Artifact) -> list[Contestant]:
    """Run every chain, and predictions and golden requests of every target, side by side; wait for all.

    A step that fails costs its own candidate only.

    Raises:
        SlipwayError: what no other candidate can escape either (a full disk, a damaged store).
    """
    converted = convert.submit(desk.executor, reference, dataset)
    chains = desk.config.chains()
    onnx = {name: _chain(desk, name, chain, converted, dataset) for name, chain in chains.items()}
    pending: list[_Pending | Contestant] = []
    for name, chain in chains.items():
        for place, target in desk.config.targets.items():
            if target.form == "onnx":
                pending.append(_ask(desk, name, place, onnx[name], onnx[name][-1], dataset))
            elif any(technique.level == "onnx" for technique in chain):
                reason = f"{chain[-1].kind} exists in ONNX only; {target.runtime} opens a SavedModel"
                pending.append(Contestant(name, place, failure=reason, applies=False))
            else:
                pending.append(_ask(desk, name, place, [], reference, dataset))
    return [each if isinstance(each, Contestant) else _settle(desk, each) for each in pending]


def _chain(desk: Desk, name: str, chain: list[Any], converted: Future, dataset: Artifact) -> list[Future]:
    futures = [converted]
    for technique in chain:
        futures.append(compress.submit(desk.executor, name, technique, futures[-1], dataset))
    return futures


def _ask(
    desk: Desk, name: str, place: str, steps: list[Future], model: Artifact | Future, dataset: Artifact
) -> _Pending:
    target = desk.config.targets[place]
    classifies = isinstance(desk.config.task, Classification)
    return _Pending(
        name=name,
        target=place,
        steps=steps,
        model=model,
        predictions=predict.submit(desk.executor, name, place, target, model, dataset),
        golden=rehearse.submit(desk.executor, name, place, target, model, dataset, desk.config.name, classifies),
    )


def _settle(desk: Desk, pending: _Pending) -> Contestant:
    results: list[Artifact] = []
    for future in (*pending.steps, pending.predictions, pending.golden):
        try:
            results.append(future.result())
        except (StepFailed, InputError) as error:
            return Contestant(pending.name, pending.target, failure=str(error))
        except UnfinishedRun:  # a step before it failed, and is asked first
            continue
    model = pending.model if isinstance(pending.model, Artifact) else results[-3]
    form = FORM_FOLDER[desk.config.targets[pending.target].form]
    return Contestant(
        name=pending.name,
        target=pending.target,
        model=model,
        predictions=results[-2],
        golden=results[-1],
        size=sizes.measure(desk.store.path(model.digest) / form),
    )
