"""What every command does alike: JSON for a wrong use too, a sentence for what nobody foresaw, signals, full disks."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from flows.actor import actor
from flows.answer import show
from flows.unexpected import describe

FULL = Path("/dev/full")
# Runs a command in which `check_config` does what the case says.
SCRIPT = """
import os, signal, sys, time
import flows.check
class Mute(Exception):
    def __str__(self):
        raise ValueError
def check_config(path):
    {body}
    return {{"exit_code": 0, "text": "done"}}
{before}
flows.check.check_config = check_config
from flows.__main__ import run
sys.argv = ["flows", "check", "any.yaml", *{words!r}]
run()
"""


def command(*words: str, home: Path, **options: object) -> subprocess.CompletedProcess[str]:
    settings = {"stdout": subprocess.PIPE, **options}
    return subprocess.run(
        [sys.executable, "-m", "flows", *words],
        env={**os.environ, "SLIPWAY_HOME": str(home)},
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        **settings,
    )


def script(body: str, *words: str, before: str = "") -> subprocess.CompletedProcess[str]:
    code = SCRIPT.format(body=body, words=list(words), before=before)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["check", "--json", "{home}"], "is a directory"),
        (["check", "--json"], "Missing argument 'CONFIG'"),
        (["promote", "--json", "tiny"], "Missing argument 'VERSION'"),
        (["promote", "tiny", "abc", "--json"], "'abc' is not a valid integer"),
        (["rollback", "--json", "tiny", "--to", "x"], "'x' is not a valid integer"),
        (["bogus", "--json"], "No such command 'bogus'"),
        (["status", "--josn", "--json"], "--josn"),
    ],
)
def test_a_wrong_use_is_answered_in_json_too(words, sentence, tmp_path):
    done = command(*(word.replace("{home}", str(tmp_path)) for word in words), home=tmp_path)

    answer = json.loads(done.stdout)
    assert done.returncode == answer["exit_code"] == 2
    assert sentence in answer["error"]
    assert sentence in done.stderr and done.stderr.startswith("Usage: python -m flows ")
    assert done.stderr.count(answer["error"]) == 1


@pytest.mark.parametrize(("words", "code"), [(["--help"], 0), (["check", "-h"], 0), ([], 2), (["check"], 2)])
def test_a_wrong_use_without_json_is_clicks_own_text(words, code, tmp_path):
    done = command(*words, home=tmp_path)

    assert done.returncode == code
    assert "Usage: python -m flows" in (done.stderr if code else done.stdout)
    assert (done.stdout == "") == bool(code)


@pytest.mark.skipif(not FULL.exists(), reason="the system has no /dev/full")
@pytest.mark.parametrize("json_words", [(), ("--json",)])
def test_an_answer_that_cannot_be_written_is_one_sentence_and_the_command_stands(json_words, tmp_path):
    with FULL.open("w") as full:
        done = command("init", "wine", "--folder", str(tmp_path), *json_words, home=tmp_path, stdout=full)

    assert done.returncode == 1
    assert done.stderr == (
        "error: The answer could not be written to stdout: No space left on device. "
        "The command itself was carried out.\n"
    )
    assert (tmp_path / "wine.yaml").is_file()


@pytest.mark.skipif(not FULL.exists(), reason="the system has no /dev/full")
@pytest.mark.parametrize(("words", "code"), [(["--help"], 1), (["check", "none.yaml", "--json"], 2)])
def test_nothing_is_called_done_that_was_not(words, code, tmp_path):
    with FULL.open("w") as full:
        done = command(*words, home=tmp_path, stdout=full)

    assert done.returncode == code
    assert "could not be written to stdout" in done.stderr
    assert "carried out" not in done.stderr and "Exception" not in done.stderr


def test_a_reader_that_has_left_is_no_error(tmp_path):
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = command("status", home=tmp_path, stdout=writing)
    finally:
        os.close(writing)

    assert (done.returncode, done.stderr) == (0, "")


def test_a_closed_stdout_is_no_error(tmp_path):
    done = command("status", home=tmp_path, stdout=None, preexec_fn=lambda: os.close(1))

    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (
            "raise OSError(30, 'Read-only file system', '/srv/slipway/locks')",
            "/srv/slipway/locks: Read-only file system. Let SLIPWAY_HOME name a folder that this user may write, ",
        ),
        (
            "raise OSError(5, 'Input/output error')",
            "Input/output error. Put that right and run the same command again.",
        ),
        ("raise OSError('odd')", "unexpected OSError: odd."),
        ("raise Mute", "unexpected Mute: its message cannot be shown."),
        ("1 / 0", "unexpected ZeroDivisionError: division by zero."),
    ],
)
def test_what_nobody_foresaw_is_one_sentence(body, sentence):
    done = script(body, "--json")

    assert done.returncode == json.loads(done.stdout)["exit_code"] == 1
    assert done.stderr.startswith(f"error: {sentence}")
    assert done.stderr.endswith(" Run again with --debug to see where.\n") and done.stderr.count("\n") == 1


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_the_end_of_a_terminal_ends_a_command_as_sigterm_does(name):
    done = script(f"os.kill(os.getpid(), signal.{name}); time.sleep(30)", "--json")

    assert done.returncode == json.loads(done.stdout)["exit_code"] == 143
    assert done.stderr.startswith("error: terminated. ")


def test_a_signal_while_the_answer_is_written_is_no_traceback():
    die = "def die(*_):\n    os.kill(os.getpid(), signal.SIGTERM)\n    time.sleep(30)\n"
    done = script("pass", before=f"import flows.__main__\n{die}flows.__main__.show = die")

    assert (done.returncode, done.stderr) == (143, "")


def test_with_nohup_a_command_goes_on():
    done = script("os.kill(os.getpid(), signal.SIGHUP)", before="signal.signal(signal.SIGHUP, signal.SIG_IGN)")

    assert (done.returncode, done.stdout) == (0, "done\n")


@pytest.mark.parametrize(("given", "taken"), [(" ", ""), (" it is slow\n", "it is slow"), ("a\udcff", "a?")])
def test_a_reason_has_no_blanks_around_it_and_is_text(given, taken):
    before = (
        "import flows.moves\n"
        "flows.moves.promote_version = lambda *a, reason, **_: {'exit_code': 0, 'reason': reason}\n"
        "import sys; from flows.__main__ import run\n"
        f"sys.argv = ['flows', 'promote', 'tiny', '1', '--force', '--json', '--reason', {given!r}]\n"
        "run()\n"
    )

    done = script("pass", before=before)

    assert json.loads(done.stdout)["reason"] == taken


def test_an_actor_that_is_no_text_can_be_written(monkeypatch):
    monkeypatch.setenv("SLIPWAY_ACTOR", "ci\udcff")  # what Python makes of the byte 0xff

    assert actor() == "ci?"


def test_a_path_in_bytes_is_shown_as_text():
    assert describe(OSError(2, "No such file or directory", b"/a/\xff")).startswith("/a/\ufffd: No such file")


@pytest.mark.parametrize("as_json", [True, False])
def test_notes_stand_on_stderr_where_stdout_is_for_a_script(capsys, as_json):
    assert (
        show({"exit_code": 3, "notes": ["half of train stands in test"], "error": "refused", "text": ""}, as_json) == 3
    )
    out, err = capsys.readouterr()
    notes = "note: half of train stands in test\n" if as_json else ""  # the text has them
    assert err == f"{notes}error: refused\n"
    assert out == (
        '{"exit_code": 3, "notes": ["half of train stands in test"], "error": "refused"}\n' if as_json else ""
    )


def test_where_logs_are_lines_of_json_errors_and_notes_are_so_too(capsys, monkeypatch):
    monkeypatch.setenv("SLIPWAY_LOG_FORMAT", "json")

    show({"exit_code": 2, "error": "There is no model.", "notes": ["one was settled"]}, as_json=True)

    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(line["level"], line["message"]) for line in lines] == [
        ("warning", "one was settled"),
        ("error", "There is no model."),
    ]
