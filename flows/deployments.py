"""What Prefect is to hold for a config: one deployment a flow. Plain values, so that they can be compared and shown."""

from pathlib import Path
from typing import Any

from flows.config import Plan
from flows.forms import form
from flows.home import config_name
from tasks.foundations.record import Record

TAG = "slipway"
FLOWS = ("release", "promote", "rollback", "reconcile")


class Cron(Record):
    """One time that returns."""

    cron: str
    timezone: str


class Deployment(Record):
    """One flow for one model, as Prefect holds it.

    Attributes:
        flow: name of the flow.
        model: name of the deployment: the model's.
        entrypoint: the flow as a module path, which holds wherever Slipway is installed.
        description: for people, Markdown.
        tags: of the deployment and of its runs.
        parameters: what runs start with unless the form says otherwise.
        form: JSON schema of the form.
        schedule: when it runs by itself.
        work_pool: whose workers run it.
    """

    flow: str
    model: str
    entrypoint: str
    description: str
    tags: tuple[str, ...]
    parameters: dict[str, Any]
    form: dict[str, Any]
    schedule: Cron | None
    work_pool: str

    @property
    def name(self) -> str:
        """As Prefect shows it: `release/digits`."""
        return f"{self.flow}/{self.model}"


def deployments_of(plan: Plan) -> list[Deployment]:
    """The deployments of a config."""
    # Prefect's flows are imported by who deploys only: `check` reads configs too, and must not wait for that.
    from flows.promote import promote
    from flows.reconcile import reconcile
    from flows.release import release
    from flows.rollback import rollback

    config = plan.config
    name = config_name(Path(plan.path))
    schedule = config.schedule
    crons = {"release": schedule.cron, "reconcile": schedule.reconcile} if schedule else {}
    found = []
    for flow in (release, promote, rollback, reconcile):
        key, value = ("config", name) if flow.name == "release" else ("model", config.name)
        cron = crons.get(flow.name)
        found.append(
            Deployment(
                flow=flow.name,
                model=config.name,
                entrypoint=f"flows.{flow.name}.{flow.name}",
                description=_description(flow.name, plan, name),
                tags=(TAG, config.name),
                parameters={key: value},
                form=form(flow, {key: [value]}),
                schedule=Cron(cron=cron, timezone=schedule.timezone) if schedule and cron else None,
                work_pool=config.work_pool,
            )
        )
    return found


def differences(wanted: Deployment, there: Deployment) -> list[str]:
    """What would change, one line each: `schedule: none -> 0 3 * * 1 UTC`."""
    return [
        f"{field}: {_shown(field, before)} -> {_shown(field, after)}" if field not in ("form", "description") else field
        for field in Deployment.model_fields
        if (before := getattr(there, field)) != (after := getattr(wanted, field))
    ]


def _shown(field: str, value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, Cron):
        return f"{value.cron} {value.timezone}".rstrip()
    if field == "tags":
        return ", ".join(value)
    return str(value)


def _description(flow: str, plan: Plan, name: str) -> str:
    config = plan.config
    candidates = ", ".join(config.chains())
    targets = ", ".join(config.targets)
    serving = ", ".join(place.kind for place in config.serving) or "nowhere"
    texts = {
        "release": f"Take **{config.name}** from `{name}` to production.\n\n"
        f"- candidates: {candidates}\n- targets: {targets}\n- gates: {len(config.gates)}\n- served by: {serving}\n\n"
        "The form's values hold for one run; empty ones are the config's.",
        "promote": f"Put a version of **{config.name}** that passed its gates in production. `Dry run` says what it "
        "would replace.",
        "rollback": f"Put the version of **{config.name}** before, or an earlier one, back in production: about a "
        "second, once a worker has started it.",
        "reconcile": f"Finish or undo what a killed process left of **{config.name}**, and mend copies, pointers, "
        "servers and MLflow's aliases. Harmless where nothing is wrong.",
    }
    return texts[flow]
