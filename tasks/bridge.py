"""Bridge: from a Keras 3 model to its tf_keras twin, on which training techniques work; proved on real rows."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.data.dataset import open_dataset
from tasks.execution.steps import Executor, Step
from tasks.models.bridge.job import BridgeRequest
from tasks.store.artifact import Artifact

# A graph that tf_keras cannot walk has ended in an endless loop before.
LIMIT_S = 600.0


@task(name="bridge", task_run_name="bridge {candidate}", cache_policy=NO_CACHE, persist_result=False)
def bridge(executor: Executor, candidate: str, model: Artifact, dataset: Artifact) -> Artifact:
    """Publish the twin of a Keras 3 model folder.

    Args:
        executor: of the release.
        candidate: whose step it is; the twin of the reference is shared by all.
        model: of format `keras`.
        dataset: the release's data; the calibration rows prove the twin.

    Raises:
        NotApplicable: layers that have no twin; all are named.
        ProofFailed: the twin computes something else.
        TimedOut: crossing took longer than ten minutes.
    """
    step = Step(
        name="bridge",
        job="tasks.models.bridge.job:bridge",
        format="tf_keras",
        inputs={"model": model, "data": dataset},
        settings={},
        rooms=("models", "data"),
        libraries=("tensorflow", "keras", "tf-keras", "numpy"),
        candidate=candidate,
        kind="legacy",
        once=True,
        travels=True,
        timeout_s=LIMIT_S,
    )
    return executor.produce(
        step,
        lambda store, out: BridgeRequest(
            source=str(store.path(model.digest)),
            inputs=open_dataset(store.path(dataset.digest))["calibration"].input_files(),
            out=str(out),
        ),
    )
