"""Gating: every candidate on every target against the champion of this moment. Run again if the champion changes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from flows.candidates import FORM_FOLDER, Contestant
from flows.champion import Champion, is_named
from flows.config import Config
from flows.desk import Desk
from flows.yardsticks import yardstick
from tasks.data.dataset import Split, open_dataset
from tasks.evaluation.assess import CHAMPION
from tasks.evaluation.assessment import Assessment, AssessRequest, Entry
from tasks.evaluation.gates import is_function, metric_functions
from tasks.evaluation.meaning import meaning_of
from tasks.foundations.errors import InputError, StepFailed
from tasks.hardware.order import Answer
from tasks.judge import judge
from tasks.measure import measure
from tasks.models import sizes
from tasks.models.output import judged_output
from tasks.models.signature import Signature
from tasks.predict import predict
from tasks.score import score
from tasks.store.artifact import Artifact


@dataclass(frozen=True)
class Rival:
    """The champion on one target, as candidates meet it: what it is judged by, and the folder that is measured."""

    entry: Entry
    folder: Path | None = None


@dataclass(frozen=True)
class Material:
    """What all candidates are judged by: the trained model, its outputs, and the data."""

    reference: Artifact
    predictions: Artifact
    dataset: Artifact


@dataclass(frozen=True)
class Gated:
    """One target judged: what was measured and what came of it."""

    measurement: Artifact | None
    assessment: Assessment


def has_own_metrics(config: Config) -> bool:
    """Whether a gate or the objective calls code of the user's."""
    return bool(metric_functions(config.gates)) or is_function(config.choose.metric)


def prepare_judging(desk: Desk) -> None:
    """Let the process that will judge and register import what it needs while models still train."""
    desk.workers.warm("plain", "tasks.evaluation.assess", "scipy.special", "scipy.sparse")


def gate(
    desk: Desk,
    contestants: Sequence[Contestant],
    material: Material,
    champion: Champion,
    answers: Mapping[str, Answer],
) -> dict[str, Gated]:
    """Measure and judge every target.

    Args:
        desk: of the release.
        contestants: every candidate on every target.
        material: of the release.
        champion: as found just before.
        answers: of the targets that have a machine of their own.

    Returns:
        Target -> what came of it.
    """
    signature = Signature.read(desk.store.path(material.reference.digest))
    rivals = {
        place: _rival(desk, place, champion, material.dataset, answers.get(place)) for place in desk.config.targets
    }
    # The barrier: nothing of this release runs beside a measurement. The plain worker sleeps, its imports done.
    desk.executor.rest("keras3", "legacy")
    requests = {place: _request(desk, place, material) for place in desk.config.targets}
    measured = {
        place: answers[place].measurement
        if place in answers
        else _measure(desk, place, contestants, rivals[place], requests[place].split)
        for place in requests
    }
    gated = {}
    for place, request in requests.items():
        rival = rivals[place]
        found = {
            "candidates": tuple(
                _entry(desk, each, yardstick(desk.config.chains(), each.name))
                for each in contestants
                if each.target == place and each.applies
            ),
            "champion": rival.entry if rival else None,
            "foreign_signature": _foreign(desk, champion, signature),
            "measurement": _path(desk, measured[place]),
        }
        gated[place] = Gated(measured[place], judge(desk.executor, request.model_copy(update=found)))
    return gated


def try_metrics(desk: Desk, material: Material) -> None:
    """Call every metric, the user's own among them, before candidates are made.

    Raises:
        InputError: one raised, or gave no finite number.
    """
    place = next(iter(desk.config.targets))
    score(desk.executor, _request(desk, place, material))


def _request(desk: Desk, place: str, material: Material) -> AssessRequest:
    """What a target is judged by, without the candidates."""
    signature = Signature.read(desk.store.path(material.reference.digest))
    return AssessRequest(
        task=desk.config.task,
        target=place,
        gates=tuple(desk.config.gates),
        objective=desk.config.choose,
        folder=str(desk.plan.folder),
        split=open_dataset(desk.store.path(material.dataset.digest))["test"],
        output=judged_output(signature, meaning_of(desk.config.task)),
        reference=str(desk.store.path(material.predictions.digest)),
        candidates=(),
        cost_per_hour=desk.config.targets[place].cost_per_hour,
        seed=desk.config.seed,
    )


def _path(desk: Desk, artifact: Artifact | None) -> str | None:
    return str(desk.store.path(artifact.digest)) if artifact else None


def _entry(desk: Desk, each: Contestant, yardstick: str | None) -> Entry:
    return Entry(
        name=each.name,
        digest=each.model.digest if each.model else "",
        predictions=_path(desk, each.predictions),
        size_bytes=each.size.raw_bytes if each.size else None,
        gzip_bytes=each.size.gzip_bytes if each.size else None,
        failure=each.failure,
        yardstick=yardstick,
    )


def _saved_model_size(folder: Path) -> sizes.Sizes:
    """Of the SavedModel alone, without what the bundle has laid beside it, as candidates are weighed."""
    parts = [sizes.measure(folder / name) for name in ("saved_model.pb", "variables", "assets", "fingerprint.pb")]
    return sizes.Sizes(
        raw_bytes=sum(part.raw_bytes for part in parts), gzip_bytes=sum(part.gzip_bytes for part in parts)
    )


def _rival(desk: Desk, place: str, champion: Champion, dataset: Artifact, answer: Answer | None) -> Rival | None:
    """The champion on one target: its predictions on this release's test rows, and its sizes."""
    if champion.version is None or not is_named(desk.config, place):
        return None
    if champion.manifest is None or champion.folder is None:
        return Rival(Entry(name=CHAMPION, failure=champion.failure))
    target = champion.manifest.targets.get(place)
    if target is None:
        return Rival(Entry(name=CHAMPION, failure=f"version {champion.version} has no target {place}"))
    folder = champion.folder / target.path
    model = Artifact(uri=str(folder), format=target.form, digest=target.winner, size_bytes=0)
    try:
        outputs = _outputs(desk, place, model, dataset, folder) if answer is None else _told(answer)
    except (StepFailed, InputError) as error:
        return Rival(Entry(name=CHAMPION, digest=target.winner, failure=str(error)))
    size = (
        _saved_model_size(folder) if target.form == "savedmodel" else sizes.measure(folder / FORM_FOLDER[target.form])
    )
    entry = Entry(
        name=CHAMPION,
        digest=target.winner,
        predictions=_path(desk, outputs),
        size_bytes=size.raw_bytes,
        gzip_bytes=size.gzip_bytes,
    )
    return Rival(entry, folder)


def _outputs(desk: Desk, place: str, model: Artifact, dataset: Artifact, folder: Path) -> Artifact:
    """The champion's predictions on this machine."""
    return predict(desk.executor, CHAMPION, place, desk.config.targets[place], model, dataset, folder=folder)


def _told(answer: Answer) -> Artifact:
    """The champion's predictions on the target's own machine."""
    if CHAMPION not in answer.predictions:
        raise StepFailed(answer.failure or answer.failures.get(CHAMPION, "its machine was not asked for it"))
    return answer.predictions[CHAMPION]


def _measure(
    desk: Desk, place: str, contestants: Sequence[Contestant], rival: Rival | None, split: Split
) -> Artifact | None:
    models = {each.name: each.model for each in contestants if each.target == place and each.model}
    if not models:
        return None
    contenders = {name: (model.digest, desk.store.path(model.digest)) for name, model in models.items()}
    known = {digest for digest, _ in contenders.values()}
    if rival and rival.folder and rival.entry.digest not in known:
        contenders[CHAMPION] = (rival.entry.digest, rival.folder)
    return measure(
        desk.executor,
        place,
        desk.config.targets[place],
        contenders,
        split,
        desk.config.gates,
        f"release {desk.release} of {desk.config.name}",
    )


def _foreign(desk: Desk, champion: Champion, signature: Signature) -> str:
    if champion.manifest is None or desk.config.allow_signature_change or champion.manifest.signature == signature:
        return ""
    return (
        f"Version {champion.version} in production takes and gives {_words(champion.manifest.signature)}; "
        f"this model {_words(signature)}."
    )


def _words(signature: Signature) -> str:
    def tensors(side: dict[str, object]) -> str:
        return ", ".join(f"{name} {spec}" for name, spec in side.items())

    return f"({tensors(dict(signature.inputs))}) -> ({tensors(dict(signature.outputs))})"
