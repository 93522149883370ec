"""`python -m flows VERB`: parse, call, one sentence, exit code. No logic; nothing heavy is imported for `--help`."""

import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from io import TextIOWrapper
from pathlib import Path
from typing import Any, Literal, NoReturn

import click

from flows.answer import show, tell, unwritten
from tasks.foundations.errors import SlipwayError

EPILOG = """Exit codes: 0 done, 1 error, 2 bad usage, config or input, 3 refused by a gate, 4 inconclusive,
130 Ctrl-C, 143 SIGTERM or SIGHUP. Progress goes to stderr; with --json one JSON object goes to stdout."""
AFTER_A_SIGNAL = (
    " Finished steps are reused by the next run; `python -m flows status` shows what is in production, and a move that "
    "was under way is undone, or settled by the next command."
)
AFTER = {
    "predict": "",
    "serve": "",
    "up": " What was started goes on: `up` again starts the rest, `down` ends it.",
    "down": " `down` again ends the rest.",
}


class Terminated(BaseException):
    """SIGTERM or SIGHUP came; like KeyboardInterrupt it passes by everything that handles errors."""


@click.group(epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def main() -> None:
    """Takes a trained TensorFlow model to production, and back."""


def verb(function: Callable[..., dict[str, Any] | None]) -> click.Command:
    """A command with --json and --debug; the function returns what --json prints, `text` is what people read.

    One that has said everything while it ran returns None.
    """

    @wraps(function)
    def command(as_json: bool, debug: bool, **arguments: Any) -> None:
        signal.signal(signal.SIGTERM, _terminate)
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # with nohup it goes on without its terminal
            signal.signal(signal.SIGHUP, _terminate)
        answer = _answer(function, arguments, debug)
        sys.exit(0 if answer is None else show(answer, as_json))

    command = click.option("--debug", is_flag=True, help="Show tracebacks.")(command)
    command = click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")(command)
    return main.command(name=function.__name__)(command)


def run() -> NoReturn:
    """The command line: as `main`, but a wrong use is also answered in JSON where that was asked for."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # not where it is closed
            stream.reconfigure(errors="backslashreplace")  # a name that the terminal cannot show is no reason to fail
    try:
        sys.exit(main(standalone_mode=False))
    except click.ClickException as error:
        sys.exit(_misused(error))
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except Terminated:  # while the answer was being written
        sys.exit(143)
    except OSError as error:  # --help
        sys.exit(unwritten(error, ""))


def _answer(
    function: Callable[..., dict[str, Any] | None], arguments: dict[str, Any], debug: bool
) -> dict[str, Any] | None:
    try:
        return function(**arguments)
    except SlipwayError as error:
        return _failed(str(error), error.exit_code, debug)
    except (KeyboardInterrupt, Terminated) as end:
        code = 143 if isinstance(end, Terminated) else 130
        after = AFTER.get(function.__name__, AFTER_A_SIGNAL)
        return _failed(f"{'terminated' if code == 143 else 'interrupted'}.{after}", code, debug)
    except Exception as error:  # noqa: BLE001 - the last line of defence: one sentence instead of a traceback
        from flows.unexpected import describe

        return _failed(f"{describe(error)} Run again with --debug to see where.", 1, debug)


def _failed(sentence: str, exit_code: int, debug: bool) -> dict[str, Any]:
    if debug:
        import traceback

        traceback.print_exc()
    return {"error": sentence, "exit_code": exit_code}


def _misused(error: click.ClickException) -> int:
    """Click's own text for people; gives the exit code."""
    with suppress(OSError):
        error.show()
    answer = {"error": error.format_message(), "exit_code": error.exit_code}
    return tell(answer, as_json=True) if "--json" in sys.argv else error.exit_code


def _terminate(*_: object) -> NoReturn:
    raise Terminated


def _readable(_: click.Context, __: click.Parameter, text: str) -> str:
    """Without blanks around it, which are no reason, and with ? for bytes that are no text."""
    return text.strip().encode("utf-8", "replace").decode()


config_argument = click.argument("config", type=click.Path(dir_okay=False))
model_argument = click.argument("model")
reason_option = click.option("--reason", default="", callback=_readable, help="Why, for the journal.")
force_option = click.option(
    "--force", is_flag=True, help="Take a version that was rolled back; needs --reason, and the journal keeps both."
)


dry_run_option = click.option("--dry-run", is_flag=True, help="Only say what would be done; change nothing.")


@verb
@click.argument("name")
@click.option("--folder", default="configs", show_default=True, type=click.Path(file_okay=False), help="Where to.")
def init(name: str, folder: str) -> dict[str, Any]:
    """Write a commented NAME.yaml and NAME.py for your model."""
    from flows.init import write

    return write(name, folder)


@verb
@config_argument
def check(config: str) -> dict[str, Any]:
    """Check a whole CONFIG without importing or running anything of it."""
    from flows.check import check_config

    return check_config(config)


@verb
@config_argument
@click.option("--no-promote", is_flag=True, help="Leave a challenger; promote it later.")
@reason_option
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), help="Instead of the config's.")
@click.option("--epochs", type=click.IntRange(1), help="Of the training, instead of the config's.")
@click.option("--workers", type=click.IntRange(1), help="Worker processes, instead of the config's.")
@click.option("--step-timeout-s", type=click.FloatRange(0, min_open=True), help="Instead of the config's.")
@dry_run_option
def release(config: str, no_promote: bool, reason: str, dry_run: bool, **overrides: Any) -> dict[str, Any]:
    """Run the whole release of CONFIG: train, compress, prove, measure, gate, register, promote."""
    from flows.start import run_release

    return run_release(config, promote=not no_promote, reason=reason, dry_run=dry_run, overrides=overrides)


@verb
@click.argument("model", required=False)
def status(model: str | None) -> dict[str, Any]:
    """Show what is in production, what waits and what happened."""
    from flows.status import show

    return show(model)


@verb
@model_argument
@click.argument("version", type=int)
@reason_option
@force_option
@dry_run_option
def promote(model: str, version: int, **terms: Any) -> dict[str, Any]:
    """Put VERSION of MODEL in production."""
    from flows.moves import promote_version

    return promote_version(model, version, **terms)


@verb
@model_argument
@click.option("--to", type=int, help="Version to return to; default the one before.")
@reason_option
@dry_run_option
def rollback(model: str, to: int | None, reason: str, dry_run: bool) -> dict[str, Any]:
    """Put the version before back in production."""
    from flows.moves import roll_back

    return roll_back(model, to=to, reason=reason, dry_run=dry_run)


@verb
@model_argument
@click.option("--release", "release_id", help="Release id; default the newest.")
@click.option("--markdown", "as_markdown", is_flag=True, help="Print what the gates decided as Markdown.")
def report(model: str, release_id: str | None, as_markdown: bool) -> dict[str, Any]:
    """Write the HTML report of a release again and say where it is."""
    from flows.report import render

    return render(model, release_id, as_markdown=as_markdown)


@verb
@click.argument("model", required=False)
@dry_run_option
def reconcile(model: str | None, dry_run: bool) -> dict[str, Any]:
    """Finish or undo what a killed process left; mend copies, pointers and aliases; name servers that do not follow."""
    from flows.moves import reconcile_models

    return reconcile_models(model, dry_run=dry_run)


@verb
@click.argument("configs", nargs=-1, metavar="[CONFIG]...", type=click.Path(dir_okay=False))
@dry_run_option
def deploy(configs: tuple[str, ...], dry_run: bool) -> dict[str, Any]:
    """Make Prefect's deployments those of each CONFIG (default: all in configs/), remove those whose config is gone."""
    from flows.deploy import deploy_configs

    return deploy_configs(configs, dry_run=dry_run)


port = click.IntRange(0, 65535)


@verb
@click.argument("models", nargs=-1, metavar="[MODEL]...")
@click.option("--root", type=click.Path(path_type=Path), help="Serving folder; default that of SLIPWAY_HOME.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Where clients are answered.")
@click.option("--port", default=8080, show_default=True, type=port, help="Of OIP v2 and TensorFlow Serving's REST.")
@click.option("--admin-host", default="127.0.0.1", show_default=True, help="Where moves, status, metrics are answered.")
@click.option("--admin-port", default=0, type=port, help="Default: a free one.")
@click.option("--grpc-port", type=port, help="OIP v2 over gRPC too; needs the extra `grpc`. Default: not.")
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1, 256), help="Processes on the one port.")
@click.option(
    "--max-body-mb", default=64.0, show_default=True, type=click.FloatRange(0, min_open=True), help="Of one request."
)
def serve(models: tuple[str, ...], root: Path | None, max_body_mb: float, **rest: Any) -> None:
    """Serve what is in production of each MODEL, default of all, and follow every promotion and rollback."""
    from flows.serve import Options
    from flows.serve import serve as run_server

    as_json = bool(click.get_current_context().params["as_json"])
    run_server(Options(models, root, max_body_mb, rest), as_json)


@verb
@model_argument
@click.option("--input", "rows", required=True, type=click.Path(path_type=Path), help="Rows: .json, .npz or .csv.")
@click.option("--url", help="The server. Default: SLIPWAY_SERVER, one on this installation, http://127.0.0.1:8080.")
@click.option("--version", type=int, help="Ask this version; default the one in production.")
@click.option("--label", help="Ask the version that bears a label, like stable.")
@click.option("--output", type=click.Path(path_type=Path), help="Write all answers: .json, .npz or .csv.")
@click.option("--batch-size", default=32, show_default=True, type=click.IntRange(1), help="Rows of one request.")
@click.option(
    "--timeout-s", default=30.0, show_default=True, type=click.FloatRange(0, min_open=True), help="Of one request."
)
def predict(model: str, rows: Path, **options: Any) -> dict[str, Any]:
    """Ask the server that runs MODEL for the rows of a file."""
    from flows.predict import Question
    from flows.predict import predict as ask

    return ask(Question(model, rows, **options))


@verb
@config_argument
@dry_run_option
def clean(config: str, dry_run: bool) -> dict[str, Any]:
    """Remove artifacts, reports and serving copies beyond what `keep` in CONFIG says."""
    from flows.clean import clean_up

    return clean_up(config, dry_run=dry_run)


@verb
@click.option("--status", "only_look", is_flag=True, help="Only show what runs; exit code 1 unless all of it does.")
@click.option(
    "--database",
    type=click.Choice(["postgresql", "sqlite"]),
    help="Default: the one that this installation uses, else PostgreSQL where it is installed.",
)
def up(only_look: bool, database: Literal["postgresql", "sqlite"] | None) -> dict[str, Any]:
    """Start what does not run of PostgreSQL, MLflow, Prefect, a worker and the server, in the background."""
    from flows.up import show_stack, start_stack

    return show_stack(database) if only_look else start_stack(database)


@verb
def down() -> dict[str, Any]:
    """End what `up` has started; what was written stays."""
    from flows.down import end_stack

    return end_stack()


if __name__ == "__main__":
    run()
