"""The waiting line alone: order, limits, deadlines, batches; on a real model, without sockets."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from world import ROWS, WIDTH, ServingFolder, heavy

from tasks.serving.served import Batching, Served
from tasks.serving.server.line import Line
from tasks.serving.server.rejected import Rejected
from tasks.serving.server.resident import Resident, load


@pytest.fixture
def resident(folder: ServingFolder) -> Resident:
    folder.stage(2)
    return load(folder.base, folder.point(1, 2))


@pytest.fixture
def slow(folder: ServingFolder) -> Resident:
    """A call takes some milliseconds, so it is made in a thread."""
    folder.stage(3, **heavy(600))
    found = load(folder.base, folder.point(1, 3))
    assert found.run_s > 0.001
    return found


class Ran:
    """What was called, in order."""

    def __init__(self) -> None:
        self.rows: list[int] = []

    def __call__(self, seconds: float, rows: int) -> None:
        assert seconds > 0
        self.rows.append(rows)


def line_of(ran: Ran, **served: Any) -> Line:
    line = Line(ThreadPoolExecutor(2), ran)
    line.served = Served(**served)
    return line


def ask(line: Line, resident: Resident, rows: Any = ROWS[:1], within_s: float = 10.0) -> Any:
    return line.run(resident, {"x": np.asarray(rows, np.float32)}, time.monotonic() + within_s)


async def gather(*work: Any) -> list[Any]:
    return await asyncio.gather(*work, return_exceptions=True)


def reasons(answers: list[Any]) -> list[str]:
    return [answer.reason if isinstance(answer, Rejected) else "ok" for answer in answers]


@pytest.mark.parametrize("kind", ["resident", "slow"])
def test_a_burst_beyond_the_queue_is_refused_at_once_and_the_rest_is_answered(
    request: pytest.FixtureRequest, kind: str
) -> None:
    model, ran = request.getfixturevalue(kind), Ran()
    line = line_of(ran, queue=4)

    answers = asyncio.run(gather(*(ask(line, model, ROWS[i : i + 1]) for i in range(10))))

    answered = 5 if kind == "resident" else 4  # the first is run at once where that is a matter of microseconds
    assert reasons(answers) == ["ok"] * answered + ["overload"] * (10 - answered)
    assert answers[-1].retry_after_s == 1 and "4 requests wait, at most 4 may" in answers[-1].message
    for i in range(answered):
        np.testing.assert_allclose(answers[i]["y"], model.version * ROWS[i : i + 1])
    assert len(line) == 0 and model.active == 0


def test_requests_are_run_in_the_order_they_came(resident: Resident) -> None:
    order: list[int] = []

    async def numbered(line: Line, number: int) -> None:
        await ask(line, resident)
        order.append(number)

    line = line_of(Ran(), queue=64)
    asyncio.run(gather(*(numbered(line, number) for number in range(20))))

    assert order == list(range(20))


@pytest.mark.parametrize("batching", [None, Batching(max_size=8)])
def test_what_cannot_be_answered_in_time_is_not_run(resident: Resident, batching: Batching | None) -> None:
    ran = Ran()
    line = line_of(ran, batching=batching)

    answers = asyncio.run(gather(ask(line, resident, within_s=-0.001), ask(line, resident)))

    assert reasons(answers) == ["overload", "ok"]
    assert ran.rows == [1]


def test_a_deadline_that_passes_in_the_line_is_told(slow: Resident) -> None:
    ran = Ran()
    line = line_of(ran, queue=100)

    answers = asyncio.run(gather(*(ask(line, slow, within_s=slow.run_s * 8) for _ in range(100))))

    assert {"ok", "overload"} <= set(reasons(answers)) <= {"ok", "overload", "deadline"}
    assert len(ran.rows) < 100


def test_one_call_of_half_a_minute_does_not_have_what_comes_after_it_refused(resident: Resident) -> None:
    line = line_of(Ran())
    line._learn(30.0, resident.run_s, 1)

    answers = asyncio.run(gather(*(ask(line, resident, within_s=0.5) for _ in range(4))))

    assert reasons(answers) == ["ok"] * 4


def test_a_line_that_runs_nothing_because_calls_were_slow_tries_again(resident: Resident) -> None:
    line = line_of(Ran())
    line._slower = 1e6  # as after calls of half a minute

    async def two() -> list[Any]:
        return await gather(ask(line, resident, within_s=-1), ask(line, resident, within_s=0.5))

    answers = [asyncio.run(two())[1] for _ in range(60)]

    assert reasons(answers)[0] == "overload" and reasons(answers)[-1] == "ok"


def test_refusals_do_not_make_a_busy_line_forget_that_calls_are_slow(resident: Resident) -> None:
    """What is refused says nothing about what is run."""
    line = line_of(Ran())
    for _ in range(50):
        line._learn(3 * resident.run_s, resident.run_s, 1)

    answers = asyncio.run(gather(*(ask(line, resident, within_s=-1) for _ in range(20))))

    assert reasons(answers) == ["overload"] * 20
    assert line._slower > 2.5


def test_batching_runs_together_what_waits_and_gives_each_its_own(resident: Resident) -> None:
    ran = Ran()
    line = line_of(ran, batching=Batching(max_size=6))

    parts = [ROWS[0:1], ROWS[1:3], ROWS[3:5], ROWS[5:9]]
    answers = asyncio.run(gather(*(ask(line, resident, rows) for rows in parts)))

    assert ran.rows == [5, 4]
    for rows, answer in zip(parts, answers, strict=True):
        np.testing.assert_allclose(answer["y"], 2 * rows)


def test_a_request_larger_than_a_batch_is_run_by_itself(resident: Resident) -> None:
    ran = Ran()
    line = line_of(ran, batching=Batching(max_size=4))

    answers = asyncio.run(gather(ask(line, resident, ROWS[:1]), ask(line, resident, ROWS), ask(line, resident)))

    assert ran.rows == [1, 16, 1]
    assert reasons(answers) == ["ok"] * 3


def test_a_batch_waits_for_its_delay_or_until_it_is_full(resident: Resident) -> None:
    ran = Ran()

    async def two_waves() -> list[Any]:
        line = line_of(ran, batching=Batching(max_size=3, max_delay_ms=200))
        first = asyncio.create_task(ask(line, resident))
        await asyncio.sleep(0.02)
        assert ran.rows == []
        rest = [asyncio.create_task(ask(line, resident)) for _ in range(2)]
        await asyncio.gather(first, *rest)
        assert ran.rows == [3]
        await ask(line, resident)
        return ran.rows

    assert asyncio.run(two_waves()) == [3, 1]


def test_a_batch_that_is_full_waits_no_longer(resident: Resident) -> None:
    async def filled() -> float:
        line, begin = line_of(Ran(), batching=Batching(max_size=3, max_delay_ms=900)), time.monotonic()
        first = asyncio.create_task(ask(line, resident))
        await asyncio.sleep(0.01)
        await asyncio.gather(first, ask(line, resident, ROWS[:2]))
        return time.monotonic() - begin

    assert asyncio.run(filled()) < 0.8  # of 0.9: what it would have waited


def test_a_request_does_not_wait_for_others_until_its_deadline(resident: Resident) -> None:
    line = line_of(Ran(), deadline_ms=200, batching=Batching(max_size=8, max_delay_ms=400))

    assert reasons(asyncio.run(gather(ask(line, resident, within_s=0.2)))) == ["ok"]


def test_many_rows_leave_the_event_loop_free_and_too_many_are_refused(slow: Resident) -> None:
    """A call of a row is short, one of many is not: what counts is the request."""
    slow.run_s, slow.row_s = 0.0001, slow.run_s

    async def turns(rows: int) -> int:
        line, count = line_of(Ran()), 0
        work = asyncio.ensure_future(ask(line, slow, np.ones((rows, WIDTH))))
        while not work.done():
            await asyncio.sleep(0)
            count += 1
        await work
        return count

    assert asyncio.run(turns(2)) > 10
    answers = asyncio.run(gather(ask(line_of(Ran(), deadline_ms=50), slow, np.ones((10_000, WIDTH)), within_s=0.05)))
    assert reasons(answers) == ["deadline"] and "10000 rows take about" in answers[0].message


def test_one_bad_request_of_a_batch_fails_alone(folder: ServingFolder) -> None:
    from onnx import helper

    extra = (helper.make_node("Log", ["scaled"], ["logarithm"]),)
    folder.stage(1, extra=extra, last="logarithm")
    resident = load(folder.base, folder.point(1, 1))
    line = line_of(Ran(), batching=Batching(max_size=8))

    bad = np.float32([[1, 1, -1, 1]])
    answers = asyncio.run(gather(ask(line, resident), ask(line, resident, bad), ask(line, resident)))

    assert reasons(answers) == ["ok", "model", "ok"]
    assert answers[1].message == "The model answered NaN or infinity in output 'y'."


def test_versions_are_never_mixed_in_a_batch(folder: ServingFolder, resident: Resident) -> None:
    folder.stage(3)
    other = load(folder.base, folder.point(2, 3))
    ran = Ran()
    line = line_of(ran, batching=Batching(max_size=8))

    answers = asyncio.run(gather(ask(line, resident), ask(line, other), ask(line, other), ask(line, resident)))

    assert ran.rows == [1, 2, 1]
    assert [float(a["y"][0, 0] / ROWS[0, 0]) for a in answers] == pytest.approx([2, 3, 3, 2])


def test_a_client_that_left_is_not_run(resident: Resident) -> None:
    ran = Ran()

    async def leave() -> None:
        line = line_of(ran)
        tasks = [asyncio.create_task(ask(line, resident)) for _ in range(3)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(leave())

    assert ran.rows == [1, 1] and resident.active == 0


def test_calls_of_a_slow_model_leave_the_event_loop_free(slow: Resident) -> None:
    async def both() -> int:
        line, turns = line_of(Ran()), 0
        work = asyncio.gather(*(ask(line, slow) for _ in range(4)))
        while not work.done():
            await asyncio.sleep(0)
            turns += 1
        return turns

    assert asyncio.run(both()) > 20


def test_a_freed_version_gives_its_memory_back(folder: ServingFolder, tmp_path: Path) -> None:
    folder.stage(1)
    resident = load(folder.base, folder.point(1, 1))
    resident.close()

    with pytest.raises(AttributeError):
        resident.run({"x": ROWS[:1, :WIDTH]})
