"""Numbers as a reader wants them, the same in the terminal, the report and Markdown.

Three significant digits are enough everywhere: no latency claim under 5 % is made, and sizes are compared as ratios.
"""

from datetime import datetime
from typing import Any

NONE = "\u2013"
MINUS = "\u2212"
TIMES = "\u00d7"
# Metrics that are shares of rows, read more easily as percent; everything else is shown as it is.
_SHARES = ("accuracy", "agreement", "precision", "recall", "exact_match")


def is_share(metric: str) -> bool:
    """Whether a metric is a share of rows (shown in percent, its drops in points); of the user's own nobody knows."""
    known = metric.endswith(_SHARES) or metric.startswith("top_") or metric.endswith("_f1") or metric == "f1"
    return known and ":" not in metric


def metric_name(metric: str) -> str:
    """What a metric is called where room is scarce: of `file.py:function` the function."""
    return metric.rpartition(":")[2]


def number(value: float | None, digits: int = 3) -> str:
    """Significant digits without an exponent for everyday sizes: 0.0158, 12.3, 1234."""
    if value is None:
        return NONE
    if value == 0:
        return "0"
    if not 1e-5 <= abs(value) < 1e7:
        return f"{value:.{digits}g}".replace("-", MINUS)
    text = f"{value:.{digits}g}"
    if "e" in text:
        text = f"{value:.0f}" if abs(value) >= 1 else f"{value:.{digits + 4}f}".rstrip("0")
    return text.replace("-", MINUS)


def milliseconds(value: float | None) -> str:
    """`0.0158`, the unit stands in the heading; fixed significant digits so that columns compare."""
    if value is None:
        return NONE
    decimals = 0 if value >= 100 else 1 if value >= 10 else 2 if value >= 1 else 3 if value >= 0.1 else 4
    return f"{value:.{decimals}f}" if value >= 0.0001 or value == 0 else f"{value:.1e}"


def quality(value: float | None, metric: str) -> str:
    """A quality metric: `98.33 %` for shares, `0.412` for others."""
    if value is None:
        return NONE
    return f"{value * 100:.2f}\u202f%" if is_share(metric) else number(value, 4)


def drop(value: float | None, metric: str) -> str:
    """Change against the reference with its sign, as the reader sees it: a drop of 0.0019 is `-0.19 pt`."""
    if value is None:
        return ""
    if is_share(metric):
        text = f"{abs(value) * 100:.2f}"
        return "\u00b10.00" if text == "0.00" else f"{MINUS if value > 0 else '+'}{text}"
    if value == 0:
        return "\u00b10"
    return f"{number(abs(value), 2)} {'worse' if value > 0 else 'better'}"


def ratio(value: float | None) -> str:
    """`1.39x`."""
    return NONE if value is None else f"{value:.2f}{TIMES}" if value < 100 else f"{value:.0f}{TIMES}"


def percent(value: float | None, decimals: int = 0) -> str:
    """`28 %`."""
    return NONE if value is None else f"{value * 100:.{decimals}f}\u202f%".replace("-", MINUS)


def size(value: float | None) -> str:
    """Bytes in decimal units: `164 kB`."""
    if value is None:
        return NONE
    amount = float(value)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 999.5 or unit == "GB":
            break
        amount /= 1000
    text = f"{amount:.0f}" if unit == "B" or amount >= 99.95 else f"{amount:.1f}"
    return f"{text}\u00a0{unit}"


def seconds(value: float | None) -> str:
    """`0.04 s`, `7.2 s`, `2 min 05 s`."""
    if value is None:
        return NONE
    if value < 59.95:
        return f"{value:.2f}\u00a0s" if value < 1 else f"{value:.1f}\u00a0s"
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}\u00a0h {minutes:02d}\u00a0min" if hours else f"{minutes}\u00a0min {rest:02d}\u00a0s"


def interval(value: tuple[float, float] | None, digits: int = 3) -> str:
    """`0.0155 to 0.0161`."""
    return NONE if value is None else f"{number(value[0], digits)} to {number(value[1], digits)}"


def integer(value: int | float | None) -> str:
    """`12 345` with a thin gap between thousands."""
    return NONE if value is None else f"{value:,.0f}".replace(",", "\u202f").replace("-", MINUS)


def plain(value: Any) -> str:
    """Any figure of a proof or an environment stamp as text; in a line of several, what is not set is left out."""
    if value is None:
        return NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return number(value, 4)
    if isinstance(value, list | tuple):
        return ", ".join(plain(item) for item in value) or NONE
    if isinstance(value, dict):
        return ", ".join(f"{key}: {plain(item)}" for key, item in value.items() if item is not None) or NONE
    return str(value)


def clip(text: str, width: int) -> str:
    """At most `width` characters, the cut marked."""
    return text if len(text) <= width else text[: width - 1] + "\u2026"


def moment(iso: str) -> str:
    """`2026-09-01 14:15:02 UTC` of an ISO time; anything else as it is."""
    try:
        when = datetime.fromisoformat(iso)
    except ValueError:
        return iso or NONE
    zone = "" if when.utcoffset() is None else f" UTC{when:%z}".replace("UTC+0000", "UTC")
    return f"{when:%Y-%m-%d %H:%M:%S}{zone}"
