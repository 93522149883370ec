"""`up`: PostgreSQL, MLflow, Prefect, a worker and the embedded server as processes of this machine, without containers.

They go on when the command ends. What runs is left as it is, so that `up` mends a stack of which something has died.
"""

import shlex
import signal
import subprocess
import time
from collections.abc import Iterable
from typing import Any

import click

from flows.home import home
from flows.postgresql import identity
from flows.services import Service, inherited
from flows.stack import MARK, PAUSE_S, Database, Stack, end, family, is_free, mark, shell_file, stack_lock
from flows.stack_plan import DOWN, RUNS, Plan, look, prepare
from tasks.foundations.checkout import CHECKOUT
from tasks.foundations.errors import InputError, SlipwayError
from tasks.foundations.files import write_whole
from tasks.foundations.locks import hold

START_S = 180.0
KILL_S = 5.0
MARK_S = 5.0
TAIL_LINES = 15


def start_stack(asked: Database | None) -> dict[str, Any]:
    """Start what does not run and wait until all answers; `text` is for people.

    Args:
        asked: the database; None takes the one that is used already, else PostgreSQL where it is installed.

    Raises:
        InputError: another database than the one that is used already.
        SlipwayError: a service ends, or does not answer in time; the message shows the end of its log.
    """
    place = home()
    with hold(stack_lock(place), "up", on_wait=_say):
        plan = prepare(place, asked)
        started: list[str] = []
        for stage in range(3):
            here = [service for service in plan.services if service.stage == stage]
            started += [service.name for service in here if _start(plan, service)]
            _wait(plan, here)
            if plan.postgresql and stage == 0:
                plan.postgresql.make_databases(plan.stack.ports["postgresql"])
        write_whole(shell_file(place), "".join(f"{line}\n" for line in _lines(plan)))
    rows = [_row(plan, service, RUNS) for service in plan.services]
    source = f"\nOr, in a shell: . {shlex.quote(str(shell_file(place)))}"
    text = [*_table(rows, plan), "", *_lines(plan), source]
    return {**_content(plan, rows), "started": started, "exit_code": 0, "text": "\n".join(text)}


def show_stack(asked: Database | None = None) -> dict[str, Any]:
    """What runs and answers, without starting anything; the exit code is 1 unless all of it does.

    Raises:
        InputError: a database was asked for, which only a start can take.
    """
    if asked:
        raise InputError("--status starts nothing, so --database means nothing with it. Leave one of them out.")
    place = home()
    stack = Stack.read(place)
    if stack is None:
        sentence = f"Nothing was started in {place.root} yet. Start it: python -m flows up."
        return {"services": [], "error": sentence, "exit_code": 1}
    plan = look(place, stack)
    rows = [_row(plan, service, plan.state(service)) for service in plan.services]
    answer = {**_content(plan, rows), "exit_code": 0, "text": "\n".join(_table(rows, plan))}
    missing = [f"{row['name']} is {row['state']}" for row in rows if row["state"] != RUNS]
    if missing:
        advice = "`up` starts what does not run; what goes on not answering wants `down` first."
        answer |= {"error": f"{', '.join(missing)}. {advice}", "exit_code": 1}
    return answer


def _start(plan: Plan, service: Service) -> bool:
    if plan.stack.leader(plan.home, service.name):
        return False
    _free_port(plan, service)
    _say(f"starting {service.name}")
    plan.home.logs.mkdir(exist_ok=True)
    with plan.log(service.name).open("a") as log:
        process = subprocess.Popen(  # noqa: S603 - our own commands
            service.command,
            env={**inherited(), **service.environment, MARK: mark(plan.home, service.name)},
            cwd=CHECKOUT if service.account is None else "/",
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            **identity(service.account),
        )
    plan.stack.processes[service.name] = process.pid
    plan.stack.write(plan.home)
    _wait_for_mark(plan, service, process)
    return True


def _wait_for_mark(plan: Plan, service: Service, process: "subprocess.Popen[bytes]") -> None:
    """For a moment after its start the system shows no environment of a process, so it would pass for ended."""
    deadline = time.monotonic() + MARK_S
    while process.poll() is None and not plan.stack.leader(plan.home, service.name) and time.monotonic() < deadline:
        time.sleep(0.01)


def _free_port(plan: Plan, service: Service) -> None:
    """End what a killed service has left on its port."""
    port = plan.stack.ports.get(service.name)
    if port is None or is_free(port):
        return
    end(family(plan.home, service.name), signal.SIGKILL, KILL_S)
    deadline = time.monotonic() + KILL_S
    while not is_free(port):
        if time.monotonic() > deadline:
            raise SlipwayError(
                f"Port {port} of {service.name} is taken by another process. End that one; or `python -m flows down` "
                "and `up`, which takes another port."
            )
        time.sleep(PAUSE_S)


def _wait(plan: Plan, here: Iterable[Service]) -> None:
    deadline = time.monotonic() + START_S
    for service in here:
        while (state := plan.state(service)) != RUNS:
            if state == DOWN or time.monotonic() > deadline:
                how = "ended" if state == DOWN else f"does not answer within {START_S:g} s"
                raise SlipwayError(
                    f"{service.name} {how}. The end of its log, {plan.log(service.name)}:\n{_tail(plan, service)}\n"
                    "What else was started goes on: `up` again once that is put right, or `down`."
                )
            time.sleep(PAUSE_S)


def _tail(plan: Plan, service: Service) -> str:
    lines = plan.log(service.name).read_text(errors="replace").splitlines()
    return "\n".join(f"  {line}" for line in lines[-TAIL_LINES:]) or "  (empty)"


def _row(plan: Plan, service: Service, state: str) -> dict[str, Any]:
    pid = None if state == DOWN else plan.stack.processes[service.name]
    log = str(plan.log(service.name))
    return {"name": service.name, "state": state, "address": service.address, "pid": pid, "log": log}


def _content(plan: Plan, rows: list[dict[str, Any]]) -> dict[str, Any]:
    notes = [plan.stack.note] if plan.stack.note else []
    return {"services": rows, "database": plan.stack.database, "environment": plan.exports, "notes": notes}


def _table(rows: list[dict[str, Any]], plan: Plan) -> list[str]:
    cells = [("service", "state", "address", "pid", "log")]
    cells += [(row["name"], row["state"], row["address"], str(row["pid"] or "-"), row["log"]) for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells]
    database = {"postgresql": "PostgreSQL", "sqlite": f"SQLite under {plan.home.root}"}[plan.stack.database]
    notes = [f"note: {plan.stack.note}"] if plan.stack.note else []
    return [*lines, f"Prefect, MLflow and the journal keep their rows in {database}.", *notes]


def _lines(plan: Plan) -> list[str]:
    # PostgreSQL's clients prefer a password of the environment to the file.
    first = ["unset PGPASSWORD"] if plan.postgresql else []
    return first + [f"export {name}={shlex.quote(value)}" for name, value in plan.exports.items()]


def _say(sentence: str) -> None:
    click.echo(sentence, err=True)
