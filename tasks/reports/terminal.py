"""The last thing that a release says in the terminal: one table, why, and the decision. At most 100 columns.

Everything goes to stderr (or the stream that is given): stdout belongs to `--json`.
"""

import sys
from typing import TYPE_CHECKING, Any, TextIO

from tasks.reports import costs, reasons
from tasks.reports import format as text
from tasks.reports.summary import BASELINE, CandidateRow, ReleaseSummary

if TYPE_CHECKING:
    from rich.console import Console, Group
    from rich.table import Table

WIDTH = 100
STYLES = {
    "pass": "green",
    "fail": "red",
    "broken": "red",
    "inconclusive": "yellow",
    "not_applicable": "bright_black",
}
_CANDIDATE, _TARGET, _VERDICT = 0, 1, -1


def table(summary: ReleaseSummary) -> "Table":
    """One row a candidate and target; refused ones name the metric that stopped them."""
    from rich import box
    from rich.table import Table

    headings = (
        "candidate",
        "target",
        text.clip(text.metric_name(summary.primary_metric), 15),
        "p50 ms",
        "p99 ms",
        "size",
        "gzip",
        *(["cost/M"] if summary.has_costs else []),
        "verdict",
    )
    cells = [(row, _cells(summary, row)) for target in summary.target_names() for row in summary.rows_of(target)]
    # Every second half ("1.39x" beside "0.0158") is as wide as its column's widest, so that the numbers stay aligned.
    beside = [max((len(line[i][1]) for _, line in cells), default=0) for i in range(len(headings))]
    needed = [
        max([len(heading), *(len(line[i][0]) + (beside[i] + 1 if beside[i] else 0) for _, line in cells)])
        for i, heading in enumerate(headings)
    ]
    result = Table(
        box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, header_style="bright_black", show_edge=False
    )
    for i, (heading, width) in enumerate(zip(headings, _fit(needed), strict=True)):
        side = "left" if i in (_CANDIDATE, _TARGET, len(headings) + _VERDICT) else "right"
        result.add_column(heading, justify=side, no_wrap=True, overflow="ellipsis", width=width)  # type: ignore[arg-type]
    for i, (row, line) in enumerate(cells):
        last = i + 1 == len(cells) or cells[i + 1][0].target != row.target
        result.add_row(*_texts(row, line, beside), style="bold" if row.winner else None, end_section=last)
    return result


def _fit(needed: list[int]) -> list[int]:
    """Column widths within the limit: names give way first, figures last."""
    widths = list(needed)
    for column, least in ((_CANDIDATE, 16), (_VERDICT, 16), (_TARGET, 8), (_CANDIDATE, 8), (_VERDICT, 10), (2, 8)):
        excess = sum(widths) + 2 * (len(widths) - 1) - WIDTH
        if excess > 0:
            widths[column] = max(min(widths[column], least), widths[column] - excess)
    return widths


def closing(summary: ReleaseSummary) -> "Group":
    """The table, why each winner won, what was refused and why, the decision, and where to read on."""
    from rich.console import Group
    from rich.text import Text

    parts: list[Any] = [table(summary), Text()] if summary.rows else []
    for target in summary.target_names():
        parts.append(_hanging("\u2022", reasons.why(summary, target), "default"))
    if summary.recommendation:
        parts.append(_hanging("\u2022", costs.sentence(summary), "default"))
    parts += _stopped(summary)
    parts += [_hanging("!", note, "yellow") for note in summary.notes]
    tone = STYLES[reasons.state(summary).tone]
    parts += [Text(), Text(f"{summary.model}: {summary.decision}", style=f"bold {tone}")]
    run = None if summary.mlflow_ui else summary.mlflow_link  # a page that nobody serves yet is only noise here
    for word, place in (("report", summary.report_path), ("mlflow", run)):
        if place:
            parts.append(Text(f"{word:8}{place}", style="bright_black", overflow="fold"))
    return Group(*parts)


def _stopped(summary: ReleaseSummary) -> list[Any]:
    """What did not pass on a target, and what applies to none."""
    lines = []
    for row in summary.rows:
        if row.outcome not in ("pass", "not_applicable"):
            said = reasons.reason(row)
            sentence = f"{row.name} on {row.target} {reasons.WORDS[row.outcome]}{': ' if said else '.'}{said}"
            lines.append(_hanging(reasons.GLYPHS[row.outcome], sentence, STYLES[row.outcome]))
    for name in summary.candidate_names():
        rows = [row for row in summary.rows if row.name == name]
        if all(row.outcome == "not_applicable" for row in rows):  # of a single target the table says enough
            lines.append(_hanging(reasons.GLYPHS["not_applicable"], f"{name}: {reasons.reason(rows[0])}", "default"))
    return lines


def show(summary: ReleaseSummary, file: TextIO | None = None) -> None:
    """Print the closing to stderr, or to the stream that is given."""
    console = _console(file or sys.stderr)
    console.print()
    console.print(closing(summary))


def as_text(summary: ReleaseSummary) -> str:
    """The closing without colours, at most 100 columns: for logs, READMEs and notes."""
    import io

    stream = io.StringIO()
    _console(stream, plain=True).print(closing(summary))
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines()) + "\n"


def _console(file: TextIO, plain: bool = False) -> "Console":
    from rich.console import Console

    console = Console(file=file, highlight=False, force_terminal=False if plain else None)
    console.width = min(console.width, WIDTH) if console.is_terminal else WIDTH
    return console


def _cells(summary: ReleaseSummary, row: CandidateRow) -> list[tuple[str, str]]:
    """(value, what stands beside it) of each column."""
    share = summary.size_ratio(row)
    base = row.name == BASELINE
    quality = text.quality(row.primary_value, summary.primary_metric).replace("\u202f", "")
    drop = "" if base or row.primary_value is None else text.drop(row.drop, summary.primary_metric)
    return [
        (row.name, ""),
        (row.target, ""),
        (quality, drop),
        (text.milliseconds(row.p50_ms), "" if base or row.speedup_p50 is None else text.ratio(row.speedup_p50)),
        (text.milliseconds(row.p99_ms), ""),
        (_size(row.size_bytes), "" if base or share is None else text.percent(share).replace("\u202f", "")),
        (_size(row.gzip_bytes), ""),
        *([(text.number(row.cost_per_million), "")] if summary.has_costs else []),
        (f"{reasons.GLYPHS[row.outcome]} {reasons.short_reason(row)}", ""),
    ]


def _texts(row: CandidateRow, cells: list[tuple[str, str]], widths: list[int]) -> list[Any]:
    from rich.text import Text

    texts = [
        Text.assemble(value, (f" {beside:<{width}}" if width else "", "bright_black"))
        for (value, beside), width in zip(cells, widths, strict=True)
    ]
    texts[-1].stylize(STYLES[row.outcome])
    return texts


def _size(value: int | None) -> str:
    return text.size(value).replace("\u00a0", " ")


def _hanging(glyph: str, sentence: str, style: str) -> Any:
    from rich.table import Table
    from rich.text import Text

    line = Table.grid(padding=(0, 1))
    line.add_column(width=1)
    line.add_column(overflow="fold")
    line.add_row(Text(glyph, style=style), Text(sentence))
    return line
