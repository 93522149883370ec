"""Prefect's work pools: where the workers of a machine take their work from."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

TYPE = "process"


def has_pool(client: "SyncPrefectClient", name: str) -> bool:
    """Whether the server knows the pool."""
    from prefect.exceptions import ObjectNotFound

    try:
        client.read_work_pool(name)
    except ObjectNotFound:
        return False
    return True


def create_pool(client: "SyncPrefectClient", name: str) -> None:
    """Make a pool whose workers run flows as processes of their own."""
    from prefect.client.schemas.actions import WorkPoolCreate

    client.create_work_pool(WorkPoolCreate(name=name, type=TYPE))


def has_worker(client: "SyncPrefectClient", name: str) -> bool:
    """Whether a worker of the pool was heard of lately (Prefect's own rule: three of its heartbeats)."""
    return any(worker.status == "ONLINE" for worker in client.read_workers_for_work_pool(name))
