"""MLflow's own files in a bundle, so that plain MLflow loads it, on any machine, with nothing of ours installed.

`mlflow.<flavor>.save_model` would serialize the model anew; here the files that passed the gates stay where they are,
byte for byte, and an `MLmodel` names them. Every target's folder has one too: MLflow reads the flavor beside the file
that it opens, and so any target's winner can be loaded alone. Only built-in loaders are named, none that unpickles.
"""

import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from tasks.bundle.manifest import TARGETS, Form
from tasks.bundle.warmup import SIGNATURE_NAME
from tasks.bundle.write import MODEL_FILE, BundleRequest
from tasks.models.litert_file import MODEL_FILE as LITERT_FILE
from tasks.models.signature import Signature
from tasks.models.signature import TensorSpec as OurTensorSpec
from tasks.registry.connection import prepare

SERVE_TAG = "serve"
LOADED_FIRST: tuple[Form, ...] = ("onnx", "savedmodel", "litert")
CONDA, PYTHON_ENV, REQUIREMENTS = "conda.yaml", "python_env.yaml", "requirements.txt"


def dress(request: BundleRequest) -> None:
    """Write `MLmodel` and the environment files into a bundle that is laid out and not yet sealed.

    The root loads the first ONNX target's winner, else the first SavedModel, else the first winner.
    """
    folder = Path(request.out)
    forms = {name: winner.form for name, winner in request.winners.items()}
    default = min(forms, key=lambda name: LOADED_FIRST.index(forms[name]))
    signature = Signature.read(Path(request.winners[default].folder))
    for name, form in forms.items():
        target = folder / TARGETS / name
        _write_mlmodel(target, form, "", signature, _size(target))
        _write_environment(target, request.requirements)
    _write_mlmodel(folder, forms[default], f"{TARGETS}/{default}/", signature, _size(folder))
    _write_environment(folder, request.requirements)


def mlflow_signature(signature: Signature) -> Any:
    """Our signature as MLflow's: named tensors, -1 where a dimension is free, so that pyfunc checks its input."""
    prepare()
    from mlflow.models import ModelSignature
    from mlflow.types import Schema

    inputs = Schema([_tensor(name, spec) for name, spec in signature.inputs.items()])
    outputs = Schema([_tensor(name, spec) for name, spec in signature.outputs.items()])
    return ModelSignature(inputs=inputs, outputs=outputs)


def _tensor(name: str, spec: OurTensorSpec) -> Any:
    import numpy as np
    from mlflow.types import TensorSpec

    shape = tuple(-1 if size is None else size for size in spec.shape)
    return TensorSpec(np.dtype(spec.dtype), shape, name)


def _write_mlmodel(folder: Path, form: Form, prefix: str, signature: Signature, size: int) -> None:
    prepare()
    from mlflow import pyfunc
    from mlflow.models import Model

    model = Model(signature=mlflow_signature(signature), model_size_bytes=size)
    environment = {"conda_env": CONDA, "python_env": PYTHON_ENV}
    if form == "onnx":
        data = f"{prefix}{MODEL_FILE}"
        pyfunc.add_to_model(model, loader_module="mlflow.onnx", data=data, **environment)
        model.add_flavor("onnx", onnx_version=version("onnx"), data=data, providers=["CPUExecutionProvider"], code=None)
    elif form == "litert":
        # MLflow has no loader for it: the entry says what the file is, and whoever downloads the model finds it.
        model.add_flavor("litert", data=f"{prefix}{LITERT_FILE}", ai_edge_litert=version("ai-edge-litert"))
    else:
        # The flavor that calls a named signature: it takes and gives tensors by name, as every other form does.
        pyfunc.add_to_model(model, loader_module="mlflow.tensorflow", **environment)
        model.add_flavor(
            "tensorflow",
            saved_model_dir=prefix or ".",
            model_type="tf1-estimator",
            meta_graph_tags=[SERVE_TAG],
            signature_def_key=SIGNATURE_NAME,
            code=None,
        )
    model.save(str(folder / "MLmodel"))


def _write_environment(folder: Path, requirements: tuple[str, ...]) -> None:
    python = platform.python_version()
    conda = {
        "name": "mlflow-env",
        "channels": ["conda-forge"],
        "dependencies": [f"python={python}", "pip", {"pip": list(requirements)}],
    }
    virtualenv = {"python": python, "build_dependencies": ["pip"], "dependencies": [f"-r {REQUIREMENTS}"]}
    (folder / CONDA).write_text(yaml.safe_dump(conda, sort_keys=False))
    (folder / PYTHON_ENV).write_text(yaml.safe_dump(virtualenv, sort_keys=False))
    (folder / REQUIREMENTS).write_text("".join(f"{requirement}\n" for requirement in requirements))


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
