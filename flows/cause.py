"""Who or what started the present flow run: for its name in the UI, and for the journal.

Prefect's open-source server knows no users, but it knows schedules and automations, and its UI says when it was it.
"""

import os
from functools import cache
from typing import Any
from uuid import UUID

from flows.actor import actor

UI = "Prefect UI"
CAUSES = {"SCHEDULE": "schedule", "AUTOMATION": "automation"}
MOST_CHARACTERS = 80  # of a reason, in a run's name


def run_name(what: str, reason: str) -> str:
    """Name of the present flow run: `promote digits 2 (Prefect UI: looks good)`."""
    short = reason if len(reason) <= MOST_CHARACTERS else f"{reason[:MOST_CHARACTERS].rstrip()}..."
    return f"{what} ({': '.join(filter(None, [cause(), ' '.join(short.split())]))})"


def parameters() -> dict[str, Any]:
    """Parameters of the present flow run, for the function that names it."""
    from prefect.context import FlowRunContext

    context = FlowRunContext.get()
    return dict(context.parameters or {}) if context else {}


def cause() -> str:
    """What started the present flow run: schedule, automation, Prefect UI, API, CI or command line."""
    run = _run()
    if run is None or run.deployment_id is None:
        return "CI" if os.environ.get("CI", "").lower() in ("1", "true") else "command line"
    if run.auto_scheduled:
        return CAUSES["SCHEDULE"]
    if run.created_by is not None and run.created_by.type in CAUSES:
        return CAUSES[run.created_by.type]
    said = _first_message(run.id)
    return UI if said == "" or UI in (said or "") else "API"


def run_actor() -> str:
    """Who acts, for the journal: as on the command line; of a deployment's run, what started it."""
    run = _run()
    if run is None or run.deployment_id is None:
        return actor()
    named = os.environ.get("SLIPWAY_ACTOR")
    return f"{named} ({cause()})" if named else cause()


def run_id() -> str | None:
    """Id of the present flow run, for the journal."""
    run = _run()
    return str(run.id) if run is not None else None


def _run() -> Any:
    from prefect.context import FlowRunContext

    context = FlowRunContext.get()
    return context.flow_run if context else None


@cache
def _first_message(run: UUID) -> str | None:
    """What was said when the run was created: its UI's `Quick run` names itself, its form sends an empty message."""
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        states = client.read_flow_run_states(run)
    return min(states, key=lambda state: state.timestamp).message if states else None
