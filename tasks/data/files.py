"""Data files by path or URL: found when a config is checked, fetched only when a release reads them.

A remote file is streamed into scratch, because all formats are read more than once or from their end. Credentials never
stand in a config: it is stored with every version, and read by many.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import numpy as np
from pydantic import AfterValidator, Field

from tasks.data.dataset import SPLITS
from tasks.data.reading import Reading, Where
from tasks.foundations.errors import InputError, SlipwayError
from tasks.foundations.files import full_disk_said
from tasks.foundations.words import suggest

MAGIC = b"\x93NUMPY"
BLOCK_BYTES = 8 * 2**20
# user:password@host, and the parameters of links that are signed for whoever holds them. Azure's container@host is no
# credential.
SECRETS = re.compile(r"://[^/@:]*:[^/@]*@|[?&](x-amz-signature|x-goog-signature|sig|token|access_token|api_key)=", re.I)


def _no_secret(place: str) -> str:
    if SECRETS.search(place):
        raise ValueError(
            "the URL carries credentials, and configs are stored with every version. Remove them: they come from the "
            "environment (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, GOOGLE_APPLICATION_CREDENTIALS, ~/.netrc, ...)"
        )
    return place


def _is_path(place: str) -> str:
    if is_url(place):
        raise ValueError(f"{place} is a URL: write `url:` instead of `path:`")
    return place


def _is_url(place: str) -> str:
    if not is_url(place):
        raise ValueError(f"{place} is no URL (s3://..., https://..., file:///...): write `path:` for a local file")
    return place


def is_url(place: str) -> bool:
    """Whether a place is a URL rather than a path."""
    return "://" in place


def known_splits(splits: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """The same splits, if each has the name of one.

    Raises:
        ValueError: one has not.
    """
    for split in splits or {}:
        if split not in SPLITS:
            raise ValueError(f"{split!r} is no split.{suggest(split, SPLITS)} Splits are {', '.join(SPLITS)}")
    return splits


FilePlace = Annotated[str, AfterValidator(_no_secret)]
LocalFile = Annotated[
    str | None,
    AfterValidator(lambda place: place if place is None else _is_path(_no_secret(place))),
    Field(description="Local file, relative to the config's folder. One of path, url, splits is needed."),
]
RemoteFile = Annotated[
    str | None,
    AfterValidator(lambda place: place if place is None else _is_url(_no_secret(place))),
    Field(
        description="Remote file, any URL that fsspec opens (s3://, gs://, abfs://, https://, file://, ...), fetched "
        "whenever a release reads the data. Credentials come from the environment, never from here."
    ),
]
FilePerSplit = Annotated[
    dict[str, FilePlace] | None,
    AfterValidator(known_splits),
    Field(
        description="One file a split, by its name (train, validation, calibration, test): paths relative to the "
        "config's folder, or URLs."
    ),
]


def require_one(given: Mapping[str, object], what: str = "where the data lie") -> None:
    """Exactly one of several keys.

    Args:
        given: key -> value, None where it is not given.
        what: what the keys say, for the sentence.

    Raises:
        ValueError: none, or several.
    """
    named = [key for key, value in given.items() if value is not None]
    if len(named) != 1:
        said = f"{' and '.join(named)} are given" if named else f"nothing says {what}"
        raise ValueError(f"{said}; expected exactly one of {', '.join(given)}")


def places(path: str | None, url: str | None, splits: Mapping[str, str] | None) -> dict[Where, str]:
    """Where in the section -> path or URL, of every file."""
    single: dict[Where, str | None] = {("path",): path, ("url",): url}
    return {
        **{where: place for where, place in single.items() if place is not None},
        **{("splits", split): place for split, place in (splits or {}).items()},
    }


def check_file(place: str, folder: Path) -> None:
    """Find a local file; a URL is not looked at.

    Raises:
        InputError: there is no such file; names the nearest one.
    """
    path = folder / place
    if is_url(place) or path.is_file():
        return
    if path.is_dir():
        raise InputError(f"{path} is a folder. Expected one file.")
    beside = [each.name for each in path.parent.iterdir()] if path.parent.is_dir() else []
    raise InputError(f"there is no file {path}.{suggest(path.name, beside)} Paths count from the config's folder.")


def missing_files(found: Mapping[Where, str], folder: Path) -> Iterator[tuple[Where, str]]:
    """(keys, sentence) of every local file that is not there; URLs are not looked at."""
    for where, place in found.items():
        try:
            check_file(place, folder)
        except InputError as error:
            yield where, str(error)


def fetch(place: str, reading: Reading) -> Path:
    """Local file of a path or URL; a remote one is streamed into scratch.

    Raises:
        InputError: there is no such file, or it cannot be fetched.
        SlipwayError: the disk is full.
    """
    local = place.removeprefix("file://")
    if not is_url(local):
        try:
            check_file(local, reading.folder)
        except InputError as error:
            raise InputError(f"data: {error}") from error
        return reading.folder / local
    name = Path(urlsplit(place).path).name or "file"
    target = reading.scratch / f"fetched-{len(list(reading.scratch.iterdir()))}-{name}"
    with full_disk_said(str(reading.scratch)), target.open("wb") as file:
        for block in _blocks(place):
            file.write(block)
    return target


def map_array(path: Path, what: str) -> np.ndarray[Any, Any]:
    """Memory map of a `.npy` file, (rows, ...), read-only; nothing is ever unpickled.

    Args:
        path: the file.
        what: what it is, for the sentence.

    Raises:
        InputError: it holds Python objects, or is no `.npy` file.
    """
    try:
        array: np.ndarray[Any, Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        if _is_npy(path) and "objects" in str(error):
            raise InputError(
                f"data: {what} holds Python objects (dtype object), which only unpickling could read, and that can run "
                "any code. Save it as numbers or strings, e.g. with .astype('float32') or .astype(str)."
            ) from error
        raise InputError(f"data: {what} cannot be read as a .npy array: {error}.") from error
    return array


def _is_npy(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def _blocks(url: str) -> Iterator[bytes]:
    import fsspec

    try:
        with fsspec.open(url, "rb") as stream:
            while block := stream.read(BLOCK_BYTES):
                yield block
    except ImportError as error:
        raise InputError(f"data: {url} needs a package that is not installed: {error}.") from error
    except FileNotFoundError as error:
        if isinstance(error.__cause__, OSError):  # of http: nobody answers
            raise SlipwayError(
                f"data: {url} cannot be reached: {error.__cause__}. Try again when the server answers."
            ) from error
        reason = f" ({error.__cause__})" if error.__cause__ else ""
        raise InputError(
            f"data: there is no file at {url}{reason}. Check the address, and what your credentials see."
        ) from error
    except Exception as error:
        raise InputError(f"data: {url} cannot be fetched: {type(error).__name__}: {error}.") from error
