"""`deploy`: make what Prefect's server holds what the configs say, and nothing else; twice is once."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flows.config import Plan, load, written_name
from flows.deployed import Held, create, held, update
from flows.deployments import Deployment, deployments_of, differences
from flows.home import config_path, home, prepare_prefect
from flows.work_pools import TYPE, create_pool, has_pool
from tasks.foundations.checkout import CHECKOUT
from tasks.foundations.errors import InputError, SlipwayError

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient


@dataclass
class Difference:
    """What the server has to change.

    Attributes:
        created: deployments that it does not hold.
        updated: those that it holds otherwise, with what differs.
        removed: those whose config is gone.
        pools: work pools that it does not have.
        unchanged: names of those that are as the configs say.
    """

    created: list[Deployment] = field(default_factory=list)
    updated: list[tuple[Deployment, list[str]]] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    pools: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)

    @property
    def lines(self) -> list[str]:
        """For people: `+` is new, `~` changes, `-` goes."""
        return [
            *(f"+ work pool {name} ({TYPE})" for name in self.pools),
            *(f"+ {each.name}{_when(each)}" for each in self.created),
            *(f"~ {each.name}: {'; '.join(changes)}" for each, changes in self.updated),
            *(f"- {name}" for name in self.removed),
        ]


def deploy_configs(configs: Sequence[str], *, dry_run: bool) -> dict[str, Any]:
    """Create, change and remove deployments; `text` is for people.

    Args:
        configs: paths of configs; none means every one in `configs/` of the checkout.
        dry_run: only say what would change.

    Raises:
        InputError: a config is wrong, two have the same name, or no server is named; nothing was changed.
        SlipwayError: the server does not answer.
    """
    plans, notes = _read(configs or _all())
    with _server() as client:
        wanted = [each for plan in plans for each in deployments_of(plan)]
        _check_crons(wanted)
        there = held(client)
        difference = _compare(client, wanted, there, _gone(plans, there))
        if not dry_run:
            _carry_out(client, difference, there)
    return _answer(difference, len(wanted), notes, dry_run)


def _answer(difference: Difference, count: int, notes: list[str], dry_run: bool) -> dict[str, Any]:
    summary = f"{count} deployments are as the configs say." if not difference.lines else ""
    if dry_run:
        summary = summary or "Nothing was changed."
    return {
        "created": [each.name for each in difference.created],
        "updated": {each.name: changes for each, changes in difference.updated},
        "removed": difference.removed,
        "unchanged": difference.unchanged,
        "work_pools": difference.pools,
        "dry_run": dry_run,
        "notes": notes,
        "exit_code": 0,
        "text": "\n".join(filter(None, [*(f"note: {note}" for note in notes), *difference.lines, summary])),
    }


def _when(deployment: Deployment) -> str:
    schedule = deployment.schedule
    return f"  {schedule.cron} {schedule.timezone}" if schedule else ""


def _all() -> list[str]:
    found = sorted(str(path) for path in (CHECKOUT / "configs").glob("*.yaml"))
    if not found:
        raise InputError(f"{CHECKOUT / 'configs'} holds no *.yaml. Name the configs to deploy.")
    return found


def _read(paths: Iterable[str]) -> tuple[list[Plan], list[str]]:
    """The plans, and notes on what they name and this machine does not have: only the workers' machine needs it."""
    plans: dict[str, Plan] = {}
    notes = []
    for path in paths:
        try:
            plan = load(path)
        except InputError as missing:
            plan = load(path, with_files=False)
            notes += [f"{line} It must be there where it is run." for line in str(missing).splitlines()]
        twin = plans.setdefault(plan.config.name, plan)
        if twin.path != plan.path:
            raise InputError(f"{twin.path} and {plan.path} are both named {plan.config.name}. Rename one.")
    return list(plans.values()), notes


@contextmanager
def _server() -> "Iterator[SyncPrefectClient]":
    prepare_prefect(home())
    from prefect.client.orchestration import get_client
    from prefect.exceptions import PrefectHTTPStatusError
    from prefect.settings import get_current_settings

    address = get_current_settings().api.url
    if not address:
        raise InputError(
            "No Prefect server is named. Start one (`prefect server start`) and set PREFECT_API_URL, like "
            "http://127.0.0.1:4200/api."
        )
    import httpx

    try:
        with get_client(sync_client=True) as client:
            yield client
    except PrefectHTTPStatusError as error:
        raise SlipwayError(f"Prefect's server at {address} refused: {error}. What was done before stands.") from error
    except (httpx.HTTPError, RuntimeError) as error:
        raise SlipwayError(
            f"Prefect's server at {address} does not answer ({str(error) or type(error).__name__}). Start it, or "
            "correct PREFECT_API_URL. Running `deploy` again finishes what was begun."
        ) from error


def _check_crons(wanted: list[Deployment]) -> None:
    """Prefect reads schedules a little differently; what it would refuse is said before anything is changed."""
    from prefect.client.schemas.schedules import CronSchedule

    for each in wanted:
        if each.schedule:
            try:
                CronSchedule(**each.schedule.model_dump())
            except ValueError as error:
                raise InputError(f"{each.name}: Prefect cannot read {each.schedule.cron!r}: {error}") from error


def _gone(plans: list[Plan], held: dict[str, Held]) -> list[str]:
    """Models whose config is not there any more, or bears another name."""
    wanted = {plan.config.name for plan in plans}
    models = {each.content.model for each in held.values()} - wanted
    return sorted(model for model in models if _is_gone(model, held.get(f"release/{model}")))


def _is_gone(model: str, release: Held | None) -> bool:
    """Only what is known to be gone is: a file in another machine's folder, or one that is being edited, is not."""
    if release is None:
        return False
    path = config_path(release.content.parameters.get("config", ""))
    if not path.is_file():
        return path.parent.is_dir()
    return written_name(path) not in (model, None)


def _compare(
    client: "SyncPrefectClient", wanted: list[Deployment], held: dict[str, Held], gone: list[str]
) -> Difference:
    difference = Difference(removed=sorted(name for name, each in held.items() if each.content.model in gone))
    for each in wanted:
        there = held.get(each.name)
        changes = differences(each, there.content) if there else []
        if there is None:
            difference.created.append(each)
        elif changes:
            difference.updated.append((each, changes))
        else:
            difference.unchanged.append(each.name)
    difference.pools = [pool for pool in sorted({each.work_pool for each in wanted}) if not has_pool(client, pool)]
    return difference


def _carry_out(client: "SyncPrefectClient", difference: Difference, held: dict[str, Held]) -> None:
    for pool in difference.pools:
        create_pool(client, pool)
    for each in difference.created:
        create(client, each)
    for each, changes in difference.updated:
        update(client, each, held[each.name], any(change.startswith("schedule:") for change in changes))
    for name in difference.removed:
        client.delete_deployment(held[name].id)
