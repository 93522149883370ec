"""How an answer reaches people and scripts: one text or JSON object on stdout, one sentence on stderr, an exit code.

Streams may be closed, full, or read by nobody any more: nothing of that may end in a traceback.
"""

import json
import os
import sys
from contextlib import suppress
from typing import Any, TextIO

import click

from tasks.foundations.json_lines import FORMAT, line


def show(answer: dict[str, Any], as_json: bool) -> int:
    """Print an answer, and its error on stderr; gives the exit code, not 0 where the answer could not be written.

    Notes stand in the text; where JSON is read by a script, people find them on stderr.
    """
    code = tell(answer, as_json)
    for note in answer.get("notes", ()) if as_json else ():
        _say(note, "note")
    if "error" in answer:
        _say(answer["error"])
    return code


def tell(answer: dict[str, Any], as_json: bool) -> int:
    """Print on stdout; gives the exit code, which is not 0 where the answer could not be written."""
    text = answer.pop("text", None)
    code = int(answer.get("exit_code", 0))
    try:
        if as_json:
            text = json.dumps(answer, allow_nan=False)
        if text:
            click.echo(text)
    except (OSError, ValueError) as error:
        failed = unwritten(error, "" if "error" in answer else " The command itself was carried out.")
        return code or failed
    return code


def unwritten(error: Exception, done: str) -> int:
    """Say that stdout takes nothing, unless its reader has left (`| head`); gives the exit code."""
    _mute(sys.stdout)
    if isinstance(error, BrokenPipeError):
        return 0
    reason = error.strerror if isinstance(error, OSError) else error
    _say(f"The answer could not be written to stdout: {reason}.{done}")
    return 1


def _say(sentence: str, word: str = "error") -> None:
    as_json = os.environ.get(FORMAT) == "json"
    level = "error" if word == "error" else "warning"
    try:
        click.echo(line(level, sentence, {}) if as_json else f"{word}: {sentence}", err=True)
    except OSError:  # there is nowhere left to say it
        _mute(sys.stderr)


def _mute(stream: TextIO) -> None:
    """Let a stream that fails write to nowhere: what is in its buffer would fail once more when Python ends."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
