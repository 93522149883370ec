"""`python -m tests.benchmarks [SECTION ...] [--json FILE]`: the promises about speed and size, as one table."""

import importlib
import json
import sys
import tempfile
import time
from pathlib import Path

import click

from tasks.runtimes.environment import Environment, NoiseMeter, read_environment
from tests.benchmarks.bench import Bench
from tests.benchmarks.table import as_text

SECTIONS = (
    *("release", "repeated", "orchestrator", "commands", "int8", "techniques", "mobilenet", "recurrent", "accuracy"),
    *("control", "calibration", "memory", "serving", "switching", "overload", "scale", "fan_out"),
)


@click.command()
@click.argument("sections", nargs=-1, type=click.Choice(SECTIONS))
@click.option("--json", "path", type=click.Path(dir_okay=False, path_type=Path), help="Write the figures there, too.")
@click.option("--repeats", default=3, show_default=True, help="How often long runs are repeated; the median counts.")
def main(sections: tuple[str, ...], path: Path | None, repeats: int) -> None:
    """Measure and print; the exit code is 1 where something allowed is missed."""
    environment, meter, begin = read_environment(), NoiseMeter(), time.monotonic()
    click.echo(stamp(environment))
    found = {}
    with tempfile.TemporaryDirectory(prefix="slipway-bench-") as folder:
        bench = Bench(Path(folder), repeats)
        for name in sections or SECTIONS:
            found[name] = importlib.import_module(f"tests.benchmarks.sections.{name}").rows(bench)
            click.echo(as_text(name, found[name]))
    noise = meter.read()
    click.echo(
        f"took {time.monotonic() - begin:.0f} s, load average {noise.load_average:.2f}, steal {noise.steal_percent} %"
    )
    if path:
        content = {name: [row.to_json() for row in rows] for name, rows in found.items()}
        environments = {"environment": environment.model_dump(mode="json"), "noise": noise.model_dump(mode="json")}
        path.write_text(json.dumps({**environments, "sections": content}, indent=2))
    sys.exit(0 if all(row.ok for rows in found.values() for row in rows) else 1)


def stamp(environment: Environment) -> str:
    """The machine and the libraries that the figures belong to."""
    machine = f"{environment.cpu}, {environment.cores} cores, {' '.join(environment.flags)}"
    system = f"{environment.kernel}, Python {environment.python}, load average {environment.load_average[0]:.2f}"
    libraries = ", ".join(f"{name} {version}" for name, version in environment.libraries.items())
    return f"{machine}\n{system}\n{libraries}"


if __name__ == "__main__":
    main()
