"""A log as lines of JSON, for whoever collects logs of many machines: what is spoken of stands in fields of its own."""

import json
import logging
from datetime import UTC, datetime
from typing import Any

FORMAT = "SLIPWAY_LOG_FORMAT"
FIELDS = ("run", "model", "version", "candidate", "stage", "event")
"""What a line may speak of, beside its time, level and message; absent where it speaks of none."""


def line(level: str, message: str, fields: dict[str, Any], at: float | None = None) -> str:
    """One line: `{"at": "...", "level": "info", "message": "...", "model": "digits"}`.

    Args:
        level: `info`, `warning` or `error`.
        message: one sentence.
        fields: see `FIELDS`; None is left out.
        at: seconds since the epoch; now if left out.
    """
    time = datetime.now(UTC) if at is None else datetime.fromtimestamp(at, UTC)
    known = {key: value for key, value in fields.items() if value is not None}
    return json.dumps({"at": time.isoformat(timespec="milliseconds"), "level": level, "message": message, **known})


class JsonFormatter(logging.Formatter):
    """Lines of Python's own logging; fields come from `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, with the traceback inside the message."""
        message = record.getMessage()
        if record.exc_info:
            message = f"{message}\n{self.formatException(record.exc_info)}"
        fields = {name: getattr(record, name, None) for name in FIELDS}
        return line(record.levelname.lower(), message, fields, record.created)
