"""Convert: from the trained SavedModel to float32 ONNX, proved on real rows. It is also the candidate `float32`."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.data.dataset import open_dataset
from tasks.execution.steps import Executor, Step
from tasks.models.onnx_export import ExportRequest
from tasks.store.artifact import Artifact


@task(name="convert", cache_policy=NO_CACHE, persist_result=False)
def convert(executor: Executor, model: Artifact, dataset: Artifact) -> Artifact:
    """Convert a model folder to ONNX.

    Raises:
        StepFailed: an operator has no ONNX form, or the numbers differ from the reference's.
    """
    step = Step(
        name="convert",
        job="tasks.models.onnx_export:export",
        format="onnx",
        inputs={"model": model, "data": dataset},
        settings={},
        rooms=("models", "data"),
        libraries=("tensorflow", "tf2onnx", "onnx", "onnxruntime", "numpy"),
        candidate="float32",
    )
    split = open_dataset(executor.store.path(dataset.digest))["test"]
    return executor.produce(
        step,
        lambda out: ExportRequest(
            source=str(executor.store.path(model.digest)), inputs=split.input_files(), out=str(out)
        ),
    )
