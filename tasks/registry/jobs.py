"""The registry's jobs: records in and out, run in a worker, so that the orchestrating process never pays for MLflow.

`initialize` is worth starting early: it imports MLflow and makes the database's tables while a model still trains.
"""

from pathlib import Path

from tasks.bundle.manifest import Manifest
from tasks.bundle.write import BundleRequest, layout, seal
from tasks.foundations.record import Record
from tasks.registry.mlflow_registry import Registry
from tasks.registry.model_folder import dress
from tasks.registry.records import RELEASE_TAG, Place, ReleaseLog


class Done(Record):
    """Nothing to tell."""


class InitializeRequest(Record):
    """Where MLflow is."""

    place: Place


class BundleResult(Record):
    """A sealed bundle.

    Attributes:
        digest: names the whole bundle (`Manifest.digest`).
        winners: target -> digest of its winner.
    """

    digest: str
    winners: dict[str, str]


class PublishRequest(Record):
    """One release to log, and to register where it made a bundle.

    Attributes:
        place: where MLflow is.
        log: what its run shows.
        model: registered name.
        bundle: absolute path of the sealed bundle, or None for a release that was refused.
        above: highest version that the journal knows: its number and those below are never given away again.
    """

    place: Place
    log: ReleaseLog
    model: str
    bundle: str | None = None
    above: int = 0


class PublishResult(Record):
    """What MLflow now has.

    Attributes:
        run_id: run of the release.
        run_link: address of its page.
        ui_command: what must run for that address to answer; None where a server does.
        version: registered version, None without a bundle.
        repeated: this release had registered its version before; nothing was written.
    """

    run_id: str
    run_link: str
    ui_command: str | None = None
    version: int | None = None
    repeated: bool = False


class AttachRequest(Record):
    """What is known only after the run was logged: how the release ended.

    Attributes:
        place: where MLflow is.
        run_id: the run.
        report: absolute path of the report.
        decision: one sentence.
    """

    place: Place
    run_id: str
    report: str
    decision: str


class AliasRequest(Record):
    """Aliases to bring in line with the journal.

    Attributes:
        place: where MLflow is.
        model: registered name.
        aliases: alias -> version, or None to take the alias away. Others stay.
    """

    place: Place
    model: str
    aliases: dict[str, int | None]


class AliasResult(Record):
    """Alias -> version, all that the model now has."""

    aliases: dict[str, int]


class LocateRequest(Record):
    """A version whose bundle is wanted; see `Registry.locate`."""

    place: Place
    model: str
    version: int
    cache: str


class LocateResult(Record):
    """Absolute path of the verified bundle, and its manifest."""

    folder: str
    manifest: Manifest


class DeleteRequest(Record):
    """Versions that nobody needs any more.

    Attributes:
        place: where MLflow is.
        model: registered name.
        versions: their numbers; those that MLflow does not have (any more) do not matter.
        dry_run: only say which there are.
    """

    place: Place
    model: str
    versions: tuple[int, ...]
    dry_run: bool = False


class DeleteResult(Record):
    """Versions that were deleted, or would be."""

    versions: tuple[int, ...]


def initialize(request: InitializeRequest) -> Done:
    """Import MLflow and create what is missing: tables, experiment, artifact folder."""
    Registry(request.place).open()
    return Done()


def write_bundle(request: BundleRequest) -> BundleResult:
    """Lay out, add MLflow's files, seal: the whole bundle in the empty folder `request.out`."""
    layout(request)
    dress(request)
    manifest = seal(request)
    return BundleResult(digest=manifest.digest, winners=manifest.winner_digests)


def publish(request: PublishRequest) -> PublishResult:
    """Log a release and register its bundle. Can be repeated: a release registers at most one version."""
    registry = Registry(request.place).open()
    found = registry.find(request.model, request.log.release) if request.bundle is not None else None
    if found is not None and found.version > request.above:
        return _published(registry, found.run_id or "", found.version, repeated=True)
    run_id = registry.log_release(request.log)
    version = None
    try:
        if request.bundle is not None:
            marks = {RELEASE_TAG: request.log.release}
            version = registry.register(request.model, Path(request.bundle), run_id, marks, request.above)
    except BaseException:
        registry.finish(run_id, "FAILED")
        raise
    registry.finish(run_id, request.log.status)
    return _published(registry, run_id, version)


def _published(registry: Registry, run_id: str, version: int | None, repeated: bool = False) -> PublishResult:
    return PublishResult(
        run_id=run_id,
        run_link=registry.run_link(run_id),
        ui_command=registry.ui_command(),
        version=version,
        repeated=repeated,
    )


def attach(request: AttachRequest) -> Done:
    """Add the end to a run that was logged before."""
    registry = Registry(request.place).open()
    registry.attach(request.run_id, Path(request.report))
    registry.decide(request.run_id, request.decision)
    return Done()


def set_aliases(request: AliasRequest) -> AliasResult:
    """Set and take away aliases; nothing is written where they already are as asked."""
    registry = Registry(request.place).open()
    now = registry.aliases(request.model)
    for alias, version in request.aliases.items():
        if version is None and alias in now:
            registry.delete_alias(request.model, alias)
        elif version is not None and now.get(alias) != version:
            registry.set_alias(request.model, alias, version)
    return AliasResult(aliases=registry.aliases(request.model))


def locate(request: LocateRequest) -> LocateResult:
    """Find or fetch a version's bundle and verify it."""
    folder = Registry(request.place).open().locate(request.model, request.version, Path(request.cache))
    return LocateResult(folder=str(folder), manifest=Manifest.read(folder))


def delete_versions(request: DeleteRequest) -> DeleteResult:
    """Delete versions and their files; one that an alias points to is refused."""
    registry = Registry(request.place).open()
    present = {info.version for info in registry.versions(request.model)}
    chosen = tuple(version for version in request.versions if version in present)
    for version in chosen if not request.dry_run else ():
        registry.delete_version(request.model, version)
    return DeleteResult(versions=chosen)
