"""Convert: from a SavedModel to float32 ONNX or LiteRT, proved on real rows. The trained model's is `float32`."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.data.dataset import open_dataset
from tasks.execution.steps import Executor, Step
from tasks.models.onnx_export import ExportRequest
from tasks.store.artifact import Artifact

LIBRARIES = {
    "onnx": ("tensorflow", "keras", "tf-keras", "tf2onnx", "onnx", "onnxruntime", "numpy"),
    "litert": ("tensorflow", "keras", "tf-keras", "litert", "numpy"),
}


@task(name="convert", task_run_name="convert {candidate}", cache_policy=NO_CACHE, persist_result=False)
def convert(executor: Executor, candidate: str, model: Artifact, dataset: Artifact, form: str = "onnx") -> Artifact:
    """Convert a model folder to another form, `onnx` or `litert`.

    Raises:
        StepFailed: an operator has no such form, or the numbers differ from the SavedModel's.
        ProofFailed: the file does not show what a technique of the chain has promised.
    """
    # Techniques leave promises beside such a model, and prove them on the ONNX file.
    promising = model.format == "tf_keras" and form == "onnx"
    step = Step(
        name="convert" if form == "onnx" else f"convert {form}",
        job="tasks.techniques.apply:export" if promising else f"tasks.models.{form}_export:export",
        format=form,
        inputs={"model": model, "data": dataset},
        settings={},
        rooms=("techniques", "models", "data") if promising else ("models", "data"),
        libraries=LIBRARIES[form],
        candidate=candidate,
        once=True,  # of chains that share their training
        travels=True,
    )
    return executor.produce(
        step,
        lambda store, out: ExportRequest(
            source=str(store.path(model.digest)),
            inputs=open_dataset(store.path(dataset.digest))["test"].input_files(),
            out=str(out),
        ),
    )
