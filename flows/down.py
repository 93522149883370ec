"""`down`: end what `up` has started, those first that use the others; what they have written stays."""

import signal
from typing import Any

import click

from flows.home import Home, home
from flows.stack import Stack, end, family, shell_file, stack_lock
from tasks.foundations.errors import SlipwayError
from tasks.foundations.locks import hold

ORDER = {  # by which signal each ends in order; for SIGTERM PostgreSQL would wait for its clients
    "worker": signal.SIGTERM,
    "server": signal.SIGTERM,
    "prefect": signal.SIGTERM,
    "mlflow": signal.SIGTERM,
    "postgresql": signal.SIGINT,
}
PATIENCE_S = 20.0
REST_S = 5.0


def end_stack() -> dict[str, Any]:
    """End every service and all that it has begun; `text` is for people.

    Raises:
        SlipwayError: a process lives on even after SIGKILL.
    """
    place = home()
    with hold(stack_lock(place), "down", on_wait=lambda sentence: click.echo(sentence, err=True)):
        stack = Stack.read(place)
        shell_file(place).unlink(missing_ok=True)
        # Also where the file was lost: processes bear a mark.
        ended = [name for name in ORDER if _end(place, stack or Stack(database="sqlite"), name)]
        if stack:
            stack.processes.clear()
            stack.write(place)
    text = f"Ended {', '.join(ended)}." if ended else "Nothing was running."
    return {"ended": ended, "exit_code": 0, "text": text}


def _end(place: Home, stack: Stack, name: str) -> bool:
    """Whether there was anything: first the process itself, which ends its own, then what is left, then by force."""
    leader = stack.leader(place, name)
    if leader and name == "worker":  # it would leave its flow runs no time to clean up, nor tell Prefect how they ended
        end(leader.children(), signal.SIGTERM, PATIENCE_S)
    left = end([leader] if leader else [], ORDER[name], PATIENCE_S)
    rest = {*left, *family(place, name)}
    left = end(list(rest), signal.SIGTERM, REST_S)
    left = end(left, signal.SIGKILL, REST_S)
    if left:
        raise SlipwayError(f"{name}: process {left[0].pid} lives on after SIGKILL. End it, then run `down` again.")
    return bool(leader or rest)
