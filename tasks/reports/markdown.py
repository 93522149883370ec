"""The gate report as Markdown and as table rows, for Prefect's artifacts. Short: the whole story is in the report.

Prefect renders Markdown in a browser, so names from the user's files are escaped here as well.
"""

import re

from tasks.reports import costs, reasons
from tasks.reports import format as text
from tasks.reports.bought import bought
from tasks.reports.summary import CandidateRow, ReleaseSummary

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~!&])")


def gate_report(summary: ReleaseSummary) -> str:
    """Decision, winners, candidates, and every gate that did not pass."""
    lines = [f"# {escape(summary.model)}: {escape(summary.decision)}", ""]
    lines += [f"- {escape(reasons.why(summary, target))}" for target in summary.target_names()]
    lines += [f"- {escape(costs.sentence(summary))}"] if summary.recommendation else []
    lines += [f"- Note: {escape(note)}" for note in summary.notes]
    lines += ["", *_table(summary)] if summary.rows else []
    stopped = [row for row in summary.rows if not row.passed]
    if stopped:
        lines += ["", "## Not passed", "", *(_stopped(row) for row in stopped)]
    gained = [(target, item) for target in summary.target_names() for item in bought(summary, target)]
    if gained:
        lines += ["", "## What training techniques bought", ""]
        lines += [
            f"- **{escape(item.candidate)}** on {escape(target)}: {escape(' '.join(item.sentences))}"
            for target, item in gained
        ]
    places = (("report", summary.report_path), ("MLflow", summary.mlflow_link))
    links = [f"- {word}: {_link(place)}" for word, place in places if place]
    links += [f"- The MLflow page answers while `{summary.mlflow_ui}` runs."] if summary.mlflow_ui else []
    return "\n".join([*lines, *([""] if links else []), *links]) + "\n"


def table_rows(summary: ReleaseSummary) -> list[dict[str, str]]:
    """One row a candidate and target, for Prefect's table artifact; every value is text."""
    return [
        {
            "candidate": row.name,
            "target": row.target,
            "verdict": reasons.verdict_word(row),
            summary.primary_metric: text.quality(row.primary_value, summary.primary_metric),
            "drop": text.drop(row.drop, summary.primary_metric) if row.primary_value is not None else "",
            "p50 ms": text.milliseconds(row.p50_ms),
            "speed-up": text.ratio(row.speedup_p50),
            "p99 ms": text.milliseconds(row.p99_ms),
            "size": text.size(row.size_bytes),
            "gzip": text.size(row.gzip_bytes),
            **({"cost per million": text.number(row.cost_per_million)} if summary.has_costs else {}),
            "reason": reasons.reason(row),
        }
        for row in summary.rows
    ]


def escape(value: str) -> str:
    """One line of plain text that Markdown and HTML leave alone."""
    return _SPECIAL.sub(r"\\\1", " ".join(value.split()))


def _table(summary: ReleaseSummary) -> list[str]:
    rows = table_rows(summary)
    headings = [heading for heading in rows[0] if heading != "reason"]
    lines = [f"| {' | '.join(escape(heading) for heading in headings)} |", f"|{'---|' * len(headings)}"]
    return lines + [f"| {' | '.join(escape(row[heading]) for heading in headings)} |" for row in rows]


def _stopped(row: CandidateRow) -> str:
    verdicts = reasons.blocking(row)
    causes = [f"{reasons.gate_name(v)}{f' ({v.slice})' if v.slice else ''}: {v.reason}" for v in verdicts[:5]]
    if len(verdicts) > 5:
        causes.append(f"and {len(verdicts) - 5} more")
    said = "; ".join(causes) or reasons.reason(row)
    return f"- **{escape(row.name)}** on {escape(row.target)}, {reasons.WORDS[row.outcome]}: {escape(said)}"


def _link(place: str) -> str:
    """An address as a link, anything else (a path, another scheme) as text."""
    is_address = re.fullmatch(r"https?://[^\s<>]+", place)
    return f"<{place}>" if is_address else escape(place)
