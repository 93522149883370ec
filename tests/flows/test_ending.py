"""How a release ends badly: whatever it dies of, its report says so; a signal is not kept waiting."""

from types import SimpleNamespace

import pytest

from flows import ending
from flows.story import Story
from tasks.foundations.errors import InputError


@pytest.fixture
def reported(monkeypatch):
    """(decision, exit code) of every report that is written."""
    written = []
    monkeypatch.setattr(ending, "summarize", lambda desk, story: (story.decision, story.exit_code))
    monkeypatch.setattr(ending, "report", lambda summary, *_: written.append(summary))
    return written


def end(error: BaseException, tmp_path) -> list[str]:
    """Let a release die; gives what happened to its workers."""
    ended = []
    desk = SimpleNamespace(
        home=SimpleNamespace(root=tmp_path),
        folder=tmp_path,
        executor=SimpleNamespace(digests={}, end=lambda: ended.append("steps")),
    )
    with pytest.raises(type(error)) as caught, ending.told(desk, Story()):
        raise error
    assert caught.value is error
    return ended


@pytest.mark.parametrize(
    ("error", "decision", "code"),
    [
        (InputError("no data"), "failed: no data", 2),
        (ZeroDivisionError("division by zero"), "failed: unexpected ZeroDivisionError: division by zero.", 1),
    ],
)
def test_what_went_wrong_stands_in_the_report(error, decision, code, reported, tmp_path):
    assert end(error, tmp_path) == ["steps"]
    assert reported == [(decision, code)]


def test_a_signal_waits_for_no_report(reported, tmp_path):
    assert end(KeyboardInterrupt(), tmp_path) == ["steps"]
    assert reported == []
