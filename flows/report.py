"""`report`: the HTML report of a release again, from its `release.json` alone."""

from pathlib import Path
from typing import Any

from flows.home import home
from tasks.foundations.errors import InputError
from tasks.reports import html
from tasks.reports.summary import ReleaseSummary


def render(model: str, release: str | None) -> dict[str, Any]:
    """Write `report.html` of one release, the newest if none is named.

    Raises:
        InputError: no such model or release.
    """
    folder = _folder(home().releases(model), model, release)
    summary = ReleaseSummary.read(folder)
    path = html.write(summary, folder)
    text = f"{model} {summary.release}: {summary.decision}\n{path}"
    return {"model": model, "release": summary.release, "report": str(path), "exit_code": 0, "text": text}


def _folder(releases: Path, model: str, release: str | None) -> Path:
    names = sorted(path.parent.name for path in releases.glob("*/release.json"))
    if not names:
        raise InputError(f"No release of {model!r} has a report here. Expected one in {releases}.")
    if release is not None and release not in names:
        raise InputError(f"{model} has no release {release!r}. It has: {', '.join(names[-10:])}.")
    return releases / (release or names[-1])
