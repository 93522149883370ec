"""The content-addressed store: where every step puts its folder, whole or not at all.

    objects/<2 hex>/<digest>/        the files
    objects/<2 hex>/<digest>.json    sha256 and size of each file, written last: without it the artifact does not exist
    actions/<key>.json               what a step once produced, see `action.py`
    scratch/<pid>-<random>/          folders being written; those of dead processes are swept

Any fsspec URL works; a local folder is published by rename, an object store by uploading the manifest last.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tasks.foundations.errors import DigestMismatch, SlipwayError
from tasks.foundations.files import full_disk_said, sync, write_whole
from tasks.foundations.processes import is_alive
from tasks.store.artifact import Artifact
from tasks.store.digest import digest_entries, digest_file, list_files


class Store:
    """A store at `url`; artifacts of a remote store are fetched into `cache` and verified there.

    Args:
        url: local path or fsspec URL (`s3://bucket/prefix`, `memory://x`).
        cache: local folder for scratch and fetched artifacts.
    """

    def __init__(self, url: str, cache: Path) -> None:
        self.url = url.rstrip("/")
        self.local = Path(url.removeprefix("file://")) if "://" not in url or url.startswith("file://") else None
        self.cache = self.local or cache
        self._verified: set[str] = set()

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A new empty folder on the store's own file system; removed at the end whatever happens."""
        parent = self.cache / "scratch"
        parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=parent))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def publish(
        self, folder: Path, format: str, made_by: dict[str, Any], result: dict[str, Any] | None = None
    ) -> Artifact:
        """Publish a scratch folder whole; publishing the same content twice is a no-op, or mends what was damaged.

        Raises:
            SlipwayError: the disk is full or not writable; nothing half-written is left behind.
        """
        files = list_files(folder)
        sizes = {name: path.stat().st_size for name, path in files.items()}
        hashes = {name: digest_file(path) for name, path in files.items()}
        entries = {name: {"sha256": hashes[name], "size": sizes[name]} for name in files}
        digest = digest_entries(hashes)
        with full_disk_said(self.url):
            if not self._is_whole(digest):
                self._put(folder, files, digest)
                self._write(f"{self._object(digest)}.json", json.dumps({"format": format, "files": entries}))
        self._verified.add(digest)
        return Artifact(
            uri=f"{self.url}/{self._object(digest)}",
            format=format,
            digest=digest,
            size_bytes=sum(sizes.values()),
            made_by=made_by,
            result=result or {},
        )

    def path(self, digest: str) -> Path:
        """Local folder of an artifact, every byte verified once a process.

        Raises:
            DigestMismatch: missing, or its content is not what the digest says.
        """
        folder = self.folder(digest)
        if digest not in self._verified:
            self._verify(digest, folder)
            self._verified.add(digest)
        return folder

    def folder(self, digest: str) -> Path:
        """Local folder of an artifact, not verified: for content that is checked by other means before it is used.

        Raises:
            DigestMismatch: missing.
        """
        if self.local is None:
            self._fetch(digest)
        folder = self.cache / self._object(digest)
        if not folder.is_dir():
            raise DigestMismatch(f"Artifact {digest} is not in the store {self.url}. Run the release again.")
        return folder

    def read(self, name: str) -> bytes | None:
        """Content of a small file of the store (an action), None if there is none."""
        try:
            if self.local is not None:
                return (self.local / name).read_bytes()
            content: bytes = self._filesystem().cat_file(f"{self.url}/{name}")
            return content
        except FileNotFoundError:
            return None

    def write(self, name: str, content: str) -> None:
        """Write a small file of the store so that readers see the old or the new content, never a part."""
        with full_disk_said(self.url):
            self._write(name, content)

    def sweep_scratch(self) -> None:
        """Remove scratch folders whose process is gone."""
        for folder in (self.cache / "scratch").glob("*-*"):
            pid = folder.name.partition("-")[0]
            if pid.isdigit() and not is_alive(int(pid)):
                shutil.rmtree(folder, ignore_errors=True)

    def retain(self, digests: set[str], dry_run: bool = False) -> int:
        """Remove every local artifact and action but those named; returns the bytes freed, or that would be."""
        freed = 0
        for manifest in (self.cache / "objects").glob("*/*.json"):
            digest = manifest.stem
            if digest in digests:
                continue
            freed += sum(int(entry["size"]) for entry in (self._files_of(digest) or {}).values())
            if dry_run:
                continue
            manifest.unlink()
            shutil.rmtree(manifest.with_suffix(""), ignore_errors=True)
        for action in (self.cache / "actions").glob("*.json"):
            if not dry_run and _digest_of(action) not in digests:
                action.unlink()
        return freed

    def _files_of(self, digest: str) -> dict[str, Any] | None:
        """Name -> entry of an artifact's files; None if there is no such artifact, or its manifest is damaged."""
        content = self.read(f"{self._object(digest)}.json")
        try:
            files: dict[str, Any] | None = json.loads(content)["files"] if content is not None else None
        except (ValueError, KeyError, TypeError):
            return None
        return files

    def _is_whole(self, digest: str) -> bool:
        if self._files_of(digest) is None:
            return False
        if self.local is None or digest in self._verified:
            return True
        try:
            self._verify(digest, self.folder(digest))
        except SlipwayError:
            return False
        return True

    def _put(self, folder: Path, files: dict[str, Path], digest: str) -> None:
        if self.local is None:
            system = self._filesystem()
            for name, path in files.items():
                system.put_file(str(path), f"{self.url}/{self._object(digest)}/{name}")
            return
        target = self.local / self._object(digest)
        target.parent.mkdir(parents=True, exist_ok=True)
        for path in files.values():
            sync(path)
        if target.exists():  # damaged, or left by a process that died between the rename and the manifest
            shutil.rmtree(target)
        folder.rename(target)
        sync(target.parent)

    def _write(self, name: str, content: str) -> None:
        if self.local is None:
            self._filesystem().pipe_file(f"{self.url}/{name}", content.encode())
            return
        write_whole(self.local / name, content)

    def _fetch(self, digest: str) -> None:
        target = self.cache / self._object(digest)
        files = self._files_of(digest)
        if target.exists() or files is None:
            return
        system = self._filesystem()
        with self.scratch() as folder, full_disk_said(str(self.cache)):
            for name in files:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                system.get_file(f"{self.url}/{self._object(digest)}/{name}", str(folder / name))
            target.parent.mkdir(parents=True, exist_ok=True)
            folder.rename(target)

    def _verify(self, digest: str, folder: Path) -> None:
        found = digest_entries({name: digest_file(path) for name, path in list_files(folder).items()})
        if found != digest:
            raise DigestMismatch(
                f"The files in {folder} have digest {found}, expected {digest}. Somebody or something changed them; "
                "they are not used. Remove the folder and run the release again."
            )

    def _filesystem(self) -> Any:
        import fsspec

        return fsspec.core.url_to_fs(self.url)[0]

    @staticmethod
    def _object(digest: str) -> str:
        return f"objects/{digest[:2]}/{digest}"


def _digest_of(action: Path) -> str | None:
    """The artifact that an action's file names, None for a file that cannot be read."""
    try:
        return str(json.loads(action.read_bytes())["digest"])
    except (ValueError, KeyError, TypeError):
        return None
