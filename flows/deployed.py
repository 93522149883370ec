"""Prefect's side of deployments: reading those that Slipway made, making and changing them."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flows.deployments import FLOWS, TAG, Cron, Deployment

if TYPE_CHECKING:
    from uuid import UUID

    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.responses import DeploymentResponse

PAGE = 200  # Prefect's own limit


@dataclass(frozen=True)
class Held:
    """A deployment as the server holds it.

    Attributes:
        id: its id there.
        content: what it says.
        active: whether its schedule runs; people pause schedules in the UI.
    """

    id: "UUID"
    content: Deployment
    active: bool


def held(client: "SyncPrefectClient") -> dict[str, Held]:
    """Name -> every deployment that Slipway made."""
    from prefect.client.schemas.filters import DeploymentFilter

    ours = DeploymentFilter.model_validate({"tags": {"all_": [TAG]}})
    found: list[DeploymentResponse] = []
    while page := client.read_deployments(deployment_filter=ours, limit=PAGE, offset=len(found)):
        found += page
    flows = {
        each.flow_id: client.read_flow(each.flow_id).name for each in {each.flow_id: each for each in found}.values()
    }
    held = [_parse(flows[each.flow_id], each) for each in found if flows[each.flow_id] in FLOWS]
    return {each.content.name: each for each in held}


def _parse(flow: str, there: "DeploymentResponse") -> Held:
    content = Deployment(
        flow=flow,
        model=there.name,
        entrypoint=there.entrypoint or "",
        description=there.description or "",
        tags=tuple(there.tags),
        parameters=there.parameters,
        form=there.parameter_openapi_schema or {},
        schedule=_cron(there),
        work_pool=there.work_pool_name or "",
    )
    return Held(there.id, content, all(each.active for each in there.schedules))


def _cron(there: "DeploymentResponse") -> Cron | None:
    """What somebody else has set, several times or another kind of schedule, differs from everything that is wanted."""
    from prefect.client.schemas.schedules import CronSchedule

    if not there.schedules:
        return None
    schedule = there.schedules[0].schedule
    if len(there.schedules) > 1 or not isinstance(schedule, CronSchedule):
        return Cron(cron="set by hand", timezone="")
    return Cron(cron=schedule.cron, timezone=schedule.timezone or "UTC")


def create(client: "SyncPrefectClient", wanted: Deployment) -> None:
    """Make a deployment."""
    from prefect.client.schemas.actions import DeploymentScheduleCreate

    client.create_deployment(
        flow_id=client.create_flow_from_name(wanted.flow),
        name=wanted.model,
        schedules=[DeploymentScheduleCreate(**_schedule(wanted.schedule, True))] if wanted.schedule else [],
        parameters=wanted.parameters,
        description=wanted.description,
        work_pool_name=wanted.work_pool,
        tags=list(wanted.tags),
        entrypoint=wanted.entrypoint,
        parameter_openapi_schema=wanted.form,
        enforce_parameter_schema=True,
    )


def update(client: "SyncPrefectClient", wanted: Deployment, there: Held, with_schedule: bool) -> None:
    """Change a deployment; a schedule that somebody paused stays paused."""
    from prefect.client.schemas.actions import DeploymentScheduleUpdate, DeploymentUpdate

    content: dict[str, Any] = {
        "parameters": wanted.parameters,
        "description": wanted.description,
        "work_pool_name": wanted.work_pool,
        "tags": list(wanted.tags),
        "entrypoint": wanted.entrypoint,
        "parameter_openapi_schema": wanted.form,
        "enforce_parameter_schema": True,
    }
    if with_schedule:
        schedules = [DeploymentScheduleUpdate(**_schedule(wanted.schedule, there.active))] if wanted.schedule else []
        content["schedules"] = schedules
    client.update_deployment(there.id, DeploymentUpdate(**content))


def _schedule(cron: Cron, active: bool) -> dict[str, Any]:
    from prefect.client.schemas.schedules import CronSchedule

    return {"schedule": CronSchedule(cron=cron.cron, timezone=cron.timezone), "active": active}
