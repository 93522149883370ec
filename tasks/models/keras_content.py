"""What a Keras file says about itself, read without Keras: opening a file by Keras can run code that lies in it.

A `.keras` file is a zip archive with `metadata.json`, `config.json` and weights; a `.h5` file has the same in HDF5
attributes. Keras 2 (tf_keras) and Keras 3 write both, and neither opens the other's: the version in the metadata
decides. Python code, and references to further files, stand in the configuration and are found by walking it.
"""

import json
import re
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from tasks.foundations.errors import InputError
from tasks.foundations.record import Record

Library = Literal["keras", "tf_keras"]
ARCHIVE, HDF5 = (".keras",), (".h5", ".hdf5")
SUFFIXES = (*ARCHIVE, *HDF5)
_MAGIC = {b"PK\x03\x04": "archive", b"\x89HDF": "hdf5"}
_WEIGHTS = ("model.weights.h5", "model.weights.json", "model.weights.npz")
_CONFIG_LIMIT = 256 << 20  # bytes of a configuration; a larger one is no model but an attack on memory

# Layer classes whose loading runs code, unpickles, or opens a file that the configuration names.
_DANGEROUS = {
    "Lambda": "Python code",
    "TFSMLayer": "the path of another SavedModel, which would be loaded",
    "TorchModuleWrapper": "a pickle",
    "JaxLayer": "a pickle",
    "FlaxLayer": "a pickle",
}
# tf_keras' layer of one TensorFlow function, called by its name: those that touch files or run Python.
OPERATION_LAYERS = ("TFOpLambda", "ClassMethod", "InstanceMethod", "InstanceProperty", "SlicingOpLambda")
_DANGEROUS_FUNCTIONS = re.compile(
    r"(io|raw_ops|data|saved_model|train|debugging|summary|keras)\.|.*py_func|.*numpy_function|print|load_"
)
_VOCABULARY = ("StringLookup", "IntegerLookup", "TextVectorization", "IndexLookup")
_NAMED = {*_DANGEROUS, *OPERATION_LAYERS, *_VOCABULARY}


class Unsafe(Record):
    """Something in a file that opening it would run or read.

    Attributes:
        kind: the word that `allow` takes.
        layer: name of the layer that holds it.
        holds: what it is, in words.
    """

    kind: str
    layer: str
    holds: str


class KerasContent(Record):
    """One Keras file, as it describes itself.

    Attributes:
        library: which Keras wrote it.
        version: of that Keras.
        config: the model's configuration, without what `compile` was called with.
    """

    library: Library
    version: str
    config: dict[str, Any]


def read_content(path: Path) -> KerasContent:
    """Read metadata and configuration of a Keras file.

    Raises:
        InputError: empty, truncated, of another format than its name says, without configuration or weights.
    """
    hdf5 = path.suffix in HDF5
    _check_format(path, "hdf5" if hdf5 else "archive")
    version, config = _read_hdf5(path) if hdf5 else _read_archive(path)
    config.pop("compile_config", None)  # models are opened without it
    major = version.partition(".")[0]
    if not major.isdigit():
        raise InputError(f"{path}: its metadata names no version of Keras ({version!r}). Save the model again.")
    return KerasContent(library="keras" if int(major) >= 3 else "tf_keras", version=version, config=config)


def find_unsafe(config: dict[str, Any]) -> list[Unsafe]:
    """Every part of a configuration that would run code or open another file, nested models included."""
    found = dict.fromkeys((each.kind, each.layer, each.holds) for each in _unsafe(config, "model"))
    return [Unsafe(kind=kind, layer=layer, holds=holds) for kind, layer, holds in found]


def refuse_unsafe(path: Path, unsafe: list[Unsafe], allow: tuple[str, ...]) -> None:
    """Refuse what is not accepted knowingly.

    Raises:
        InputError: names every layer and what to do.
    """
    refused = [each for each in unsafe if each.kind not in allow]
    if not refused:
        return
    listed = "; ".join(f"{each.kind} in layer {each.layer!r} holds {each.holds}" for each in refused)
    words = ", ".join(sorted({each.kind for each in refused}))
    raise InputError(
        f"{path.name} is not opened, because opening it would run or read what lies in it: {listed}. Replace these by "
        f"layers of your own class, or, if you trust whoever made the file, write allow: [{words}]."
    )


def classes(config: Any) -> Iterator[tuple[str, str | None, str | None]]:
    """(class or function name, module, registered name) of every object in a configuration."""
    if isinstance(config, dict):
        name = config.get("class_name")
        if isinstance(name, str):
            inner, registered = config.get("config"), config.get("registered_name")
            called = inner if name == "function" and isinstance(inner, str) else name
            yield called, config.get("module"), None if registered == "function" else registered
        for value in config.values():
            yield from classes(value)
    elif isinstance(config, list):
        for value in config:
            yield from classes(value)


def _unsafe(node: Any, layer: str) -> Iterator[Unsafe]:
    if isinstance(node, list):
        for value in node:
            yield from _unsafe(value, layer)
    if not isinstance(node, dict):
        return
    inner = node.get("config")
    own = str(inner.get("name", layer)) if isinstance(inner, dict) else layer
    name = str(node.get("class_name")).rpartition(">")[2]
    holds = _holds(node, name, inner if isinstance(inner, dict) else {})
    if holds is not None:
        yield Unsafe(kind="Lambda" if name not in _NAMED else name, layer=own, holds=holds)
    if name not in _DANGEROUS:  # what lies inside of those is named with them
        for value in node.values():
            yield from _unsafe(value, own)


def _holds(node: dict[str, Any], name: str, inner: dict[str, Any]) -> str | None:
    """What is unsafe in one object of a configuration, None if nothing is."""
    if name in _DANGEROUS:
        return _DANGEROUS[name]
    if name == "__lambda__" or node.get("function_type") == "lambda":
        return "Python code"
    if name in OPERATION_LAYERS and _DANGEROUS_FUNCTIONS.match(str(inner.get("function"))):
        return f"a call of tf.{inner['function']}"
    if name in _VOCABULARY and isinstance(inner.get("vocabulary"), str):
        return f"the path of a file to read ({inner['vocabulary']})"
    return None


def _check_format(path: Path, wanted: str) -> None:
    with path.open("rb") as stream:
        start = stream.read(4)
    if not start:
        raise InputError(f"{path} is empty. Save or copy the model again.")
    found = _MAGIC.get(start)
    if found == wanted:
        return
    if found is not None:
        right, called = ("an HDF5 file", "model.h5") if found == "hdf5" else ("a zip archive", "model.keras")
        raise InputError(f"{path} is {right}, not what its name says. Rename it, like {called}.")
    expected = "a zip archive, as Keras writes it" if wanted == "archive" else "an HDF5 file"
    raise InputError(f"{path} is not {expected}. It was damaged or is no Keras file: save or copy the model again.")


def _read_archive(path: Path) -> tuple[str, dict[str, Any]]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            absent = [name for name in ("metadata.json", "config.json") if name not in names]
            if absent:
                raise InputError(f"{path} has no {' and no '.join(absent)}, so it is no Keras file. Save it by Keras.")
            metadata, config = (_json(archive, path, name) for name in ("metadata.json", "config.json"))
            if not any(name in names for name in _WEIGHTS):
                raise InputError(f"{path} has no weights (no model.weights.h5 in it). Save the whole model.")
            if (damaged := archive.testzip()) is not None:
                raise InputError(f"{path} is damaged: the checksum of its {damaged} is wrong. Copy the model again.")
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError) as error:
        raise InputError(f"{path} is truncated or damaged ({error}). Save or copy the model again.") from error
    return str(metadata.get("keras_version")), config


def _json(archive: zipfile.ZipFile, path: Path, name: str) -> dict[str, Any]:
    if archive.getinfo(name).file_size > _CONFIG_LIMIT:
        raise InputError(f"{path}: its {name} is larger than {_CONFIG_LIMIT >> 20} MB, which no model's is.")
    return _parsed(archive.read(name), path, name)


def _parsed(text: bytes | str, path: Path, name: str) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: its {name} is not JSON ({error}). Save the model again.") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: its {name} holds no model. Save the model again.")
    return content


def _read_hdf5(path: Path) -> tuple[str, dict[str, Any]]:
    import h5py

    try:
        with h5py.File(path, "r") as file:
            if "model_config" not in file.attrs:
                raise InputError(
                    f"{path} holds weights only, not the model that they belong to. Save the whole model: "
                    "model.save('model.keras')."
                )
            weights = file.get("model_weights")
            if weights is None or not len(weights):
                raise InputError(f"{path} has no weights (no model_weights in it). Save the whole model.")
            # Keras 3 writes the version at the top, early tf.keras only beside the weights.
            version = file.attrs.get("keras_version", weights.attrs.get("keras_version", ""))
            return _text(version), _parsed(_text(file.attrs["model_config"]), path, "model_config")
    except (OSError, KeyError, RuntimeError) as error:
        raise InputError(f"{path} is truncated or damaged ({error}). Save or copy the model again.") from error


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
