"""Waiting for another machine ends with a sentence, whatever becomes of its run, and with the run ended."""

from types import SimpleNamespace
from uuid import uuid4

import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.exceptions import ObjectNotFound
from prefect.states import Running

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


def test_a_run_that_somebody_has_deleted_fails_the_target(watch, monkeypatch):
    def deleted(*_):
        raise ObjectNotFound(http_exc=SimpleNamespace())

    monkeypatch.setattr("prefect.client.orchestration.get_client", lambda **_: SyncPrefectClient("http://127.0.0.1:9"))
    monkeypatch.setattr(SyncPrefectClient, "__enter__", lambda self: self)
    monkeypatch.setattr(SyncPrefectClient, "__exit__", lambda *_: None)
    monkeypatch.setattr(SyncPrefectClient, "read_flow_run", deleted)

    with pytest.raises(StepFailed, match="somebody has deleted it"):
        watch.answer()
