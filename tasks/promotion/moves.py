"""Promote and rollback: rules first, then the phases of the move, and the registry's aliases last.

intent -> copies -> staged -> trial in a server of its own (promote only) -> validated -> pointers -> moved -> every
server answers -> observed -> done. Each phase is written before the act that follows it, and each act can be repeated.
"""

import uuid
from collections.abc import Callable

from tasks.foundations.errors import InputError, NotServing, SlipwayError
from tasks.journal.event import Event, Kind
from tasks.journal.fold import ModelState, fold
from tasks.promotion.aliases import align
from tasks.promotion.attempt import Made, history_after, make, note, undo
from tasks.promotion.control import Control, Move, Order
from tasks.promotion.known import check_files, check_model, check_servers, check_version, has_files
from tasks.promotion.publish import History
from tasks.promotion.rules import check_expected, check_promotable, version_to_go_back_to
from tasks.promotion.settle import settle
from tasks.serving.answers import Validation


def promote(control: Control, model: str, version: int, order: Order) -> Move:
    """Put a version into production, on every serving kind that it was made for.

    Doing it twice is doing it once. What an earlier, killed process left is settled first.

    Args:
        control: where production is controlled from.
        model: name of the model.
        version: a version that the journal knows (or whose digest the order brings).
        order: who asks and on what terms.

    Raises:
        InputError: no such model or version, or a request id that meant another move.
        Refused: the version was rolled back, or has no passing record, and the order does not force it with a reason;
            its files were removed; or it failed its trial.
        NotServing: a server did not follow; it and all others were sent back and the attempt is closed as undone.
        Conflict: another process is moving the model, or production has changed since `expected_serial`.
        DigestMismatch: bundle, staged copy or journal are not what they must be.
        SlipwayError: something could not be written; the champion is as before and the attempt is closed as undone.
    """
    if order.digest is None:
        check_model(control, model)
    return _then_aligned(control, model, lambda: _promote(control, model, version, order))


def _promote(control: Control, model: str, version: int, order: Order) -> Move:
    with control.exclusive(model, f"{order.actor}'s promote of version {version}"):
        _, state, settled = _settled(control, model)
        if order.digest is None:
            check_version(state, model, version)
        if state.champion == version or _applied(state, order, "promote", version):
            return _nothing(model, "promote", state, f"{model} {version} is in production already.", settled)
        check_expected(state, order, model)
        check_promotable(state, order, model, version)
        return _carry_out(control, state, _intent(state, order, model, "promote", version), settled)


def rollback(control: Control, model: str, order: Order, to: int | None = None) -> Move:
    """Take the champion out of production and bring the version before it, or `to`, back.

    `rollback --to V` twice is once; plain `rollback` twice goes back twice. The version to go back to stands staged
    already: its copies are read once, then this is one small file a serving kind.

    Args:
        control: where production is controlled from.
        model: name of the model.
        order: who asks and on what terms.
        to: a version of the production history, None for the one before the champion.

    Raises:
        InputError: no such model or version, or a request id that meant another move.
        Refused: there is nothing to go back to, `to` is not in the production history, or its files were removed.
        NotServing: a server did not follow; it and all others were sent back and the attempt is closed as undone.
        Conflict: another process is moving the model, or production has changed since `expected_serial`.
        DigestMismatch: bundle or journal are not what they must be.
        SlipwayError: something could not be written; the champion is as before and the attempt is closed as undone.
    """
    check_model(control, model)
    return _then_aligned(control, model, lambda: _rollback(control, model, order, to))


def _rollback(control: Control, model: str, order: Order, to: int | None) -> Move:
    target = "the version before" if to is None else f"version {to}"
    with control.exclusive(model, f"{order.actor}'s rollback to {target}"):
        before, state, settled = _settled(control, model)
        if _applied(state, order, "rollback", to) or (to is not None and to == state.champion):
            message = f"{model} {state.champion} is in production already; nothing was rolled back."
            return _nothing(model, "rollback", state, message, settled)
        if to is None and state.champion is not None and _taken_back(before, state):
            message = f"{model} {before.champion} is out of production already: {state.champion} serves."
            return _nothing(model, "rollback", state, message, settled)
        version = version_to_go_back_to(state, model, to)
        check_expected(state, order, model)
        return _carry_out(control, state, _intent(state, order, model, "rollback", version), settled)


def _then_aligned(control: Control, model: str, move: Callable[[], Move]) -> Move:
    """Make a move, and let the registry follow it once the model's lock is free: a registry may hang."""
    try:
        made = move()
    except NotServing:
        align(control, model)  # the version is a challenger no more
        raise
    if not (made.moved or made.warnings):  # nor was anything settled on the way
        return made
    return made.model_copy(update={"warnings": (*made.warnings, *align(control, model))})


def _settled(control: Control, model: str) -> tuple[ModelState, ModelState, list[str]]:
    """The state as it was found, the state once what killed processes left is settled, and what was done for that."""
    events = control.journal.verify(model)
    before = fold(events)
    done = settle(control, model, events=events)
    now = fold(control.journal.events(model)) if done else before
    check_servers(control, model, now)
    return before, now, done


def _applied(state: ModelState, order: Order, kind: Kind, version: int | None) -> bool:
    """Whether the order's request id has already made its move."""
    earlier = state.attempts.get(order.request_id) if order.request_id else None
    if earlier is None:
        return False
    if earlier.kind != kind or version not in (None, earlier.version):
        raise InputError(
            f"Request id {order.request_id!r} already stands for the {earlier.kind} of version {earlier.version}. "
            "Use a new id for a new move."
        )
    return earlier.phase == "done"


def _taken_back(before: ModelState, now: ModelState) -> bool:
    """Whether settling has undone the promotion that a plain rollback was to take back: it must not go back further."""
    undone = now.moved is not None and now.moved.phase == "undone" and now.moved.kind == "promote"
    return undone and before.moved is not None and before.moved.phase != "undone" and before.champion != now.champion


def _intent(state: ModelState, order: Order, model: str, kind: Kind, version: int) -> Event:
    digest = state.digests.get(version, order.digest)
    if digest is None or order.digest not in (None, digest):
        raise InputError(f"{model} {version} was registered with digest {digest}, not {order.digest}.")
    return Event(
        model=model,
        attempt=order.request_id or uuid.uuid4().hex,
        kind=kind,
        phase="intent",
        version=version,
        from_version=state.champion,
        digest=digest,
        actor=order.actor,
        reason=f"forced: {order.reason}".strip() if order.force else order.reason,
        run=order.run,
    )


def _carry_out(control: Control, state: ModelState, draft: Event, settled: list[str]) -> Move:
    check_files(control, draft.model, state, draft.version, draft.digest)
    history = history_after(control, state, draft)
    if draft.kind == "promote":
        history.prove(draft.version)
    intent = control.journal.append(draft, state.last_serial)
    try:
        validation, made = _go_through(control, history, intent)
    except BaseException as error:
        _undo_after(control, intent, error)
        if isinstance(error, NotServing):
            raise NotServing(_undone_sentence(intent, error)) from error
        if isinstance(error, OSError):
            raise SlipwayError(f"{_undone_sentence(intent, error)} Check the disk's room and rights.") from error
        raise
    after = fold(control.journal.events(draft.model))
    move = _move(control, after, intent, made)
    return move.model_copy(update={"validation": tuple(validation), "warnings": (*settled, *made.warnings)})


def _go_through(control: Control, history: History, intent: Event) -> tuple[list[Validation], Made]:
    history.stage(intent.version)
    last = note(control, intent, "staged", intent.serial)
    validation = []
    if intent.kind == "promote" and control.validate:
        validation = history.validate(intent.version)
        last = note(control, intent, "validated", last.serial)
    return validation, make(control, history, intent, last.phase, last.serial)


def _undo_after(control: Control, intent: Event, error: BaseException) -> None:
    reason = f"{type(error).__name__}: {error}".partition("\n")[0]  # a server's log is for who gave the command
    try:
        undo(control, intent, reason)
    except (SlipwayError, OSError) as second:
        too = "for the same reason" if str(second) == str(error) else f"too ({second})"
        raise SlipwayError(
            f"The {intent.kind} of {intent.model} {intent.version} failed ({reason}), and undoing it failed {too}. "
            "Run `reconcile`: it finishes or undoes the move."
        ) from error


def _undone_sentence(intent: Event, error: Exception) -> str:
    still = f"version {intent.from_version} still serves" if intent.from_version else "nothing serves, as before"
    again = "try again"
    if intent.kind == "promote" and isinstance(error, NotServing):
        again = "promote it again with --force and --reason: it was in production for a moment"
    what = f"The {intent.kind} of {intent.model} {intent.version} failed"
    return f"{what}: {str(error).rstrip('.')}. It was undone: {still}. When that is mended, {again}."


def _move(control: Control, state: ModelState, intent: Event, made: Made) -> Move:
    before = f"version {intent.from_version}" if intent.from_version is not None else "nothing"
    if intent.kind == "promote":
        message = f"{intent.model} {intent.version} is in production; before it was {before}. {_servers(made)}"
    else:
        previous = state.previous
        below = "has nothing to go back to"
        if previous is not None:
            there = has_files(control, state.digests[previous])
            below = f"would go to {previous}" if there else f"cannot go to {previous}, whose files were removed"
        message = (
            f"{intent.model} is back from {before} to version {intent.version}. {_servers(made)} Another plain "
            f"rollback {below}."
        )
    return Move(
        model=intent.model,
        kind=intent.kind,
        version=intent.version,
        from_version=intent.from_version,
        moved=True,
        attempt=intent.attempt,
        message=message,
        servers=made.servers,
    )


def _servers(made: Made) -> str:
    count = len(made.servers)
    if not count:
        return "No server is running; it will be served when one starts."
    slowest = max(each.ms for each in made.servers)
    return f"{count} server{'s answer' if count > 1 else ' answers'} with it, after {slowest:.0f} ms."


def _nothing(model: str, kind: Kind, state: ModelState, message: str, settled: list[str]) -> Move:
    champion = state.champion
    if champion is None:
        raise SlipwayError(f"{message} But the journal names no champion of {model}. Look at `status`.")
    return Move(
        model=model,
        kind=kind,
        version=champion,
        from_version=champion,
        moved=False,
        attempt=None,
        message=message,
        warnings=tuple(settled),
    )
