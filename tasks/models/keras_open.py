"""Opening a Keras file of the user's by the library that wrote it, and writing it as a model folder.

Which library that is, and that nothing unsafe lies in the file, is known before (`tasks.models.keras_content`): here
Keras runs. A file of Keras 2 is opened by tf_keras, in a `legacy` worker.
"""

import inspect
from pathlib import Path
from typing import Any

from tasks.foundations.errors import InputError
from tasks.models import saved_model, twin
from tasks.models.interface import describe
from tasks.models.keras_content import OPERATION_LAYERS, KerasContent, Library, classes
from tasks.models.output import Meaning, check_output, check_ranks
from tasks.models.signature import Signature

# Where a Keras looks for its own classes where the configuration names no module, as files of HDF5 do.
_HOMES = ("layers", "models", "initializers", "regularizers", "constraints", "activations", "optimizers", "losses")
# The parts of a Keras that models are made of: others download, write files or import modules by name.
_PARTS = {*_HOMES, "dtype_policies", "engine", "metrics", "mixed_precision", "ops", "quantizers", "random"}
_MODELS = ("Functional", "Model", "Sequential", "KerasTensor", "InputSpec", "DTypePolicy", "Policy")
_NO_CODE = "Write custom_objects: layers.py, a Python file beside the config that defines them, in the model section."


def open_file(path: Path, content: KerasContent, code: Any, safe_mode: bool) -> Any:
    """The model of a file, not compiled.

    Args:
        path: the file, checked.
        content: what it says about itself.
        code: the user's module, whose classes and functions the file may use; None if there is none.
        safe_mode: False lets Keras run code that lies in the file.

    Returns:
        A built keras.Model, or tf_keras.Model.

    Raises:
        InputError: it needs classes that are not known, its weights do not fit, or it is not built.
    """
    import importlib

    library = importlib.import_module(content.library)
    custom = _custom_objects(content, library, code)
    _require_known(path, content, library, custom)
    # An HDF5 file has no safe mode in tf_keras; the check of its content before is what keeps it safe.
    safety = {} if content.library == "tf_keras" and path.suffix != ".keras" else {"safe_mode": safe_mode}
    try:
        model = library.models.load_model(path, custom_objects=custom, compile=False, **safety)
    except (AttributeError, KeyError, OSError, TypeError, ValueError) as error:
        raise InputError(_unopened(path, content, error)) from error
    _require_model(path, model, library)
    return model


def write(model: Any, library: Library, out: Path, meaning: Meaning) -> Signature:
    """Check a model and write its folder: `model.keras` (of tf_keras `twin.keras`), `saved_model/`, `signature.json`.

    Raises:
        InputError: its outputs do not fit the task.
        StepFailed: Keras cannot write it.
    """
    signature = describe(model).signature
    check_ranks(signature, meaning)
    check_output(model, meaning, signature)
    if library == "tf_keras":
        twin.save_twin(model, signature, out)
    else:
        saved_model.save(model, out)
    return signature


def _custom_objects(content: KerasContent, library: Any, code: Any) -> dict[str, Any]:
    """The user's classes and functions by every name that the file may call them: `Net`, `package>Net`."""
    if code is None:
        return {}
    own = {
        name: member
        for name, member in inspect.getmembers(
            code, lambda member: inspect.isclass(member) or inspect.isfunction(member)
        )
        if member.__module__ == code.__name__
    }
    named = {name for each in classes(content.config) for name in (each[0], each[2]) if name}
    registered = {name: own[tail] for name in named if (tail := name.rpartition(">")[2]) in own}
    known = {name: found for name in named if (found := library.saving.get_registered_object(name)) is not None}
    return {**own, **registered, **known}


def _require_known(path: Path, content: KerasContent, library: Any, custom: dict[str, Any]) -> None:
    unknown = sorted(
        {
            registered or name
            for name, module, registered in classes(content.config)
            if not _is_known(name, module, registered, library, custom)
        }
    )
    if unknown:
        hint = (
            _NO_CODE if not custom else "Define them, or register them by keras.saving.register_keras_serializable()."
        )
        raise InputError(
            f"{path.name} needs {len(unknown)} class(es) or function(s) that are not known here: {', '.join(unknown)}. "
            f"{hint}"
        )


def _is_known(name: str, module: str | None, registered: str | None, library: Any, custom: dict[str, Any]) -> bool:
    if name.startswith("__") or name in ("function", "Lambda"):
        return True
    called = {name, registered} - {None}
    if called & set(custom) or any(library.saving.get_registered_object(each) is not None for each in called):
        return True
    if module in (None, "builtins", "keras", "tf_keras"):
        return name in (*_MODELS, *OPERATION_LAYERS) or any(hasattr(getattr(library, home), name) for home in _HOMES)
    return _is_model_part(module) and registered in (None, name)


def _is_model_part(module: str) -> bool:
    parts = [part for part in module.split(".") if part != "src"]
    return parts[0] in ("keras", "tf_keras") and len(parts) > 1 and parts[1] in _PARTS


def _require_model(path: Path, model: Any, library: Any) -> None:
    if not isinstance(model, library.Model):
        raise InputError(f"{path} holds a {type(model).__name__}. Expected a Keras model: model.save('model.keras').")
    if library.__name__ == "tf_keras" and not getattr(model, "_is_graph_network", False) and not _is_sequential(model):
        raise InputError(
            f"{path} holds {type(model).__name__}, a tf_keras model of your own class, whose inputs are not known. "
            "Export it (model.export('export')) and write kind: saved_model."
        )
    if not model.built or (isinstance(model, library.Sequential) and not model.inputs):
        raise InputError(
            f"{path} holds a model that is not built, so its inputs are not known. Call it once on an example batch, "
            "or begin the Sequential with Input(shape=...), and save it again."
        )
    if not model.weights:
        raise InputError(f"{path} holds a model without weights: there is nothing to make smaller or to serve.")


def _is_sequential(model: Any) -> bool:
    return type(model).__name__ == "Sequential"


def _unopened(path: Path, content: KerasContent, error: Exception) -> str:
    said = " ".join(str(error).split())[:400]
    called = "Keras 3" if content.library == "keras" else "tf_keras (Keras 2)"
    return (
        f"{path} (written by {called}, {content.version}) cannot be opened: {type(error).__name__}: {said}. Check that "
        "model.keras opens where it was made, with the same custom layers, and save it again."
    )
