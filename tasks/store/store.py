"""The content-addressed store: where every step puts its folder, whole or not at all.

    objects/<2 hex>/<digest>/        the files
    objects/<2 hex>/<digest>.json    sha256 and size of each file, written last: without it the artifact does not exist
    actions/<key>.json               what a step once produced, see `action.py`
    scratch/<pid>-<host>-<random>/   folders being written; those of dead processes are swept, by their own machine

Any fsspec URL works; a local folder is published by rename, an object store by uploading the manifest last.
"""

import hashlib
import json
import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from tasks.foundations.errors import DigestMismatch, SlipwayError
from tasks.foundations.files import FULL, full_disk_said, sync, write_whole
from tasks.foundations.processes import is_alive
from tasks.store.artifact import Artifact
from tasks.store.digest import digest_entries, digest_file, list_files

EXCHANGED = ("orders", "answers", "pulses", "parts", "probes")
"""What only a release in progress needs: see `tasks.hardware.exchange`, `Store.part` and `flows.fitness`."""


class Store:
    """A store at `url`; artifacts of a remote store are fetched into `cache` and verified there.

    Args:
        url: local path or fsspec URL (`s3://bucket/prefix`, `memory://x`).
        cache: local folder for scratch and fetched artifacts.
        options: what the URL's file system is opened with, credentials for example.
        shared: whether other installations use it as well, so that what this one does not need is not removed.
        patience_s: how long a remote store may not answer before that is an error.
    """

    def __init__(
        self,
        url: str,
        cache: Path,
        options: Mapping[str, Any] | None = None,
        *,
        shared: bool = False,
        patience_s: float = 60.0,
    ) -> None:
        self.shared = shared
        self.patience_s = patience_s
        self.url = url.rstrip("/")
        self._options = dict(options or {})
        self.local = Path(url.removeprefix("file://")) if "://" not in url or url.startswith("file://") else None
        self.cache = self.local or cache
        self._verified: set[str] = set()

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A new empty folder on the store's own file system; removed at the end whatever happens."""
        parent = self.cache / "scratch"
        parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-{platform.node()}-", dir=parent))
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

    def part(self, digest: str, wanted: Callable[[str], bool]) -> Path:
        """Local folder with those files of an artifact whose names are wanted, each verified; others may be missing.

        Of a local store the artifact itself.

        Raises:
            DigestMismatch: missing, or its content is not what the digest says.
        """
        if self.local is not None:
            return self.path(digest)
        files = self._files_of(digest)
        if files is None or digest_entries({name: entry["sha256"] for name, entry in files.items()}) != digest:
            raise DigestMismatch(f"Artifact {digest} is not in the store {self.url}. Run the release again.")
        names = [name for name in files if wanted(name)]
        target = self.cache / "parts" / f"{digest}-{hashlib.sha256(json.dumps(names).encode()).hexdigest()[:16]}"
        if not target.exists():
            self._download(digest, names, target)
        for name in names:
            if digest_file(target / name) != files[name]["sha256"]:
                raise DigestMismatch(f"{target / name} is not what the store's manifest says. Remove {target}.")
        return target

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
            content: bytes = self._remotely(lambda system: system.cat_file(f"{self.url}/{name}"))
            return content
        except FileNotFoundError:
            return None

    def write(self, name: str, content: str) -> None:
        """Write a small file of the store so that readers see the old or the new content, never a part."""
        with full_disk_said(self.url):
            self._write(name, content)

    def sweep_scratch(self) -> None:
        """Remove scratch folders of this machine whose process is gone."""
        for folder in (self.cache / "scratch").glob("*-*-*"):
            pid, _, host = folder.name.rpartition("-")[0].partition("-")
            if host == platform.node() and pid.isdigit() and not is_alive(int(pid)):
                shutil.rmtree(folder, ignore_errors=True)

    def retain(self, digests: set[str], dry_run: bool = False) -> int:
        """Remove every local artifact and action but those named, and all orders between machines.

        Of a remote store only what was fetched here, of a shared folder nothing: others use the store itself.

        Returns:
            The bytes freed, or that would be.
        """
        if self.shared and self.local is not None:
            return 0
        objects = [path for path in (self.cache / "objects").glob("*/*") if path.stem not in digests]
        others = [path for path in (self.cache / "actions").glob("*.json") if _digest_of(path) not in digests]
        others += [path for room in EXCHANGED for path in (self.cache / room).glob("*")]
        freed = sum(_size(path) for path in objects if path.is_dir())
        # The manifest first: without it the artifact does not exist.
        for path in () if dry_run else sorted(objects + others, key=Path.is_dir):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()
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
        return self._is_in_place(digest, self.cache / self._object(digest))

    def _put(self, folder: Path, files: dict[str, Path], digest: str) -> None:
        if self.local is None:
            self._upload(files, digest)
        target = self.cache / self._object(digest)
        target.parent.mkdir(parents=True, exist_ok=True)
        for path in files.values():
            sync(path)
        if not self._is_in_place(digest, target):
            shutil.rmtree(target, ignore_errors=True)  # damaged
            try:
                folder.rename(target)
            except OSError:  # somebody else has published the same meanwhile
                if not self._is_in_place(digest, target):
                    raise
        sync(target.parent)

    def _is_in_place(self, digest: str, folder: Path) -> bool:
        """Whether the whole content is there, manifest or not; whoever reads it must not find it gone."""
        try:
            self._verify(digest, folder)
        except (SlipwayError, OSError):
            return False
        return True

    def _upload(self, files: dict[str, Path], digest: str) -> None:
        for name, path in files.items():
            to = f"{self.url}/{self._object(digest)}/{name}"
            self._send(partial(_put, str(path), to))

    def _write(self, name: str, content: str) -> None:
        if self.local is None:
            self._send(lambda system: system.pipe_file(f"{self.url}/{name}", content.encode()))
            return
        write_whole(self.local / name, content)

    def _fetch(self, digest: str) -> None:
        target = self.cache / self._object(digest)
        if target.exists():
            return
        files = self._files_of(digest)
        if files is not None:
            self._download(digest, list(files), target)

    def _download(self, digest: str, names: list[str], target: Path) -> None:
        with self.scratch() as folder, full_disk_said(str(self.cache)):
            for name in names:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                source, to = f"{self.url}/{self._object(digest)}/{name}", str(folder / name)
                self._remotely(partial(_get, source, to))
            target.parent.mkdir(parents=True, exist_ok=True)
            with suppress(OSError):  # somebody else has fetched it meanwhile
                folder.rename(target)

    def _verify(self, digest: str, folder: Path) -> None:
        found = digest_entries({name: digest_file(path) for name, path in list_files(folder).items()})
        if found != digest:
            raise DigestMismatch(
                f"The files in {folder} have digest {found}, expected {digest}. Somebody or something changed them; "
                "they are not used. Remove the folder and run the release again."
            )

    def _send(self, act: Callable[[Any], Any]) -> None:
        try:
            self._remotely(act)
        except FileNotFoundError as error:  # the bucket
            raise self._unreached(error) from error

    def _remotely(self, act: Callable[[Any], Any]) -> Any:
        """Do something with a remote store, again for a while where it does not answer: servers are restarted.

        Raises:
            FileNotFoundError: what is asked for is not there.
            OSError: this machine's disk is full.
            SlipwayError: the store does not answer as it should.
        """
        from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_exponential

        attempts = Retrying(
            retry=retry_if_exception(lambda error: not (_is_final(error) or _is_forbidden(error))),
            stop=stop_after_delay(self.patience_s),
            wait=wait_exponential(0.2, max=5),
            reraise=True,
        )
        try:
            return attempts(lambda: act(self._filesystem()))
        except Exception as error:
            if _is_final(error):
                raise
            raise self._unreached(error) from error  # every kind of store has errors of its own

    def _unreached(self, error: Exception) -> SlipwayError:
        why = str(error).partition("\n")[0] or type(error).__name__
        return SlipwayError(
            f"The store {self.url} does not answer as it should: {why}. Mend that, or correct SLIPWAY_STORE_URL and "
            "its credentials, then run the same command again; finished steps are reused."
        )

    def _filesystem(self) -> Any:
        import fsspec

        return fsspec.core.url_to_fs(self.url, **self._options)[0]

    @staticmethod
    def _object(digest: str) -> str:
        return f"objects/{digest[:2]}/{digest}"


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _is_final(error: BaseException) -> bool:
    """Whether trying again is in vain, and the error's own kind is told."""
    return isinstance(error, FileNotFoundError) or (isinstance(error, OSError) and error.errno in FULL)


def _is_forbidden(error: BaseException) -> bool:
    """Whether the store answers, and to others only."""
    return isinstance(error, PermissionError) or getattr(error, "status", None) in (401, 403)  # S3's, HTTP's


def _get(source: str, to: str, system: Any) -> None:
    system.get_file(source, to)


def _put(path: str, to: str, system: Any) -> None:
    """Fsspec writes over HTTP with POST unless it is told otherwise."""
    system.put_file(path, to, **({"method": "put"} if "http" in _protocols(system) else {}))


def _protocols(system: Any) -> tuple[str, ...]:
    return (system.protocol,) if isinstance(system.protocol, str) else tuple(system.protocol)


def _digest_of(action: Path) -> str | None:
    """The artifact that an action's file names, None for a file that cannot be read."""
    try:
        return str(json.loads(action.read_bytes())["digest"])
    except (ValueError, KeyError, TypeError):
        return None
