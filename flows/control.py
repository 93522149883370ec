"""Where production is controlled from on this installation: the journal, the serving folders, the bundles, MLflow."""

import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from flows.home import Home
from flows.storage import open_store
from tasks.foundations.errors import DigestMismatch
from tasks.journal.journal import Journal
from tasks.promotion.control import Aliases, Control
from tasks.promotion.settle import settle_all
from tasks.registry.records import Place
from tasks.store.artifact import Artifact
from tasks.store.store import Store


def registry_place(home: Home, model: str) -> Place:
    """Where MLflow keeps a model's runs."""
    local = home.tracking_uri.startswith("sqlite:")
    return Place(
        tracking_uri=home.tracking_uri,
        artifact_location=str(home.mlflow_artifacts / model) if local else None,
        experiment=model,
    )


def open_control(home: Home, store: Store, open_aliases: Callable[[], Aliases] | None = None) -> Control:
    """The controls of this installation.

    Args:
        home: its folders.
        store: where bundles lie.
        open_aliases: how the registry is reached; None leaves its aliases to `follow_later`.
    """
    return Control(
        journal=Journal(home.journal_url),
        serving_root=home.serving,
        locks=home.locks,
        bundle_path=lambda digest: bundle_path(store, digest),
        open_aliases=open_aliases,
    )


def control_with_registry(home: Home) -> Control:
    """The controls, with MLflow's aliases set in this process after every move: for whoever can wait for its import."""

    def change(model: str, aliases: dict[str, int | None]) -> None:
        from tasks.registry.jobs import AliasRequest, set_aliases

        set_aliases(AliasRequest(place=registry_place(home, model), model=model, aliases=aliases))

    return open_control(home, open_store(home), lambda: RegistryAliases(change))


def settle_first(home: Home, control: Control, patience_s: float | None = None) -> list[str]:
    """Finish or undo what killed processes left, of every model: for the start of whatever reads or moves production.

    Models that somebody is moving are left alone. It costs one query where there is nothing to do.

    Args:
        home: the installation.
        control: its controls; without a registry, aliases follow in a process of their own.
        patience_s: how long servers may take to answer, None for as long as the config allows; what needs longer
            stays open, for `reconcile`.

    Returns:
        What was done, one sentence each.
    """
    done = settle_all(control, patience_s)
    for model in done if control.open_aliases is None else ():
        with suppress(OSError):  # the disk that stopped it may be full: `reconcile` repairs aliases
            follow_later(home, model)
    return [f"{model}: {sentence}" for model, sentences in done.items() for sentence in sentences]


def bundle_path(store: Store, digest: str) -> Path:
    """Folder of the bundle whose manifest has this digest; its files are checked against that manifest by their users.

    Raises:
        DigestMismatch: the store does not hold it any more.
    """
    content = store.read(f"bundles/{digest}.json")
    if content is None:
        raise DigestMismatch(f"The store holds no bundle {digest[:12]}. It was removed; release the model again.")
    try:
        return store.folder(Artifact.model_validate_json(content).digest)
    except ValidationError as error:
        raise DigestMismatch(
            f"bundles/{digest}.json in the store {store.url} cannot be read. Restore it, or release the model again."
        ) from error


def follow_later(home: Home, model: str, *message: str) -> None:
    """Let MLflow's aliases follow the journal in a process of its own: its import takes seconds, a move must not.

    Args:
        home: the installation.
        model: name of the model.
        message: event, title and text of a notification, see `flows.notify`; none for no notification.
    """
    home.logs.mkdir(parents=True, exist_ok=True)
    with (home.logs / "aliases.log").open("a") as log:
        subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-m", "flows.follow", model, *message],
            env={**os.environ, "SLIPWAY_HOME": str(home.root)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


@dataclass(frozen=True)
class RegistryAliases:
    """MLflow's aliases, set by a function that runs registry jobs (see `tasks.promotion.control.Aliases`)."""

    change: Callable[[str, dict[str, int | None]], None]

    def set_alias(self, model: str, alias: str, version: int) -> None:
        """Let an alias point to a version."""
        self.change(model, {alias: version})

    def delete_alias(self, model: str, alias: str) -> None:
        """Take an alias away."""
        self.change(model, {alias: None})
