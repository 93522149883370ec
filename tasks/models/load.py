"""The jobs that take a model which came trained: look at its files first, then open it and write a model folder.

Two jobs, because what the files say decides what follows: which library opens them, hence in which kind of worker, and
their digest, hence whether it was done before.
"""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from tasks.foundations.errors import InputError
from tasks.foundations.record import Record
from tasks.models.output import NUMBERS, Meaning
from tasks.models.signature import Signature
from tasks.models.sources._source import Inspected
from tasks.models.sources.keras_file import KerasFile
from tasks.models.sources.saved_model import SavedModel

# What a model in a registry is opened as is one of these, too.
Trained = Annotated[KerasFile | SavedModel, Field(discriminator="kind")]


class InspectRequest(Record):
    """Which model to look at.

    Attributes:
        source: where it lies.
        folder: absolute path of the config's folder.
    """

    source: Trained
    folder: str


class LoadRequest(Record):
    """Which model to open.

    Attributes:
        source: where it lies.
        folder: absolute path of the config's folder.
        digest: what `inspect` said of the files: the written folder is remembered by it.
        meaning: what the task says of the outputs.
        out: absolute path of an empty folder.
    """

    source: Trained
    folder: str
    digest: str
    meaning: Meaning = NUMBERS
    out: str


class LoadResult(Record):
    """What was opened: the signature of the written model folder."""

    signature: Signature


def inspect(request: InspectRequest) -> Inspected:
    """Read the model's files without opening the model.

    Raises:
        InputError: damaged, of the wrong kind, or something unsafe lies in them.
    """
    return request.source.inspect(Path(request.folder))


def load(request: LoadRequest) -> LoadResult:
    """Open the model and write it as a model folder into `out`.

    Raises:
        InputError: it cannot be opened, does not fit the task, or changed meanwhile.
    """
    folder = Path(request.folder)
    signature = request.source.write(folder, Path(request.out), request.meaning)
    if request.source.inspect(folder).digest != request.digest:
        raise InputError(
            f"model: {folder / request.source.path} changed while it was read. Run the same command again when whoever "
            "writes it has finished."
        )
    return LoadResult(signature=signature)
