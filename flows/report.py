"""`report`: the HTML report of a release again, and its gates as Markdown, from its `release.json` alone."""

from pathlib import Path
from typing import Any

from flows.home import home
from tasks.foundations.errors import InputError
from tasks.reports import html, markdown
from tasks.reports.summary import ReleaseSummary


def render(model: str, release: str | None, *, as_markdown: bool = False) -> dict[str, Any]:
    """Write `report.html` of one release, the newest if none is named.

    Args:
        model: its name.
        release: id of the release.
        as_markdown: tell what the gates decided in Markdown, for pages that render it, instead of in a sentence.

    Raises:
        InputError: no such model or release.
    """
    folder = _folder(home().releases(model), model, release)
    summary = ReleaseSummary.read(folder)
    path = html.write(summary, folder)
    answer = {"model": model, "release": summary.release, "report": str(path), "exit_code": 0}
    if as_markdown:
        text = markdown.gate_report(summary)
        return {**answer, "markdown": text, "text": text.rstrip("\n")}
    return {**answer, "text": f"{model} {summary.release}: {summary.decision}\n{path}"}


def _folder(releases: Path, model: str, release: str | None) -> Path:
    names = sorted(path.parent.name for path in releases.glob("*/release.json"))
    if not names:
        raise InputError(f"No release of {model!r} has a report here. Expected one in {releases}.")
    if release is not None and release not in names:
        raise InputError(f"{model} has no release {release!r}. It has: {', '.join(names[-10:])}.")
    return releases / (release or names[-1])
