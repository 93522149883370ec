"""Waiting for another machine ends with a sentence, whatever becomes of its run, and with the run ended."""

from types import SimpleNamespace
from uuid import uuid4

import pytest
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelling, Completed, Crashed, Running, Scheduled

from flows.waiting import Watch
from tasks.foundations.errors import StepFailed
from tasks.hardware.exchange import write_answer
from tasks.hardware.order import Answer
from tasks.store.store import Store


@pytest.fixture
def ended(monkeypatch):
    """States that runs were given; there is no server here, and every run runs."""
    states = []
    monkeypatch.setattr("flows.waiting.POLL_S", 0.01)
    monkeypatch.setattr(Watch, "_state", lambda self: Running())
    monkeypatch.setattr(Watch, "_end", lambda self, state: states.append(state.name))
    return states


@pytest.fixture
def watch(tmp_path):
    store = Store(str(tmp_path), tmp_path)
    return Watch(store=store, run=uuid4(), pool="edge", patience_s=60, limit_s=60, tell=print)


class Client:
    """Prefect's, of a server with one run; without a state, of a server that does not know it any more."""

    def __init__(self):
        self.state, self.given = None, []

    def __enter__(self):
        return self

    def __exit__(self, *_): ...

    def read_flow_run(self, _):
        if self.state is None:
            raise ObjectNotFound(http_exc=SimpleNamespace())
        return SimpleNamespace(state=self.state)

    def set_flow_run_state(self, _, state, force):
        self.given.append(state.name)


@pytest.fixture
def client(monkeypatch):
    found = Client()
    monkeypatch.setattr("prefect.client.orchestration.get_client", lambda **_: found)
    return found


def test_an_answer_that_cannot_be_read_fails_the_target_at_once(watch, ended):
    watch.store.write(f"answers/{watch.run}.json", "{}  and the rest of another one")

    with pytest.raises(StepFailed, match="the answer of its machine cannot be read"):
        watch.answer()

    assert ended == ["Crashed"]


def test_an_answer_that_was_being_written_is_read_once_more(watch, ended, monkeypatch):
    watch.store.write(f"answers/{watch.run}.json", '{"fail')
    answer = Answer(failures={"int8": "no"})
    written = iter([lambda: write_answer(watch.store, str(watch.run), answer)])
    monkeypatch.setattr("flows.waiting.time.sleep", lambda _: next(written)())

    assert watch.answer() == answer and ended == []


def test_a_run_that_lives_and_takes_too_long_is_cancelled_so_that_its_worker_ends_it(watch, ended):
    with pytest.raises(StepFailed, match="has not ended within 0 s; its run was cancelled"):
        Watch(**{**watch.__dict__, "limit_s": 0.05}).answer()

    assert ended == ["Cancelling"]


@pytest.mark.parametrize(
    ("found", "given", "becomes"),
    [
        (Running(), Cancelling(), ["Cancelling"]),
        (Scheduled(), Cancelling(), ["Cancelled"]),  # no worker has it that could end it
        (Scheduled(), Crashed(), ["Crashed"]),
        (Completed(), Cancelling(), []),
    ],
)
def test_a_run_is_ended_as_far_as_it_has_come(watch, client, found, given, becomes):
    client.state = found

    watch._end(given)

    assert client.given == becomes


def test_a_run_that_somebody_has_deleted_fails_the_target(watch, client):
    client.state = None

    with pytest.raises(StepFailed, match="somebody has deleted it"):
        watch.answer()
