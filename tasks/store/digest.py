"""One way to name content, so that a folder has the same digest wherever it lies and whoever wrote it."""

import hashlib
from pathlib import Path

from tasks.foundations.errors import SlipwayError

CHUNK_BYTES = 1 << 20


def digest_file(path: Path) -> str:
    """sha256 (hex) of a file's bytes; memory stays flat."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def list_files(folder: Path) -> dict[str, Path]:
    """Relative POSIX path -> file, sorted by path.

    Raises:
        SlipwayError: the folder holds a link or a special file; onnx refuses links, and a link is not content.
    """
    files = {}
    for path in sorted(folder.rglob("*"), key=lambda found: found.relative_to(folder).as_posix()):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise SlipwayError(f"{path} is a link or a special file. Only plain files can be published; copy it.")
        if path.is_file():
            files[path.relative_to(folder).as_posix()] = path
    return files


def digest_entries(entries: dict[str, str]) -> str:
    r"""sha256 (hex) over `<relative path>\0<sha256>\n` of every file, sorted by path.

    Args:
        entries: relative POSIX path -> sha256 (hex) of the file.
    """
    digest = hashlib.sha256()
    for name in sorted(entries):
        digest.update(f"{name}\0{entries[name]}\n".encode())
    return digest.hexdigest()


def digest_folder(folder: Path) -> str:
    """sha256 (hex) of a folder's content, see `digest_entries`."""
    return digest_entries({name: digest_file(path) for name, path in list_files(folder).items()})
