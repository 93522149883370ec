"""Proof that a bundle on disk is the bundle that was sealed, run before anything of it is opened.

A model file is a program, so nothing is parsed, loaded or copied to a serving node before every byte is accounted for.
"""

import os
import stat
from pathlib import Path

from tasks.bundle.manifest import FILE, MLFLOW_META, TARGETS, FileEntry, Manifest
from tasks.foundations.errors import DigestMismatch
from tasks.store.digest import digest_entries, digest_file

SHOWN = 5  # names of each kind in an error


def verify(folder: Path) -> Manifest:
    """Check every file of a bundle against its manifest.

    Args:
        folder: the bundle. The files that MLflow adds (`registered_model_meta` beside an `MLmodel`) are ignored.

    Returns:
        The manifest.

    Raises:
        DigestMismatch: a file is missing, extra, changed, a link or special; all are named. Nothing was opened
            through a link.
    """
    manifest = Manifest.read(folder)
    found, special = scan(folder)
    expected = manifest.files
    missing = sorted(set(expected) - set(found) - set(special))
    extra = sorted(set(found) - set(expected))
    changed = sorted(name for name in set(expected) & set(found) if not _is(folder / name, expected[name]))
    wrong = {"missing": missing, "extra": extra, "changed": changed, "a link or special file": special}
    if any(wrong.values()):
        details = "; ".join(f"{kind}: {_list(names)}" for kind, names in wrong.items() if names)
        raise DigestMismatch(
            f"The bundle {folder} is not what was released ({details}). Do not serve it; fetch it again or roll back."
        )
    _check_targets(folder, manifest)
    return manifest


def scan(folder: Path) -> tuple[list[str], list[str]]:
    """Relative POSIX paths of a bundle's plain files, and of its links and special files. Follows no link."""
    files: list[str] = []
    special: list[str] = []
    _scan(folder, "", files, special)
    return sorted(files), sorted(special)


def entry(path: Path) -> FileEntry:
    """Digest and size of one file."""
    return FileEntry(sha256=digest_file(path), size=path.stat().st_size)


def target_digest(files: dict[str, FileEntry]) -> str:
    """Digest of a target's folder from its files (see `Manifest.target_files`)."""
    return digest_entries({name: file.sha256 for name, file in files.items()})


def _scan(folder: Path, prefix: str, files: list[str], special: list[str]) -> None:
    with os.scandir(folder) as found:
        for item in found:
            name = f"{prefix}{item.name}"
            mode = item.stat(follow_symlinks=False).st_mode
            if stat.S_ISDIR(mode):
                _scan(folder / item.name, f"{name}/", files, special)
            elif not stat.S_ISREG(mode):
                special.append(name)
            elif not _is_ignored(name):
                files.append(name)


def _is_ignored(name: str) -> bool:
    """The manifest itself, and MLflow's mark at the root or in a target's folder (the folders that have an MLmodel)."""
    if name in (FILE, MLFLOW_META):
        return True
    parts = name.split("/")
    return len(parts) == 3 and parts[0] == TARGETS and parts[2] == MLFLOW_META


def _is(path: Path, expected: FileEntry) -> bool:
    return path.stat().st_size == expected.size and digest_file(path) == expected.sha256


def _check_targets(folder: Path, manifest: Manifest) -> None:
    for name, target in manifest.targets.items():
        if target.path != f"{TARGETS}/{name}" or target.digest != target_digest(manifest.target_files(name)):
            raise DigestMismatch(f"The manifest of {folder} contradicts itself about target {name!r}. Do not serve it.")


def _list(names: list[str]) -> str:
    rest = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + rest
