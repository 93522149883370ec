"""Compress: one technique of a candidate's chain, proved on what it wrote."""

from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.data.dataset import open_dataset
from tasks.execution.steps import Executor, Step
from tasks.foundations.checkout import from_checkout
from tasks.foundations.worker_process import Kind
from tasks.runtimes.environment import cpu_class
from tasks.store.artifact import Artifact
from tasks.store.store import Store
from tasks.techniques.apply import CompressRequest
from tasks.techniques.step import Place
from tasks.techniques.user_code import settled, user_sources
from tasks.training.fit import FitSettings

# place of a technique -> (format of its result, kind of worker, libraries)
_WAYS: dict[Place, tuple[str, Kind, tuple[str, ...]]] = {
    "distillation": ("keras", "keras3", ("tensorflow", "keras")),
    "training": ("tf_keras", "legacy", ("tensorflow", "tf-keras", "tensorflow-model-optimization")),
    "onnx": ("onnx", "keras3", ("onnx", "onnxruntime")),
}


@task(name="compress", task_run_name="compress {candidate}", cache_policy=NO_CACHE, persist_result=False)
def compress(
    executor: Executor,
    candidate: str,
    technique: Any,
    source: Artifact,
    dataset: Artifact,
    fit: FitSettings | None = None,
    teacher: dict[str, Artifact] | None = None,
) -> Artifact:
    """Apply one technique to an artifact of its level.

    Args:
        executor: of the release.
        candidate: whose chain it is.
        technique: a choice of tasks/techniques.
        source: what the technique starts from.
        dataset: the release's data.
        fit: how techniques that train do so where they say nothing else.
        teacher: split -> the reference's outputs, for a distillation.

    Raises:
        NotApplicable: the technique cannot be applied to this model.
        ProofFailed: the result does not show what was asked.
    """
    teacher = teacher or {}
    step = _step(candidate, technique, fit, {"source": source, "data": dataset, **_named(teacher)})
    place = from_checkout(Path(fit.folder)) if fit else ""

    def request(store: Store, out: Path) -> CompressRequest:
        splits = open_dataset(store.path(dataset.digest))
        trains = ("train", "validation") if technique.level == "training" else ()
        return CompressRequest(
            source=str(store.path(source.digest)),
            technique=technique.model_dump(mode="json"),
            calibration=splits["calibration"],
            out=str(out),
            dataset={name: split for name, split in splits.items() if name in trains},
            fit=settled(technique, fit, place, step.user_sources) if fit and trains else None,
            teacher={name: str(store.path(each.digest)) for name, each in teacher.items()},
        )

    return executor.produce(step, request)


def _step(candidate: str, technique: Any, fit: FitSettings | None, inputs: dict[str, Artifact]) -> Step:
    trains = technique.level == "training"
    way, kind, libraries = _WAYS[technique.place]
    return Step(
        name=str(technique.kind),
        job="tasks.techniques.apply:compress",
        format=way,
        inputs=inputs,
        settings={**technique.model_dump(mode="json"), "fit": _training(fit) if trains else None},
        rooms=("techniques", "training", "models", "data") if trains else ("techniques", "models", "data"),
        libraries=(*libraries, "numpy"),
        candidate=candidate,
        user_sources=user_sources(technique, fit) if trains else "",
        cpu=cpu_class(),
        kind=kind,
        travels=True,
        once=trains,  # chains that begin alike share the training
    )


def _named(teacher: dict[str, Artifact]) -> dict[str, Artifact]:
    return {f"teacher {name}": each for name, each in teacher.items()}


def _training(fit: FitSettings | None) -> dict[str, Any] | None:
    return fit.model_dump(mode="json", exclude={"folder"}) if fit else None
