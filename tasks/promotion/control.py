"""What a move needs to know and what it answers: plain values, so that the command line and a flow call it alike."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tasks.foundations.errors import SlipwayError
from tasks.foundations.locks import hold
from tasks.foundations.record import Record
from tasks.journal.event import Kind
from tasks.journal.journal import Journal
from tasks.serving.answers import Observation, Validation
from tasks.serving.staging import folder_of


class Aliases(Protocol):
    """The registry as seen from here: names that follow the journal."""

    def set_alias(self, model: str, alias: str, version: int) -> None:
        """Let an alias point to a version."""
        ...

    def delete_alias(self, model: str, alias: str) -> None:
        """Take an alias away; nothing happens where there is none."""
        ...


@dataclass(frozen=True)
class Control:
    """Where production is controlled from.

    Attributes:
        journal: the authority.
        serving_root: folder of all serving kinds.
        locks: folder of the locks; everybody who moves a model must share it.
        bundle_path: digest of a version (`Manifest.digest`) -> folder of its bundle.
        open_aliases: opens the registry, or None for no registry. Called only after the servers have switched, because
            importing MLflow costs seconds.
        validate: try every version in a server of its own before traffic, and write `validated`. Only tests and
            benchmarks of moves, on files that are no models, do without.
    """

    journal: Journal
    serving_root: Path
    locks: Path
    bundle_path: Callable[[str], Path]
    open_aliases: Callable[[], Aliases] | None = None
    validate: bool = True

    @contextmanager
    def exclusive(self, model: str, owner: str, timeout_s: float = 0) -> Iterator[None]:
        """Be the only one who moves the model; the operating system frees the lock of a killed process.

        Raises:
            Conflict: another process is moving it; the message names who, its process and since when.
            SlipwayError: a file could not be read or written.
        """
        folder_of(self.serving_root, "any", model)  # the name becomes a file's name here too
        try:
            with hold(self.locks / f"{model}.lock", owner, timeout_s=timeout_s):
                yield
        except OSError as error:
            raise SlipwayError(
                f"{owner} of {model} failed: {error}. Check the disk's room and rights, then try again."
            ) from error


class Order(Record):
    """Who asks for a move and on what terms.

    Attributes:
        actor: who asks, `ann` or `schedule`.
        reason: why; a forced move needs one.
        run: id or URL of the run that asks, None if a person does.
        expected_serial: the journal's last serial when the decision was taken: the move is refused if production has
            changed since. Registrations in between do not count.
        force: promote a version that was rolled back, or that has no passing record; the journal's reason says so.
        request_id: a move with an id is made once, however often it is asked for.
        digest: digest of the bundle, only for a version that the journal does not know.
    """

    actor: str
    reason: str = ""
    run: str | None = None
    expected_serial: int | None = None
    force: bool = False
    request_id: str | None = None
    digest: str | None = None


class Move(Record):
    """What became of an order.

    Attributes:
        model: name of the model.
        kind: `promote` or `rollback`.
        version: the champion now.
        from_version: the champion before, None if there was none; equal to `version` if nothing was moved.
        moved: False if everything was already as asked.
        attempt: id of the attempt in the journal, None if nothing was moved.
        message: one sentence for a person.
        validation: how the version did in a server of its own, one a kind; empty for a rollback.
        servers: who answered with the version after the move.
        warnings: what did not work although the move did, and what was repaired on the way.
    """

    model: str
    kind: Kind
    version: int
    from_version: int | None
    moved: bool
    attempt: str | None
    message: str
    validation: tuple[Validation, ...] = ()
    servers: tuple[Observation, ...] = ()
    warnings: tuple[str, ...] = ()
