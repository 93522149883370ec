"""A trained model as a SavedModel folder of whatever made it: one of its signatures, for inference only."""

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from tasks.foundations.errors import InputError
from tasks.foundations.record import Record
from tasks.foundations.words import suggest
from tasks.models import saved_model_content, saved_model_wrap
from tasks.models.output import Meaning
from tasks.models.saved_model_content import FILE, SavedModelContent
from tasks.models.signature import Signature
from tasks.models.sources._source import Inspected
from tasks.store.digest import digest_entries, digest_file, list_files


class SavedModel(Record):
    """A folder with saved_model.pb, as `model.export()` or `tf.saved_model.save` writes it; inference only."""

    needs_training: ClassVar[bool] = False
    inference_only: ClassVar[bool] = True
    kind: Literal["saved_model"]
    path: str = Field(description="The folder with saved_model.pb; relative paths begin at the config's folder.")
    signature: str = Field("serving_default", description="Which of its signatures is served.")
    allow: tuple[str, ...] = Field((), description="Unsafe operations that are accepted knowingly, like ReadFile.")

    def problems(self, folder: Path) -> Iterator[tuple[str, str]]:
        """See the contract."""
        found = _path_problem(folder / self.path)
        if found:
            yield "path", found

    def inspect(self, folder: Path) -> Inspected:
        """See the contract; the digest covers graph, weights and assets."""
        self._content(folder)
        path = folder / self.path
        parts = [found for part in ("variables", "assets") for found in list_files(path / part).values()]
        files = [path / FILE, *parts]
        entries = {file.relative_to(path).as_posix(): digest_file(file) for file in files}
        return Inspected(format="saved_model", digest=digest_entries(entries))

    def write(self, folder: Path, out: Path, meaning: Meaning) -> Signature:
        """See the contract; the graph is checked once more, because it may have changed since."""
        return saved_model_wrap.wrap(folder / self.path, self._content(folder), self.signature, out, meaning)

    def _content(self, folder: Path) -> SavedModelContent:
        path = folder / self.path
        found = _path_problem(path)
        if found:
            raise InputError(f"model: {found}")
        content = saved_model_content.read_content(path, self.signature)
        saved_model_content.refuse_unsafe(path, content.unsafe, self.allow)
        return content


def _path_problem(path: Path) -> str | None:
    """Why a path cannot be a SavedModel, None if it can."""
    if path.is_file():
        return f"{path} is a file, not a SavedModel folder. For .keras and .h5 files write kind: keras_file."
    if not path.is_dir():
        return f"there is no folder {path}.{suggest(path.name, _folders(path.parent))}"
    if (path / FILE).is_file():
        return None
    inside = _folders(path)
    if inside:
        return f"{path} has no {FILE}. The SavedModel lies in it: write {path.name}/{inside[-1]}."
    return f"{path} has no {FILE}, so it is no SavedModel. Export the model by model.export('export')."


def _folders(parent: Path) -> list[str]:
    return sorted(each.parent.name for each in parent.glob(f"*/{FILE}"))
