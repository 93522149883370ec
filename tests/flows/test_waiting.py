"""Waiting for another machine ends with a sentence whatever that machine has written."""

from uuid import uuid4

import pytest

from flows.waiting import Watch
from tasks.foundations.errors import StepFailed
from tasks.store.store import Store


def test_an_answer_that_cannot_be_read_fails_the_target_at_once(tmp_path, monkeypatch):
    store, run = Store(str(tmp_path), tmp_path), uuid4()
    store.write(f"answers/{run}.json", "{}  and the rest of another one")
    ended = []
    monkeypatch.setattr(Watch, "_state", lambda self: None)  # there is no server here
    monkeypatch.setattr(Watch, "_end", lambda self, state: ended.append(state.name))
    watch = Watch(store=store, run=run, pool="edge", patience_s=60, limit_s=60, tell=print)

    with pytest.raises(StepFailed, match="the answer of its machine cannot be read"):
        watch.answer()

    assert ended == ["Crashed"]
