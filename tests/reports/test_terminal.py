import io
import sys
import threading

import pytest

from tasks.reports import terminal
from tasks.reports.display import Display


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_table_fits_100_columns_and_names_every_candidate(any_case):
    text = terminal.as_text(any_case)

    assert max(len(line) for line in text.splitlines()) <= 100
    assert any_case.decision in text.replace("\n", " ")
    if len(any_case.rows) < 10:
        assert all(row.name in text for row in any_case.rows)


def test_figures_are_never_cut_however_long_the_names_are(many):
    rows = tuple(row.model_copy(update={"name": f"{row.name}_{'x' * 40}"}) for row in many.rows)
    text = terminal.as_text(many.model_copy(update={"rows": rows}))

    table = text[: text.index("\u2022")]
    assert max(len(line) for line in table.splitlines()) <= 100
    assert table.count("1.39\u00d7") == 23
    assert "11.00% \u221287.30" in table


def test_the_metric_that_stopped_a_candidate_stands_in_its_row(summary):
    text = terminal.as_text(summary)

    (line,) = [line for line in text.splitlines() if line.startswith("int8_dynamic") and " cpu " in line]
    assert line.endswith("\u2715 p50_ms")


def test_markup_in_a_name_is_shown_and_not_obeyed(summary):
    rows = tuple(row.model_copy(update={"name": "[red]x[/red]"}) for row in summary.rows)

    assert "[red]x[/red]" in terminal.as_text(summary.model_copy(update={"rows": rows}))


def test_nothing_goes_to_stdout(summary, capsys):
    terminal.show(summary)
    with Display("release digits", live=False) as display:
        display.start("train")
        display.finish("train")
    with Display("release digits", live=True) as display:
        display.start("train")
        display.finish("train")

    captured = capsys.readouterr()
    assert captured.out == ""
    assert "promoted version 3" in captured.err


def test_a_log_gets_one_plain_line_an_event():
    stream, clock = io.StringIO(), Clock()

    with Display("release digits", file=stream, clock=clock) as display:
        display.start("compress", "int8")
        display.update("compress", "int8", "round 1 of 3")
        display.update("compress", "int8", "round 1 of 3")
        clock.now += 2
        display.finish("compress", "int8")
        display.finish("train", reused=True)
        display.start("convert", "[b]x")
        display.finish("convert", "[b]x", failed="no kernel\nfor Erf " + "long " * 60)

    lines = stream.getvalue().splitlines()
    assert [line.split("] ", 1)[1] for line in lines[:-1]] == [
        "release digits: started",
        "compress int8: started",
        "compress int8: done in 2.0 s",
        "train: reused",
        "convert [b]x: started",
    ]
    assert "convert [b]x: failed: no kernel for Erf" in lines[-1]
    assert "\x1b" not in stream.getvalue()


def test_a_terminal_sees_reused_and_failed_steps():
    screen = Screen()

    with Display("release digits", file=screen, live=True) as display:
        display.start("train")
        display.finish("train", reused=True)
        display.start("compress", "int8")
        display.finish("compress", "int8", failed="killed by signal 9")

    assert "\u21ba" in screen.getvalue() and "reused" in screen.getvalue()
    assert "killed by signal 9" in screen.getvalue()


@pytest.mark.parametrize("live", [True, False])
def test_many_threads_at_once_lose_no_event(live):
    screen = Screen()

    with Display("release", file=screen, live=live) as display:

        def work(name: str) -> None:
            for i in range(20):
                display.start(f"s{i}", name)
                display.update(f"s{i}", name, "half")
                display.finish(f"s{i}", name)

        threads = [threading.Thread(target=work, args=(f"c{n}",), daemon=True) for n in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=30)
        assert not [thread for thread in threads if thread.is_alive()]

    text = screen.getvalue()
    assert all(f"s{i}" in text for i in range(20))
    assert text.count("\u2713") == 120 if live else text.count("done in") == 120


def test_steps_that_run_when_an_error_passes_are_shown_as_stopped():
    stream = io.StringIO()

    with pytest.raises(KeyboardInterrupt), Display("release", file=stream) as display:
        display.start("measure")
        raise KeyboardInterrupt

    assert "measure: failed: stopped" in stream.getvalue()


def test_importing_the_room_loads_no_heavy_library():
    import subprocess

    code = (
        "import sys; import tasks.reports.terminal, tasks.reports.display, tasks.reports.html, tasks.reports.markdown;"
        "import tasks.reports.figures;"
        "print([m for m in ('rich', 'jinja2', 'matplotlib', 'mlflow', 'prefect', 'tensorflow') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert result.stdout.strip() == "[]"


def test_what_applies_nowhere_is_told_once_with_its_reason(summary):
    gone = [
        row.model_copy(update={"name": "qat_int8", "outcome": "not_applicable", "reason": "qat: it takes Dense."})
        for row in (summary.rows[0], summary.rows[0].model_copy(update={"target": "tfs"}))
    ]
    text = terminal.as_text(summary.model_copy(update={"rows": (*summary.rows, *gone)}))

    assert text.count("qat_int8: qat: it takes Dense.") == 1
