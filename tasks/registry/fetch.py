"""The job that brings a registered model's files here, and nothing that would run when they are read.

MLflow keeps a model's own classes as pickles and whole models as pickled Python functions. They are named and left
where they are: only Keras files and SavedModels are taken.
"""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import yaml

from tasks.foundations.errors import InputError, SlipwayError
from tasks.foundations.record import Record
from tasks.foundations.words import suggest
from tasks.registry.connection import without_password
from tasks.registry.mlflow_registry import Registry
from tasks.registry.records import Place

MODEL_FILE = "MLmodel"
DEFAULT_SIGNATURE = "serving_default"
_PICKLES = (".pkl", ".pickle", ".cloudpickle", ".joblib", ".dill")
# All that was registered in the process that logged the model, needed or not; what is needed will be asked for by name.
_REGISTERED_THERE = "global_custom_objects"
_KERAS = (".keras", ".h5", ".hdf5")
_FLAVORS = ("tensorflow", "keras")


class FetchRequest(Record):
    """Which version to fetch.

    Attributes:
        place: where MLflow is.
        name: of the registered model.
        version: its number; or
        alias: an alias that points to it.
        has_code: the config names a Python file with the model's own classes, so that MLflow's pickle is not needed.
        out: absolute path of an empty folder.
    """

    place: Place
    name: str
    version: int | None = None
    alias: str | None = None
    has_code: bool = False
    out: str


class FetchResult(Record):
    """What was fetched.

    Attributes:
        version: its number.
        kind: what it is opened as.
        path: the file or folder, below the fetched folder.
        signature: of a SavedModel, as MLflow names it.
    """

    version: int
    kind: Literal["keras_file", "saved_model"]
    path: str
    signature: str = DEFAULT_SIGNATURE


def fetch(request: FetchRequest) -> FetchResult:
    """Download a version and keep its Keras file or SavedModel.

    Raises:
        InputError: no such model, version or alias, a pickle that it needs, or no Keras file and no SavedModel in it.
        SlipwayError: MLflow cannot be reached.
    """
    registry = Registry(request.place).open()
    version = _resolve(registry, request)
    with tempfile.TemporaryDirectory() as temporary:
        folder = registry.download(request.name, version, Path(temporary))
        called = f"{request.name} version {version}"
        flavors = _flavors(folder, called)
        _refuse_pickles(folder, called, flavors, request.has_code)
        found = _find(folder, called, flavors)
        out = Path(request.out) / found.name
        shutil.copytree(found, out) if found.is_dir() else shutil.copyfile(found, out)
        return FetchResult(
            version=version,
            kind="saved_model" if found.is_dir() else "keras_file",
            path=found.name,
            signature=str(flavors.get("tensorflow", {}).get("signature_def_key") or DEFAULT_SIGNATURE),
        )


def _resolve(registry: Registry, request: FetchRequest) -> int:
    versions = sorted(info.version for info in registry.versions(request.name))
    if not versions:
        names = registry.names()
        there = f" It has: {', '.join(names[:20])}." if names else " It has none yet."
        raise InputError(
            f"model: MLflow at {without_password(request.place.tracking_uri)} has no registered model "
            f"{request.name!r} with a version.{suggest(request.name, names)}{there} Set MLFLOW_TRACKING_URI if another "
            "MLflow was meant."
        )
    if request.alias is not None:
        aliases = registry.aliases(request.name)
        if request.alias not in aliases:
            known = ", ".join(sorted(aliases)) or "none"
            raise InputError(
                f"model: {request.name} has no alias {request.alias!r}.{suggest(request.alias, aliases)} Its aliases: "
                f"{known}; its versions: {_listed(versions)}."
            )
        return aliases[request.alias]
    if request.version not in versions:
        raise InputError(f"model: {request.name} has no version {request.version}. It has: {_listed(versions)}.")
    return int(request.version or 0)


def _listed(versions: list[int]) -> str:
    return ", ".join(str(version) for version in versions[-20:])


def _flavors(folder: Path, called: str) -> dict[str, Any]:
    try:
        content = yaml.safe_load((folder / MODEL_FILE).read_text())
        flavors = content["flavors"]
    except (OSError, KeyError, TypeError, ValueError, yaml.YAMLError) as error:
        raise InputError(
            f"model: {called} in MLflow has no readable {MODEL_FILE} ({type(error).__name__}), so it is no MLflow "
            "model. Log it by mlflow.tensorflow.log_model."
        ) from error
    return flavors if isinstance(flavors, dict) else {}


def _refuse_pickles(folder: Path, called: str, flavors: dict[str, Any], has_code: bool) -> None:
    pickles = [path for path in _files(folder) if path.suffix in _PICKLES and path.stem != _REGISTERED_THERE]
    needed = [path for path in pickles if not (has_code and path.stem == "custom_objects")]
    if needed:
        names = ", ".join(str(path.relative_to(folder)) for path in needed)
        own = any(path.stem == "custom_objects" for path in needed)
        hint = (
            "Define the model's own layers in a Python file beside the config and write custom_objects: layers.py; the "
            "pickle is then left out."
            if own
            else "Log the Keras model itself by mlflow.tensorflow.log_model(model, ...)."
        )
        raise InputError(f"model: {called} holds pickles, which run code when they are read: {names}. {hint}")
    code = flavors.get("python_function", {}).get("code") or flavors.get("tensorflow", {}).get("code")
    if code and not has_code:
        raise InputError(
            f"model: {called} brings Python code of its own ({code}), which is not run. Put what the model needs into "
            "a Python file beside the config and write custom_objects: layers.py."
        )


def _find(folder: Path, called: str, flavors: dict[str, Any]) -> Path:
    """The Keras file, else the SavedModel, of a version; of a version that Slipway made, a target's SavedModel."""
    files = list(_files(folder))
    keras = [path for path in files if path.suffix in _KERAS and not path.name.endswith(".weights.h5")]
    saved = [path.parent for path in files if path.name == "saved_model.pb"]
    found = sorted(keras) or sorted(saved, key=lambda path: (len(path.parts), path))
    if found:
        return found[0]
    words = ", ".join(sorted(set(flavors) - {"python_function"})) or "python_function"
    if (folder / "targets").is_dir():
        raise InputError(
            f"model: {called} was made by Slipway and holds ONNX files only ({words}). Name its Keras file, or release "
            "it with a target of `runtime: tensorflow`, whose SavedModel can be taken."
        )
    raise InputError(
        f"model: {called} holds no Keras file and no SavedModel (its flavors: {words}). Log the model by "
        "mlflow.tensorflow.log_model or mlflow.keras.log_model."
    )


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            raise SlipwayError(f"{path.relative_to(folder)} in MLflow's files is a link. Copy the file there instead.")
        if path.is_file():
            yield path
