"""Immutable copies of a version in a serving folder: there as a whole or not at all.

TensorFlow Serving loads any folder whose name is an integer the moment it sees one, so a copy grows under a name that
is no integer, on the same file system, and is renamed when every byte is on disk and verified.
"""

import hashlib
import os
import re
import shutil
import uuid
from pathlib import Path

from tasks.bundle.manifest import FileEntry, RelativePath
from tasks.foundations.errors import DigestMismatch, InputError, SlipwayError
from tasks.foundations.files import TEMPORARY, sync
from tasks.foundations.record import Record
from tasks.serving.pointer import Pointer, read
from tasks.store.digest import CHUNK_BYTES, digest_file, list_files

ASIDE = ".staging-"
REMOVED = ".removed-"
HELD = "held-"
"""Start of the name of a whole copy that no server may load yet."""
SAFE_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
_VERSION_NAME = re.compile(rf"(?:{HELD})?([0-9]+)")


class Payload(Record):
    """What one serving target gets of a version.

    Attributes:
        folder: absolute path of the target's folder in the bundle.
        digest: digest of that folder's content.
        files: relative POSIX path in the folder -> what the file must be. What else lies there is not copied.
    """

    folder: str
    digest: str
    files: dict[RelativePath, FileEntry]

    @property
    def size(self) -> int:
        """Bytes in all files."""
        return sum(entry.size for entry in self.files.values())


def folder_of(root: Path, kind: str, model: str) -> Path:
    """`<root>/<kind>/<model>`.

    Raises:
        InputError: the model's name is not safe as a folder's name.
    """
    if not SAFE_NAME.fullmatch(model):
        raise InputError(f"{model!r} is no model name. Expected lower-case letters, digits, _ and -, like digits-v2.")
    return root / kind / model


def place(base: Path, version: int) -> Path | None:
    """Where a version stands: under its number, else held; None where it does not."""
    found = (base / str(version), base / f"{HELD}{version}")
    return next((path for path in found if path.is_dir()), None)


def stage(base: Path, version: int, payload: Payload, *, held: bool = False) -> bool:
    """Copy the payload to where the version stands, over a damaged copy; False if it is there, to the last byte.

    Args:
        base: the model's folder.
        version: the version.
        payload: what to copy.
        held: a version that does not stand yet is copied to `held-<version>`, not to `<version>`.

    Raises:
        DigestMismatch: the source is not what the payload says.
        SlipwayError: it cannot be written (disk full, rights). What stood there before still does in either case.
    """
    final = place(base, version) or base / f"{HELD if held else ''}{version}"
    if is_intact(final, payload):
        return False
    aside, damaged = (base / f"{start}{version}-{uuid.uuid4().hex}" for start in (ASIDE, REMOVED))
    try:
        base.mkdir(parents=True, exist_ok=True)
        _check_room(base, payload)
        _copy(payload, aside)
        if final.exists():
            final.rename(damaged)
        aside.rename(final)
        sync(base)
    except OSError as error:
        if damaged.exists() and not final.exists():
            damaged.rename(final)
        raise SlipwayError(
            f"Version {version} could not be copied to {base} ({payload.size} bytes): {error.strerror or error}. "
            "Make room or mend the folder's rights, then try again."
        ) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
        shutil.rmtree(damaged, ignore_errors=True)
    return True


def verify(folder: Path, payload: Payload) -> None:
    """Read every file of a staged copy.

    Raises:
        DigestMismatch: a file is missing, is too many or has other bytes; the message names the first.
    """
    present = list_files(folder)
    for name in sorted(present.keys() ^ payload.files.keys()):
        what = "is missing" if name in payload.files else "does not belong there"
        raise _mismatch(folder, f"{name} {what}")
    for name, entry in payload.files.items():
        if present[name].stat().st_size != entry.size or digest_file(present[name]) != entry.sha256:
            raise _mismatch(folder, f"{name} has other bytes")


def is_intact(folder: Path, payload: Payload) -> bool:
    """Whether a copy is there, to the last byte."""
    try:
        verify(folder, payload)
    except (SlipwayError, OSError):  # links and special files among them
        return False
    return True


def staged(base: Path) -> list[int]:
    """Versions that stand in the folder as a whole, held ones among them, ascending."""
    return sorted(_copies(base))


def _copies(base: Path) -> dict[int, list[Path]]:
    """Version -> its folders: one, or two where a killed process left a second."""
    found: dict[int, list[Path]] = {}
    for path in base.iterdir() if base.is_dir() else ():
        name = _VERSION_NAME.fullmatch(path.name)
        if name and path.is_dir():
            found.setdefault(int(name[1]), []).append(path)
    return found


def prune(base: Path, keep: frozenset[int], dry_run: bool = False) -> list[int]:
    """Remove staged versions outside `keep`; the one pointed to and its predecessor always stay.

    Returns:
        The versions that were removed, or would be, ascending.
    """
    pointer = read(base)
    safe = keep | _in_use(pointer)
    copies = _copies(base)
    removed = sorted(version for version in copies if version not in safe)
    for path in (path for version in removed for path in copies[version] if not dry_run):
        discard(path)
    return removed


def discard(folder: Path) -> None:
    """Remove a version's folder; renamed first, since no server may see a version with some of its files gone."""
    gone = folder.with_name(f"{REMOVED}{folder.name}-{uuid.uuid4().hex}")
    folder.rename(gone)
    shutil.rmtree(gone)


def sweep(base: Path) -> list[str]:
    """Remove what killed processes left half-copied or half-removed. Only for the one who holds the model's lock.

    Returns:
        Names of what was removed, sorted.
    """
    if not base.is_dir():
        return []
    left = sorted(path for path in base.iterdir() if path.name.startswith((ASIDE, REMOVED, TEMPORARY)))
    for path in left:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    return [path.name for path in left]


def _in_use(pointer: Pointer | None) -> frozenset[int]:
    if pointer is None:
        return frozenset()
    return frozenset({pointer.version} | ({pointer.previous} if pointer.previous is not None else set()))


def _check_room(base: Path, payload: Payload) -> None:
    free = shutil.disk_usage(base).free
    if free < payload.size:
        raise SlipwayError(
            f"There is no room for a version of {payload.size} bytes in {base}: {free} bytes are free. "
            "Make room (`clean` removes old versions) and try again."
        )


def _copy(payload: Payload, aside: Path) -> None:
    source = Path(payload.folder)
    present = list_files(source)
    for name in sorted(payload.files.keys() - present.keys()):
        raise _mismatch(source, f"{name} is missing")
    folders = {aside}
    for name, entry in payload.files.items():
        to = aside / name
        to.parent.mkdir(parents=True, exist_ok=True)
        folders |= {folder for folder in to.parents if folder.is_relative_to(aside)}
        if _copy_file(present[name], to) != (entry.sha256, entry.size):
            raise _mismatch(source, f"{name} has other bytes")
    aside.mkdir(exist_ok=True)
    for folder in folders:
        sync(folder)


def _copy_file(source: Path, to: Path) -> tuple[str, int]:
    """Copy to disk, not only to the page cache; sha256 and size of what was written."""
    digest, size = hashlib.sha256(), 0
    with source.open("rb") as reader, to.open("xb") as writer:
        while chunk := reader.read(CHUNK_BYTES):
            writer.write(chunk)
            digest.update(chunk)
            size += len(chunk)
        writer.flush()
        os.fsync(writer.fileno())
    return digest.hexdigest(), size


def _mismatch(folder: Path, what: str) -> DigestMismatch:
    return DigestMismatch(
        f"{folder} is not what its manifest says: {what}. Nothing was changed. Restore that folder, or release anew."
    )
