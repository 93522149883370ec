"""What a move or a reconciliation would do, found out without changing anything: for every `--dry-run`."""

from tasks.foundations.errors import SlipwayError
from tasks.foundations.record import Record
from tasks.journal.event import Event, Kind
from tasks.journal.fold import ModelState, fold
from tasks.promotion.control import Control, Order
from tasks.promotion.known import check_files, check_model, check_servers, check_version, strangers
from tasks.promotion.publish import History, pointers, served
from tasks.promotion.rules import check_promotable, version_to_go_back_to
from tasks.promotion.settle import can_be_finished
from tasks.promotion.status import ask_servers, status
from tasks.serving.nodes import living


class Forecast(Record):
    """What would become of an order.

    Attributes:
        model: name of the model.
        kind: `promote` or `rollback`.
        version: the champion afterwards.
        from_version: the champion now, None if there is none.
        would_move: False if everything is already as asked.
        message: one sentence for a person.
        warnings: what would be done first.
    """

    model: str
    kind: Kind
    version: int
    from_version: int | None
    would_move: bool
    message: str
    warnings: tuple[str, ...] = ()


def forecast_promote(control: Control, model: str, version: int, order: Order) -> Forecast:
    """What `promote` would do; every byte of the version's bundle is read, as there.

    Raises:
        InputError, Refused, DigestMismatch: as `promote` would, but for the trial, which is not made.
    """
    check_model(control, model)
    state = _state(control, model)
    check_version(state, model, version)
    if state.champion == version:
        return _forecast(state, "promote", model, version, f"{model} {version} is in production already.")
    check_promotable(state, order, model, version)
    history = _history(control, model, state)
    check_files(control, model, state, version, state.digests[version])
    history.prove(version)
    kinds = ", ".join(history.publications(version)) or "nothing: its config has no `serving`"
    message = (
        f"{model} {version} would take the place of {_before(state)}, on {kinds}, once it has passed its trial. "
        f"{_followers(control, model)}"
    )
    return _forecast(state, "promote", model, version, message)


def forecast_rollback(control: Control, model: str, to: int | None = None) -> Forecast:
    """What `rollback` would do.

    Raises:
        InputError, Refused, DigestMismatch: as `rollback` would.
    """
    check_model(control, model)
    state = _state(control, model)
    if to is not None and to == state.champion:
        return _forecast(state, "rollback", model, to, f"{model} {to} is in production already.")
    version = version_to_go_back_to(state, model, to)
    check_files(control, model, state, version, state.digests[version])
    message = f"{model} would go back from {_before(state)} to version {version}. {_followers(control, model)}"
    return _forecast(state, "rollback", model, version, message)


def forecast_reconcile(control: Control, model: str | None = None) -> dict[str, list[str]]:
    """What `reconcile` would find, one sentence each, by model; of every model if none is named.

    Raises:
        InputError: no such model.
        DigestMismatch: the journal is not that of what is served.
    """
    if model is not None:
        check_model(control, model)
        return {model: _findings(control, model)}
    known = control.journal.models()
    unknown = {name: strangers(control, name) for name in served(control) if name not in known}
    return {name: _findings(control, name) for name in known} | unknown


def _findings(control: Control, model: str) -> list[str]:
    try:
        state = _state(control, model)
        wrong = _copies_and_pointers(control, model, state)
        servers = status(control, model, ask_servers(control, model)).servers
    except (SlipwayError, OSError) as error:
        return [str(error)]
    serials = {pointer.serial for pointer in pointers(control, model).values()}
    behind = [
        f"the server {each.url} {each.failed or f'serves version {each.version}'}; it would be told"
        for each in servers
        if each.failed or each.serial not in serials
    ]
    return [*map(_open_attempt, state.open_attempts), *wrong, *behind]


def _copies_and_pointers(control: Control, model: str, state: ModelState) -> list[str]:
    if state.moved is None:
        return []
    found = []
    now = pointers(control, model)
    history = _history(control, model, state)
    for kind, version in history.expected().items():
        if not history.is_whole(kind, version):
            found.append(f"{kind}: the copy of version {version} is missing or damaged and would be made again")
        if kind not in now or now[kind].version != version:
            points = f"version {now[kind].version}" if kind in now else "nothing"
            found.append(f"{kind}: points to {points} and would be pointed to version {version}")
    return found


def _state(control: Control, model: str) -> ModelState:
    state = fold(control.journal.verify(model))
    check_servers(control, model, state)
    return state


def _history(control: Control, model: str, state: ModelState) -> History:
    return History(control, model, state.stack, state.digests)


def _open_attempt(last: Event) -> str:
    end = "finished" if can_be_finished(last) or last.phase == "observed" else "undone"
    return (
        f"the {last.kind} of version {last.version} that {last.actor} began stopped after `{last.phase}`, unless it is "
        f"running; it would be {end}"
    )


def _before(state: ModelState) -> str:
    return f"version {state.champion}" if state.champion is not None else "nothing"


def _followers(control: Control, model: str) -> str:
    count = len(living(control.serving_root, model))
    return f"{count or 'No'} server{' is' if count == 1 else 's are'} running."


def _forecast(state: ModelState, kind: Kind, model: str, version: int, message: str) -> Forecast:
    return Forecast(
        model=model,
        kind=kind,
        version=version,
        from_version=state.champion,
        would_move=version != state.champion,
        message=message,
        warnings=tuple(map(_open_attempt, state.open_attempts)),
    )
