"""A trained model that MLflow has registered: its files are fetched by the registry, then opened as what they are."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from tasks.foundations import entrypoints
from tasks.foundations.errors import InputError
from tasks.foundations.record import Record
from tasks.models.sources.keras_file import KerasFile
from tasks.models.sources.saved_model import SavedModel


class Registered(Record):
    """One version of a model in MLflow, by number or by alias: a Keras file or a SavedModel."""

    needs_training: ClassVar[bool] = False
    inference_only: ClassVar[bool] = False
    kind: Literal["registered"]
    name: str = Field(min_length=1, description="Name of the registered model.")
    version: int | None = Field(None, ge=1, description="Its version; or give an alias.")
    alias: str | None = Field(None, min_length=1, description="Alias of the version, resolved at every release.")
    signature: str | None = Field(
        None, description="Which signature of a SavedModel is served; default the one that MLflow names."
    )
    custom_objects: str | None = Field(
        None, description="Python file beside the config that defines or registers the model's own layers."
    )
    allow: tuple[str, ...] = Field((), description="Unsafe content that is accepted knowingly, like Lambda.")

    @model_validator(mode="after")
    def _one_of_both(self) -> "Registered":
        if (self.version is None) == (self.alias is None):
            raise ValueError(f"{self.name}: give either a version (version: 3) or an alias (alias: champion).")
        return self

    def problems(self, folder: Path) -> Iterator[tuple[str, str]]:
        """See the contract; whether MLflow has the version is known when it is asked."""
        if self.custom_objects is not None:
            try:
                entrypoints.check_module(self.custom_objects, folder)
            except InputError as error:
                yield "custom_objects", str(error)

    def opened(self, fetched: Path, found: dict[str, Any]) -> KerasFile | SavedModel:
        """The source that the fetched files are opened as.

        Args:
            fetched: where they lie.
            found: what the registry says of them: `kind`, `path` below `fetched`, and `signature`.
        """
        path = str((fetched / found["path"]).absolute())
        if found["kind"] == "saved_model":
            signature = self.signature or found["signature"]
            return SavedModel(kind="saved_model", path=path, signature=signature, allow=self.allow)
        return KerasFile(kind="keras_file", path=path, custom_objects=self.custom_objects, allow=self.allow)
