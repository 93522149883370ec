"""A Prefect flow of one empty task on the ephemeral server of an installation: what Prefect alone costs."""

from flows import prefect_server
from flows.home import home, prepare_prefect


def main() -> None:
    """Start as `release` does, run the flow, end."""
    place = home()
    prepare_prefect(place)
    server = prefect_server.start(place)
    from prefect import flow, task

    if server is not None:
        server.wait()

    @task
    def nothing() -> int:
        return 1

    @flow
    def trivial() -> int:
        return nothing()

    assert trivial() == 1


if __name__ == "__main__":
    main()
