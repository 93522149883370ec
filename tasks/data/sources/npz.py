"""Arrays in `.npz` archives. Members are copied out as they are and mapped: an archive is never whole in memory."""

import shutil
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from tasks.data.dataset import SPLITS
from tasks.data.files import (
    BLOCK_BYTES,
    FilePerSplit,
    LocalFile,
    RemoteFile,
    fetch,
    map_array,
    missing_files,
    places,
    require_one,
)
from tasks.data.reading import Reading, Where
from tasks.foundations.errors import InputError
from tasks.foundations.files import full_disk_said
from tasks.foundations.record import Record
from tasks.foundations.words import suggest

OTHER_WORDS = {
    **dict.fromkeys(("val", "valid", "dev", "eval"), "validation"),
    **dict.fromkeys(("cal", "calib"), "calibration"),
    "training": "train",
    "testing": "test",
}
INPUTS, LABELS = ("inputs", "x"), ("labels", "y")


class NpzData(Record):
    """Arrays by key. In one file a key names its split, `train_inputs` or `x_train`; in a file a split it does not."""

    kind: Literal["npz"]
    path: LocalFile = None
    url: RemoteFile = None
    splits: FilePerSplit = None
    inputs: str | dict[str, str] | None = Field(
        None,
        description="Key of the inputs without its split, or input name -> key. Default: `inputs` or `x`, or every "
        "`inputs_NAME`. In one file of all splits the split stands before or after: train_inputs, x_train.",
    )
    labels: str | dict[str, str] | None = Field(
        None,
        description="Key of the labels without its split, or output name -> key, for a custom task with labels for "
        "several outputs. Default: `labels` or `y`, or every `labels_NAME`.",
    )
    slices: dict[str, str] | None = Field(
        None, description="Slice name -> key without its split. Default: every `slices_NAME`."
    )

    @model_validator(mode="after")
    def _says_where(self) -> "NpzData":
        require_one({"path": self.path, "url": self.url, "splits": self.splits})
        return self

    def read(self, reading: Reading) -> Any:
        """Map the arrays of every split.

        Raises:
            InputError: a file is missing or no archive, a key is missing, an array holds objects.
        """
        if self.splits:
            return {split: self._split(_Archive(place, reading), split, "") for split, place in self.splits.items()}
        archive = _Archive(self.path or self.url or "", reading)
        _refuse_other_words(archive)
        found = [split for split in SPLITS if _words(archive.keys, split)]
        if not found:
            raise InputError(
                f"data: no key of {archive.name} names a split. Expected keys like train_inputs and train_labels, or "
                f"x_train and y_train, for {', '.join(SPLITS)}; it holds {archive.listed}."
            )
        return {split: self._split(archive, split, split) for split in found}

    def problems(self, folder: Path) -> Iterator[tuple[Where, str]]:
        """Local files that are not there."""
        return missing_files(places(self.path, self.url, self.splits), folder)

    def source_digest(self, folder: Path) -> str:
        """Empty: no code of the user's is run."""
        return ""

    def _split(self, archive: "_Archive", split: str, affix: str) -> dict[str, Any]:
        words = _words(archive.keys, affix)

        def array(*possible: str) -> Any:
            for word in possible:
                if word in words:
                    return archive.open(words[word])
            raise InputError(_missing(archive, split, affix, possible))

        def arrays(given: str | dict[str, str] | None, prefix: str, default: tuple[str, ...]) -> Any:
            found = given or _named(words, prefix)
            if isinstance(found, dict) and found:
                return {name: array(word) for name, word in found.items()}
            return array(*((given,) if isinstance(given, str) else default))

        slices = _named(words, "slices_") if self.slices is None else self.slices
        return {
            "inputs": arrays(self.inputs, "inputs_", INPUTS),
            "labels": arrays(self.labels, "labels_", LABELS),
            "slices": {name: array(word) for name, word in slices.items()},
        }


class _Archive:
    """One `.npz` file; its members become `.npy` files in scratch when they are asked for."""

    def __init__(self, place: str, reading: Reading) -> None:
        self.name = place
        self._path, self._scratch = fetch(place, reading), reading.scratch
        try:
            with zipfile.ZipFile(self._path) as archive:
                names = archive.namelist()
        except (zipfile.BadZipFile, OSError) as error:
            hint = " A single .npy array is read by kind: npy." if self._path.suffix == ".npy" else ""
            raise InputError(f"data: {place} is no .npz archive: {error}.{hint}") from error
        self.keys = tuple(name.removesuffix(".npy") for name in names if name.endswith(".npy"))
        self.listed = ", ".join(self.keys) or "no arrays"

    def open(self, key: str) -> Any:
        """Memory map of one array."""
        target = self._scratch / f"array-{len(list(self._scratch.iterdir()))}.npy"
        try:
            with (
                full_disk_said(str(self._scratch)),
                zipfile.ZipFile(self._path) as archive,
                archive.open(f"{key}.npy") as source,
                target.open("wb") as file,
            ):
                shutil.copyfileobj(source, file, BLOCK_BYTES)
        except (zipfile.BadZipFile, EOFError, zipfile.zlib.error) as error:  # type: ignore[attr-defined]
            raise InputError(f"data: the key {key!r} of {self.name} is damaged: {error}.") from error
        return map_array(target, f"the key {key!r} of {self.name}")


def _refuse_other_words(archive: _Archive) -> None:
    """A key that names its split by another word would be left out, and nobody would notice."""
    for word, split in OTHER_WORDS.items():
        for key in _words(archive.keys, word).values():
            raise InputError(
                f"data: the key {key!r} of {archive.name} says {word!r}; that split is called {split}: rename the key."
            )


def _words(keys: tuple[str, ...], split: str) -> dict[str, str]:
    """Word without its split -> key, of the keys that belong to a split; every key where the file is one split's."""
    if not split:
        return {key: key for key in keys}
    before, after = f"{split}_", f"_{split}"
    return {key.removesuffix(after): key for key in keys if key.endswith(after)} | {
        key.removeprefix(before): key for key in keys if key.startswith(before)
    }


def _named(words: Mapping[str, str], prefix: str) -> dict[str, str]:
    return {word.removeprefix(prefix): word for word in words if word.startswith(prefix) and word != prefix}


def _missing(archive: _Archive, split: str, affix: str, words: tuple[str, ...]) -> str:
    possible = [f"{affix}_{word}" if affix and len(word) > 1 else f"{word}_{affix}".strip("_") for word in words]
    near = next((hint for key in possible if (hint := suggest(key, archive.keys))), "")
    return f"data: {archive.name} has no key {' or '.join(possible)} for {split}. It holds {archive.listed}.{near}"
