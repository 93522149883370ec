"""The registry: MLflow runs, registered versions and aliases behind a few plain calls.

MLflow is what people look at and what plain tools load from. It is not the authority on what is in production (the
journal is): its aliases have no history and the last writer wins. So every call here can be repeated.
"""

import shlex
import shutil
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from tasks.bundle.manifest import FILE as MANIFEST_FILE
from tasks.bundle.manifest import Manifest
from tasks.bundle.verify import verify
from tasks.foundations.errors import Refused, SlipwayError
from tasks.registry.connection import connect, open_experiment, persist, without_password
from tasks.registry.records import DECISION_TAG, DIGEST_TAG, RELEASE_TAG, Place, ReleaseLog, RunStatus, VersionInfo
from tasks.registry.runs import TAG_LENGTH, finish, log_tree

ARTIFACT_PATH = "bundle"  # folder of the bundle among the run's artifacts
UI_ADDRESS = "http://127.0.0.1:5000"  # where `mlflow ui` listens unless told otherwise


class Registry:
    """One MLflow place, opened. Imports MLflow (2 s): use it in a worker process, through `tasks.registry.jobs`."""

    def __init__(self, place: Place) -> None:
        """Keep the settings; nothing is opened before `open`."""
        self.place = place
        self._client: Any = None
        self._experiment = ""

    def open(self) -> "Registry":
        """Connect, and create database, experiment and artifact folder where they are missing.

        Raises:
            InputError: a relative path or an unknown kind of URI.
            SlipwayError: MLflow cannot be opened.
        """
        self._client = connect(self.place)
        self._experiment = persist(lambda: open_experiment(self._client, self.place))
        return self

    def log_release(self, log: ReleaseLog) -> str:
        """Log one run a release with a child run a candidate; the release's own run stays open until `finish`.

        An open run of the same release, left by a killed process, is closed as KILLED.

        Returns:
            The run's id.
        """
        self._close_leftovers(log.release)
        return log_tree(self._client, self._experiment, log)

    def attach(self, run_id: str, path: Path, folder: str | None = None) -> None:
        """Copy a file or a folder's content to a run's artifacts, below `folder`."""
        if path.is_dir():
            self._copy(lambda: self._client.log_artifacts(run_id, str(path), folder), path)
        else:
            self._copy(lambda: self._client.log_artifact(run_id, str(path), folder), path)

    def decide(self, run_id: str, decision: str) -> None:
        """Say in the run how the release ended."""
        persist(lambda: self._client.set_tag(run_id, DECISION_TAG, decision[:TAG_LENGTH]))

    def finish(self, run_id: str, status: RunStatus) -> None:
        """Close a run."""
        finish(self._client, run_id, status)

    def register(
        self, model: str, bundle: Path, run_id: str, tags: Mapping[str, str] | None = None, above: int = 0
    ) -> int:
        """Log a bundle to a run and register it as the model's next version.

        The version is created after all files are there and verified, in one transaction: a process killed before it
        leaves files that no version names.

        Args:
            model: registered name.
            bundle: the sealed bundle.
            run_id: run that takes its files.
            tags: of the version.
            above: highest number that was ever given away; lower ones, which a registry that was lost and made anew
                would give away again, are passed over.

        Returns:
            The version's number, never used before.

        Raises:
            DigestMismatch: the bundle, or the copy of it where that is local, is not what was sealed.
            SlipwayError: MLflow refuses, or the copy failed.
        """
        manifest = verify(bundle)
        self.attach(run_id, bundle, ARTIFACT_PATH)
        source = f"{self._client.get_run(run_id).info.artifact_uri}/{ARTIFACT_PATH}"
        if (local := local_path(source)) is not None:
            verify(local)
        self._ensure_model(model)
        marks = {RELEASE_TAG: manifest.made_by.release, DIGEST_TAG: manifest.digest, **(tags or {})}
        while True:
            version = persist(lambda: self._client.create_model_version(model, source, run_id, tags=marks)).version
            if int(version) > above:
                return int(version)
            persist(partial(self._client.delete_model_version, model, version))

    def find(self, model: str, release: str) -> VersionInfo | None:
        """The version that a release has registered, or None."""
        return next((found for found in self.versions(model) if found.tags.get(RELEASE_TAG) == release), None)

    def versions(self, model: str) -> list[VersionInfo]:
        """All versions of a model, newest first; empty where there is no such model."""
        found = self._all_versions(model)
        aliases = self.aliases(model)
        named = [
            (version, tuple(sorted(alias for alias, number in aliases.items() if number == int(version.version))))
            for version in found
        ]
        infos = [
            VersionInfo(version=int(version.version), run_id=version.run_id, tags=version.tags, aliases=names)
            for version, names in named
        ]
        return sorted(infos, key=lambda info: -info.version)

    def set_alias(self, model: str, alias: str, version: int) -> None:
        """Let an alias point to a version. The first ever of a name races in MLflow; it is repeated."""
        persist(lambda: self._client.set_registered_model_alias(model, alias, str(version)))

    def delete_alias(self, model: str, alias: str) -> None:
        """Take an alias away; nothing happens where there is none."""
        if alias in self.aliases(model):
            persist(lambda: self._client.delete_registered_model_alias(model, alias))

    def aliases(self, model: str) -> dict[str, int]:
        """Alias -> version; empty where there is no such model."""
        found = self._model(model)
        return {alias: int(version) for alias, version in found.aliases.items()} if found is not None else {}

    def locate(self, model: str, version: int, cache: Path) -> Path:
        """Folder of a version's bundle, verified.

        Args:
            model: registered name.
            version: its number.
            cache: folder that takes the download where MLflow's artifacts are not on this machine.

        Raises:
            DigestMismatch: it is not what was registered.
            SlipwayError: there is no such version, or its files cannot be fetched.
        """
        source = persist(lambda: self._client.get_model_version_download_uri(model, str(version)))
        folder = local_path(source)
        if folder is None:
            folder = self._download(source, cache, f"{model}-{version}")
        manifest = verify(folder)
        self._check_registered(manifest, model, version)
        return folder

    def names(self) -> list[str]:
        """Names of all registered models."""
        page = persist(lambda: self._client.search_registered_models())
        found = list(page)
        while token := page.token:
            page = persist(partial(self._client.search_registered_models, page_token=token))
            found.extend(page)
        return sorted(model.name for model in found)

    def download(self, model: str, version: int, folder: Path) -> Path:
        """All files of a version, whoever registered it, in a new folder below `folder`; nothing is verified.

        Raises:
            SlipwayError: its files cannot be fetched.
        """
        source = persist(lambda: self._client.get_model_version_download_uri(model, str(version)))
        local = local_path(source)
        if local is not None and not local.is_dir():
            raise SlipwayError(f"MLflow's files of {model} version {version} are gone: there is no folder {local}.")
        from mlflow.exceptions import MlflowException

        try:
            return self._download(source, folder, f"{version}")
        except (MlflowException, OSError) as error:
            raise SlipwayError(
                f"MLflow's files of {model} version {version} cannot be fetched from {without_password(source)}: "
                f"{error}."
            ) from error

    def delete_version(self, model: str, version: int) -> None:
        """Delete a version, and its files where they are on this machine; its number is never used again.

        Raises:
            Refused: an alias points to it.
            SlipwayError: there is no such version.
        """
        names = sorted(alias for alias, number in self.aliases(model).items() if number == version)
        if names:
            raise Refused(f"{model} version {version} is {' and '.join(names)}; move that alias before deleting it.")
        folder = local_path(persist(lambda: self._client.get_model_version_download_uri(model, str(version))))
        persist(lambda: self._client.delete_model_version(model, str(version)))
        if folder is not None and (folder / MANIFEST_FILE).is_file():
            shutil.rmtree(folder)

    def run_link(self, run_id: str) -> str:
        """Address of a run's page, without any password; of a database, where `ui_command` serves it."""
        server = self.place.tracking_uri.rstrip("/") if self.ui_command() is None else UI_ADDRESS
        return f"{without_password(server)}/#/experiments/{self._experiment}/runs/{run_id}"

    def ui_command(self) -> str | None:
        """What serves the pages of a database; None where a server does."""
        uri = self.place.tracking_uri
        return None if uri.startswith("http") else f"mlflow ui --backend-store-uri {shlex.quote(uri)}"

    def _all_versions(self, model: str) -> list[Any]:
        query = f"name = '{model}'"
        page = persist(lambda: self._client.search_model_versions(query))
        found = list(page)
        while token := page.token:
            page = persist(partial(self._client.search_model_versions, query, page_token=token))
            found.extend(page)
        return found

    def _check_registered(self, manifest: Manifest, model: str, version: int) -> None:
        tags = self._client.get_model_version(model, str(version)).tags
        if tags.get(DIGEST_TAG) != manifest.digest:
            raise SlipwayError(
                f"MLflow's {model} version {version} was registered with digest {tags.get(DIGEST_TAG)}, but its files "
                f"have {manifest.digest}. It was replaced or not made by Slipway; release again."
            )

    def _close_leftovers(self, release: str) -> None:
        query = f"tags.`{RELEASE_TAG}` = '{release}' and attributes.status = 'RUNNING'"
        for run in persist(lambda: self._client.search_runs([self._experiment], query)):
            self.finish(run.info.run_id, "KILLED")

    def _ensure_model(self, model: str) -> None:
        if self._model(model) is not None:
            return
        from mlflow.exceptions import MlflowException

        try:
            self._client.create_registered_model(model)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":  # else another process was first
                raise SlipwayError(f"MLflow cannot register a model called {model!r}: {error}") from error

    def _model(self, model: str) -> Any:
        from mlflow.exceptions import MlflowException

        try:
            return self._client.get_registered_model(model)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise SlipwayError(f"MLflow cannot look up {model!r}: {error}") from error

    def _copy(self, action: Any, path: Path) -> None:
        try:
            persist(action)
        except (OSError, shutil.Error) as error:
            raise SlipwayError(
                f"{path} could not be copied to MLflow's artifacts ({error}). No version was registered from it."
            ) from error

    def _download(self, source: str, cache: Path, name: str) -> Path:
        import mlflow.artifacts

        draft = cache / f".{name}.{time.time_ns()}"
        draft.mkdir(parents=True)
        try:
            found = mlflow.artifacts.download_artifacts(
                artifact_uri=source, dst_path=str(draft), tracking_uri=self.place.tracking_uri
            )
            shutil.rmtree(cache / name, ignore_errors=True)
            return Path(found).rename(cache / name)
        finally:
            shutil.rmtree(draft, ignore_errors=True)


def local_path(uri: str) -> Path | None:
    """The folder that an artifact URI names on this machine, or None where it lies elsewhere."""
    if uri.startswith("file:"):
        return Path(unquote(urlparse(uri).path))
    return None if "://" in uri or uri.startswith("mlflow-artifacts:") else Path(uri)
