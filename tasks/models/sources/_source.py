"""What every model source of the menu can do."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

from tasks.foundations.record import Record
from tasks.models.output import Meaning
from tasks.models.signature import Signature

# keras: model.keras can be trained further by Keras 3; tf_keras: twin.keras by tf_keras; saved_model: inference only.
Format = Literal["keras", "tf_keras", "saved_model"]


class ModelSource(Protocol):
    """One file of this menu: a frozen Record named by `kind`.

    Attributes:
        needs_training: whether the model comes untrained, so that the config needs a `training` section.
        inference_only: whether it can never be trained further, as far as the config alone tells.
        kind: the word in the YAML.
    """

    needs_training: ClassVar[bool]
    inference_only: ClassVar[bool]
    kind: str

    def problems(self, folder: Path) -> Iterator[tuple[str, str]]:
        """(key, sentence) of everything wrong that can be seen without importing or opening anything of the user's."""
        ...


class UntrainedSource(ModelSource, Protocol):
    """A source whose model Slipway trains."""

    def open(self, folder: Path, seed: int) -> Any:
        """The keras.Model (Keras 3), built; the same content gives the same weights, called twice or in two processes.

        Raises:
            InputError: the user's file or function gives no usable model.
        """
        ...

    def source_digest(self, folder: Path) -> str:
        """sha256 over the user's code that makes the model."""
        ...


class Inspected(Record):
    """What a trained model's files say before they are opened.

    Attributes:
        format: of the model folder that they become.
        digest: sha256 over everything that it is made of: the key of what follows.
    """

    format: Format
    digest: str


class TrainedSource(ModelSource, Protocol):
    """A source whose model comes trained, in files that may have been made by anybody."""

    def inspect(self, folder: Path) -> Inspected:
        """Read the files without opening them by a library that could run what lies in them.

        Raises:
            InputError: damaged, of the wrong kind, or something unsafe lies in them.
        """
        ...

    def write(self, folder: Path, out: Path, meaning: Meaning) -> Signature:
        """Open the model and write it as a model folder of the format that `inspect` said.

        Raises:
            InputError: the library cannot open it, or it does not fit the task.
        """
        ...
