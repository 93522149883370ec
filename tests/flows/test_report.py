"""`report`: what is said of a release that is over, from its `release.json` alone."""

import json
import os
import subprocess
import sys

import pytest

from tasks.reports.summary import CandidateRow, ReleaseSummary

RELEASES = {"20260101T000000Z-aaaa": "promoted version 1 (the first one)", "20260102T000000Z-bbbb": "refused: cpu: no"}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A home with two releases of `tiny`: one that was promoted, then one that a gate has refused."""
    root = tmp_path_factory.mktemp("home")
    for name, decision in RELEASES.items():
        folder = root / "releases" / "tiny" / name
        folder.mkdir(parents=True)
        row = CandidateRow(name="float32", target="cpu", outcome="pass" if "promoted" in decision else "fail")
        ReleaseSummary(
            release=name, model="tiny", started="2026", finished="2026", exit_code=0, decision=decision, rows=(row,)
        ).write(folder)
    return root


@pytest.fixture
def report(home):
    """Run `report tiny` with more words; gives what it printed."""

    def run(*words: str) -> str:
        command = [sys.executable, "-m", "flows", "report", "tiny", *words]
        environment = {**os.environ, "SLIPWAY_HOME": str(home)}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout

    return run


def test_markdown_is_all_that_stdout_holds_and_tells_of_the_newest(report):
    text = report("--markdown")

    assert text.startswith("# tiny: refused: cpu: no\n")
    assert "| float32 | cpu |" in text
    assert text.endswith("\n") and not text.endswith("\n\n")


def test_markdown_of_the_release_that_is_named(report):
    text = report("--markdown", "--release", min(RELEASES))

    assert text.startswith("# tiny: promoted version 1 (the first one)\n")
    assert "## Not passed" not in text


def test_json_holds_markdown_where_it_was_asked_for(report, home):
    plain, asked = json.loads(report("--json")), json.loads(report("--json", "--markdown"))

    page = home / "releases" / "tiny" / max(RELEASES) / "report.html"
    assert plain == {"model": "tiny", "release": max(RELEASES), "report": str(page), "exit_code": 0}
    assert asked == {**plain, "markdown": report("--markdown")}
    assert "refused: cpu: no" in page.read_text()
