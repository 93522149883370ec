"""`--dry-run`: what a release, a move or a reconciliation would do, without Prefect, worker processes or any change."""

from typing import Any

from flows.actor import actor
from flows.check import describe
from flows.config import Plan
from flows.control import open_control
from flows.home import home
from flows.storage import open_store
from tasks.journal.fold import fold
from tasks.promotion.control import Control, Order
from tasks.promotion.forecast import Forecast, forecast_promote, forecast_reconcile, forecast_rollback
from tasks.promotion.known import check_servers


def forecast(plan: Plan, promote: bool) -> dict[str, Any]:
    """What a release of a config would do; `text` is for people.

    Raises:
        DigestMismatch: the journal is not that of what is served.
    """
    config = plan.config
    control = _control()
    state = fold(control.journal.verify(config.name))
    check_servers(control, config.name, state)
    now = f"version {state.champion} is in production" if state.champion is not None else "nothing is in production"
    then = "takes its place" if promote else "waits as challenger"
    text = f"{describe(plan)}\n{config.name}: {now}; a version of winners that pass {then}. Nothing was changed."
    return {
        "model": config.name,
        "config": plan.path,
        "candidates": list(config.chains()),
        "targets": list(config.targets),
        "previous": state.champion,
        "promote": promote,
        "dry_run": True,
        "exit_code": 0,
        "text": text,
    }


def forecast_move(model: str, version: int, *, reason: str, force: bool) -> dict[str, Any]:
    """What `promote` would do.

    Raises:
        SlipwayError: as `promote` would.
    """
    return _answer(forecast_promote(_control(), model, version, Order(actor=actor(), reason=reason, force=force)))


def forecast_way_back(model: str, to: int | None) -> dict[str, Any]:
    """What `rollback` would do.

    Raises:
        SlipwayError: as `rollback` would.
    """
    return _answer(forecast_rollback(_control(), model, to))


def forecast_repairs(model: str | None) -> dict[str, Any]:
    """What `reconcile` would find and do, but for MLflow's aliases, which are not asked for.

    Raises:
        InputError: no such model.
    """
    found = forecast_reconcile(_control(), model)
    lines = [f"{name}: {sentence}" for name, sentences in found.items() for sentence in sentences]
    text = "\n".join(lines) or "everything is as the journal says"
    return {"models": found, "dry_run": True, "exit_code": 0, "text": text}


def _control() -> Control:
    place = home()
    return open_control(place, open_store(place))


def _answer(found: Forecast) -> dict[str, Any]:
    first = [f"first: {warning}" for warning in found.warnings]
    text = "\n".join([*first, f"{found.message} Nothing was changed."])
    return {**found.model_dump(mode="json"), "dry_run": True, "exit_code": 0, "text": text}
