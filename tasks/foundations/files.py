"""Files that are whole or not there: readers, and a machine that starts again after a power cut, never see a part."""

import errno
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tasks.foundations.errors import SlipwayError

TEMPORARY = ".whole-"
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def write_whole(path: Path, text: str) -> None:
    """Write a UTF-8 text file beside its place, flush it to disk, then move it there in one act; makes its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.parent / f"{TEMPORARY}{uuid.uuid4().hex}.tmp"
    try:
        with aside.open("w", encoding="utf-8", newline="\n") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    sync(path.parent)


def sync(path: Path) -> None:
    """Flush a file or the names in a folder to disk, so that a rename that follows never shows less than the whole."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def full_disk_said(place: str) -> Iterator[None]:
    """Turn the error of a full disk, or of a full quota, into a sentence.

    Args:
        place: what is written to, for the sentence.

    Raises:
        SlipwayError: it is full.
    """
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise SlipwayError(
                f"No space left while writing to {place} ({error.strerror}). Free some space (`python -m flows clean "
                "CONFIG`) and run the same command again; finished steps are reused."
            ) from error
        raise
