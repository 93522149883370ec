"""`report.html`: one file that needs nothing else, ever. No script, no font, no request; the page forbids them itself.

Names come from the user's config and from model files, so the template escapes everything, and links are only made
of http, https and file addresses.
"""

import functools
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tasks.foundations.files import write_whole
from tasks.reports import bought, costs, pareto, reasons, spread, tables
from tasks.reports import format as text
from tasks.reports.summary import ReleaseSummary

FILE = "report.html"
# Each plot is drawn twice, for a desk and for a hand, and the page shows the one that fits: text keeps its size.
WIDE, NARROW = 960, 372


def render(summary: ReleaseSummary) -> str:
    """The whole page. Equal summaries give equal bytes."""
    page: str = _environment().get_template("report.html.j2").render(_view(summary))
    return page


def write(summary: ReleaseSummary, folder: Path) -> Path:
    """Write `report.html` into `folder`, whole or not at all, and return its path."""
    path = folder / FILE
    write_whole(path, render(summary))
    return path


@functools.cache
def _environment() -> Any:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(f=text, reasons=reasons, safe_link=safe_link, flat=flat)
    return environment


def safe_link(address: str | None) -> str | None:
    """The address if a browser may follow it, else None (shown as text)."""
    return address if address and urlsplit(address).scheme in ("http", "https", "file") else None


def flat(content: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Nested figures as dotted names, in order."""
    pairs: list[tuple[str, Any]] = []
    for key, value in content.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and value:
            pairs += flat(value, f"{name}.")
        else:
            pairs.append((name, value))
    return pairs


def _view(summary: ReleaseSummary) -> dict[str, Any]:
    targets = summary.target_names()
    return {
        "s": summary,
        "recommended": costs.sentence(summary),
        "state": reasons.state(summary),
        "numbers": {name: i for i, name in enumerate(summary.candidate_names(), start=1)},
        "targets": [_target_view(summary, name, i) for i, name in enumerate(targets)],
        "config": _yaml(summary.config),
        "duration": _duration(summary),
        "longest": max((stage.seconds or 0.0 for stage in summary.stages), default=0.0) or 1.0,
        "reused": sum(stage.reused for stage in summary.stages),
    }


def _target_view(summary: ReleaseSummary, target: str, index: int) -> dict[str, Any]:
    rows = summary.rows_of(target)
    return {
        "name": target,
        "id": f"t{index}",
        "summary": summary.targets.get(target),
        "rows": rows,
        "winner": summary.winner(target),
        "why": reasons.why(summary, target),
        "bought": bought.bought(summary, target),
        "refused": [row for row in rows if not row.passed],
        "pareto": [
            ("wide", pareto.plot(summary, target, WIDE, 440)),
            ("narrow", pareto.plot(summary, target, NARROW, 360)),
        ],
        "spread": [("wide", spread.plot(summary, target, WIDE)), ("narrow", spread.plot(summary, target, NARROW))],
        "gates": tables.gate_matrix(summary, target),
        "slices": tables.heat_table(summary, target, "slices"),
        "classes": tables.heat_table(summary, target, "classes"),
        "proofs": [row for row in rows if row.proof],
    }


def _yaml(config: dict[str, Any]) -> str:
    import yaml

    return yaml.safe_dump(config, sort_keys=False, allow_unicode=True, width=100) if config else ""


def _duration(summary: ReleaseSummary) -> str:
    from datetime import datetime

    try:
        spent = datetime.fromisoformat(summary.finished) - datetime.fromisoformat(summary.started)
    except (ValueError, TypeError):
        return text.NONE
    return text.seconds(spent.total_seconds())
