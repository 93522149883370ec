"""Convert: from a SavedModel to float32 ONNX, proved on real rows. The trained model's is the candidate `float32`."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.data.dataset import open_dataset
from tasks.execution.steps import Executor, Step
from tasks.models.onnx_export import ExportRequest
from tasks.store.artifact import Artifact


@task(name="convert", task_run_name="convert {candidate}", cache_policy=NO_CACHE, persist_result=False)
def convert(executor: Executor, candidate: str, model: Artifact, dataset: Artifact) -> Artifact:
    """Convert a model folder to ONNX.

    Raises:
        StepFailed: an operator has no ONNX form, or the numbers differ from the SavedModel's.
        ProofFailed: the file does not show what a technique of the chain has promised.
    """
    promising = model.format == "tf_keras"  # techniques leave promises beside such a model
    step = Step(
        name="convert",
        job="tasks.techniques.apply:export" if promising else "tasks.models.onnx_export:export",
        format="onnx",
        inputs={"model": model, "data": dataset},
        settings={},
        rooms=("techniques", "models", "data") if promising else ("models", "data"),
        libraries=("tensorflow", "keras", "tf-keras", "tf2onnx", "onnx", "onnxruntime", "numpy"),
        candidate=candidate,
    )
    split = open_dataset(executor.store.path(dataset.digest))["test"]
    return executor.produce(
        step,
        lambda out: ExportRequest(
            source=str(executor.store.path(model.digest)), inputs=split.input_files(), out=str(out)
        ),
    )
