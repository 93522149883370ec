"""The file by which a job says how far it is."""

from pathlib import Path

import pytest

from tasks.foundations import progress
from tasks.foundations.progress import open_channel, report, use


@pytest.fixture(autouse=True)
def no_channel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_channel", None)


def test_the_last_report_stands_alone_in_the_channel(tmp_path: Path) -> None:
    with open_channel(tmp_path) as channel:
        use(channel)
        report("epoch 10 of 10")
        report("done")
        assert channel.read_text().splitlines()[1:] == ["done"]


def test_a_job_that_goes_on_after_its_release_has_ended_leaves_no_file(tmp_path: Path) -> None:
    with open_channel(tmp_path) as channel:
        pass
    use(channel)
    report("late")
    assert list(tmp_path.iterdir()) == []
