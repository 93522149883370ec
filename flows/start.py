"""`release` on the command line: checks first, workers and Prefect side by side, then the answer from release.json."""

from typing import Any

from flows import notify, prefect_server
from flows.config import Plan, load
from flows.desk import desk_of
from flows.forecast import forecast
from flows.home import Home, home, prepare_prefect
from flows.overrides import overridden
from tasks.foundations.errors import InputError, SlipwayError
from tasks.foundations.imports import importing
from tasks.reports import terminal
from tasks.reports.summary import FILE, ReleaseSummary


def run_release(config: str, *, promote: bool, reason: str, dry_run: bool, overrides: dict[str, Any]) -> dict[str, Any]:
    """Run the release flow and return what `--json` prints.

    Args:
        config: path of the YAML file.
        promote: whether a version that passes goes to production.
        reason: why, for the journal.
        dry_run: only say what would be done.
        overrides: see `flows.overrides`.

    Raises:
        InputError: the config is wrong, or needs a Prefect server; nothing was started.
        SlipwayError: it failed before there was anything to report.
    """
    plan, _ = overridden(load(config), overrides)
    if dry_run:
        return forecast(plan, promote)
    notify.check()
    place = home()
    prepare_prefect(place)
    server = _start_server(plan, place)
    failure: SlipwayError | None = None
    with desk_of(plan) as desk:
        desk.workers.warm()
        with importing():
            from flows.champion import find_champion
            from flows.gate import prepare_judging
            from flows.reference import begin_reference
            from flows.release import release as flow

        find_champion(desk)  # nothing is begun on a journal that was tampered with, or is not that of what is served
        begin_reference(desk)
        prepare_judging(desk)
        if server is not None:
            server.wait()
        try:
            flow(plan.path, promote=promote, reason=reason, **overrides)
        except SlipwayError as error:
            failure = error
        except Exception as error:  # noqa: BLE001 - raised again unless it is Prefect's
            failure = _of_prefect(error)
    folder = desk.folder
    if not (folder / FILE).is_file():
        raise failure or SlipwayError(f"The release left no {folder / FILE}. Run again with --debug.")
    return _answer(ReleaseSummary.read(folder), failure)


def _start_server(plan: Plan, place: Home) -> prefect_server.Server | None:
    """The release's own server, None where one is named: no other machine would reach the former."""
    far = {name: target.work_pool for name, target in plan.config.targets.items() if target.work_pool}
    if far and not prefect_server.is_named():
        name, pool = next(iter(far.items()))
        raise InputError(
            f"targets.{name} is measured by a worker of the work pool {pool!r}, and no Prefect server is named that it "
            "takes work from. Start one (`prefect server start`, or `python -m flows up`) and set PREFECT_API_URL, "
            "here and on that machine."
        )
    return prefect_server.start(place)


def _answer(summary: ReleaseSummary, failure: SlipwayError | None) -> dict[str, Any]:
    answer = {**summary.to_json(), "text": f"\n{terminal.as_text(summary)}"}
    if failure is not None and (summary.decision.startswith("failed") or not summary.exit_code):
        answer["error"] = str(failure)
    return answer


def _of_prefect(error: Exception) -> SlipwayError:
    """What an error of Prefect's client means; its server fails, for example, on the same full disk as a step.

    Raises:
        Exception: it is not Prefect's.
    """
    if "Failed to reach API" in str(error):
        return SlipwayError(
            f"{str(error).rstrip('.')}. Start that server, or unset PREFECT_API_URL: then a release starts one of its "
            "own. Nothing was changed."
        )
    if type(error).__module__.partition(".")[0] not in ("prefect", "httpx", "httpcore"):
        raise error
    earlier: BaseException | None = error
    while earlier is not None:
        if isinstance(earlier, SlipwayError):
            return earlier
        earlier = earlier.__cause__ or earlier.__context__
    first = (str(error).splitlines() or [type(error).__name__])[0]
    return SlipwayError(
        f"Prefect's server does not answer as it should: {first}. Is its disk full? Its log is logs/prefect-server.log "
        "under SLIPWAY_HOME, unless PREFECT_API_URL names a server. What was done stands; run the same command again."
    )
