"""Flow runs of releases that were killed: nobody told Prefect, whose UI would show them as running for ever."""

from collections.abc import Collection

PAGE = 200  # Prefect's own limit


LABEL = "slipway.release"


def note_release(release: str) -> None:
    """Let the present flow run bear the id of its release, so that it is found when that was killed."""
    from prefect.client.orchestration import get_client
    from prefect.context import FlowRunContext

    context = FlowRunContext.get()
    if context is not None and context.flow_run is not None:
        with get_client(sync_client=True) as client:
            client.update_flow_run_labels(context.flow_run.id, {LABEL: release})


def tell_prefect(releases: Collection[str]) -> None:
    """Set the flow runs of these releases, which run no more, to `Crashed`."""
    if not releases:
        return
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter
    from prefect.client.schemas.sorting import FlowRunSort
    from prefect.states import Crashed

    running = FlowRunFilter.model_validate({"state": {"type": {"any_": ["RUNNING"]}}})
    with get_client(sync_client=True) as client:
        for run in client.read_flow_runs(flow_run_filter=running, sort=FlowRunSort.START_TIME_DESC, limit=PAGE):
            if run.labels.get(LABEL) in releases:
                client.set_flow_run_state(run.id, Crashed(message="The release's process was killed."), force=True)
