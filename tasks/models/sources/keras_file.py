"""A trained model in a file that Keras wrote: `.keras`, `.h5` or `.hdf5`, by Keras 3 or by Keras 2 (tf_keras)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from tasks.foundations import entrypoints
from tasks.foundations.errors import InputError
from tasks.foundations.record import Record
from tasks.foundations.words import suggest
from tasks.models import keras_content, keras_open
from tasks.models.keras_content import SUFFIXES
from tasks.models.output import Meaning
from tasks.models.signature import Signature
from tasks.models.sources._source import Inspected
from tasks.store.digest import digest_entries, digest_file


class KerasFile(Record):
    """A file of a whole model, opened by the library that wrote it; it can be trained further."""

    needs_training: ClassVar[bool] = False
    inference_only: ClassVar[bool] = False
    kind: Literal["keras_file"]
    path: str = Field(description="The .keras, .h5 or .hdf5 file; relative paths begin at the config's folder.")
    custom_objects: str | None = Field(
        None, description="Python file beside the config that defines or registers the model's own layers."
    )
    allow: tuple[str, ...] = Field((), description="Unsafe content that is accepted knowingly, like Lambda.")

    def problems(self, folder: Path) -> Iterator[tuple[str, str]]:
        """See the contract."""
        found = _path_problem(folder / self.path)
        if found:
            yield "path", found
        if self.custom_objects is not None:
            try:
                entrypoints.check_module(self.custom_objects, folder)
            except InputError as error:
                yield "custom_objects", str(error)

    def inspect(self, folder: Path) -> Inspected:
        """See the contract; the digest covers the file and the user's code for it."""
        path = self._file(folder)
        content = keras_content.read_content(path)
        keras_content.refuse_unsafe(path, keras_content.find_unsafe(content.config), self.allow)
        code = entrypoints.module_digest(self.custom_objects, folder) if self.custom_objects else ""
        return Inspected(
            format=content.library, digest=digest_entries({f"model{path.suffix}": digest_file(path), "code": code})
        )

    def write(self, folder: Path, out: Path, meaning: Meaning) -> Signature:
        """See the contract; the file's content is checked once more, because it may have changed since."""
        path = self._file(folder)
        content = keras_content.read_content(path)
        unsafe = keras_content.find_unsafe(content.config)
        keras_content.refuse_unsafe(path, unsafe, self.allow)
        model = keras_open.open_file(path, content, self.import_code(folder), safe_mode=not unsafe)
        return keras_open.write(model, content.library, out, meaning)

    def import_code(self, folder: Path) -> Any:
        """Import the user's own layers, so that this process can open the model; None if there are none."""
        return entrypoints.load_module(self.custom_objects, folder) if self.custom_objects else None

    def _file(self, folder: Path) -> Path:
        path = folder / self.path
        found = _path_problem(path)
        if found:
            raise InputError(f"model: {found}")
        return path


def _path_problem(path: Path) -> str | None:
    """Why a path cannot be a whole model in one file, None if it can."""
    if (path / "saved_model.pb").is_file():
        return f"{path} is a SavedModel folder, not a file. Write kind: saved_model."
    if path.suffix not in SUFFIXES:
        return f"{path.name} does not end in {', '.join(SUFFIXES)}. Save the model by model.save('model.keras')."
    if path.name.endswith(".weights.h5"):
        return f"{path.name} holds weights only. Save the whole model by model.save('model.keras')."
    if not path.is_file():
        there = sorted(each.name for each in path.parent.glob("*") if each.suffix in SUFFIXES)
        known = f" Keras files there: {', '.join(there)}." if there else ""
        return f"there is no file {path}.{suggest(path.name, there)}{known}"
    return None
