"""Whether a worker of a Dask cluster is fit for a release: same software, processor and store, processes of its own.

Results are looked up by what made them, so a step must come out the same wherever it runs.
"""

import multiprocessing
import platform
from functools import cache
from uuid import uuid4

from flows.home import home
from flows.storage import URL, open_store
from tasks.foundations.errors import InputError
from tasks.foundations.record import Record
from tasks.foundations.worker_process import WorkerSettings
from tasks.foundations.workers import Workers
from tasks.runtimes.environment import cpu_class, read_environment
from tasks.store.action import TASKS, source_digest

LIBRARIES = (
    *("slipway", "numpy", "onnx", "onnxruntime", "tensorflow", "keras", "tf-keras", "tf2onnx", "ai-edge-litert"),
    *("tensorflow-model-optimization", "pydantic", "distributed", "cloudpickle"),
)


class Facts(Record):
    """What decides the outcome of steps on a machine, beside their inputs.

    Attributes:
        python: its version.
        processor: see `cpu_class`.
        libraries: distribution -> version.
        source: digest of Slipway's own.
    """

    python: str
    processor: str
    libraries: dict[str, str]
    source: str


@cache
def facts() -> Facts:
    """Of this machine."""
    rooms = sorted(path.name for path in TASKS.iterdir() if path.is_dir())
    return Facts(
        python=platform.python_version(),
        processor=cpu_class(),
        libraries=read_environment(LIBRARIES).libraries,
        source=source_digest(*rooms),
    )


def differences(found: Facts, expected: Facts) -> str:
    """What of a worker is not as where the release runs, empty if all is."""
    names = sorted(found.libraries.keys() | expected.libraries.keys())
    pairs = {name: (found.libraries.get(name, "none"), expected.libraries.get(name, "none")) for name in names}
    pairs |= {"Python": (found.python, expected.python), "processor": (found.processor, expected.processor)}
    pairs |= {"Slipway's source": (found.source[:12], expected.source[:12])}
    return "; ".join(f"{name} {there}, here {here}" for name, (there, here) in pairs.items() if there != here)


def probe(token: str) -> tuple[Facts, str]:
    """Whether this worker can carry out steps of the release that has left a token in its store.

    Returns:
        Its facts, and the name of what it has left in the store itself.

    Raises:
        InputError: it cannot start processes, has another store, or is older than its own files.
    """
    if multiprocessing.current_process().daemon:
        raise InputError(
            "it may not start processes of its own. Start it with DASK_DISTRIBUTED__WORKER__DAEMON=False in its "
            "environment (distributed.worker.daemon: false in Dask's configuration)."
        )
    store = open_store(home())
    if store.read(f"probes/{token}.json") is None:
        raise InputError(f"its store {store.url} is not the release's. Let {URL} name the same store everywhere.")
    mark = f"probes/{token}-{uuid4().hex}.json"
    store.write(mark, "{}")
    with Workers(WorkerSettings(count=1, threads=1, log=str(home().logs / "probe.log"))) as workers:
        found: Facts = workers.run("flows.fitness:read_facts", Record(), kind="plain")
    if found != facts():
        raise InputError(
            f"its installation has changed since it was started ({differences(facts(), found)}). Restart it."
        )
    return found, mark


def read_facts(_: Record) -> Facts:
    """The job by which a worker shows that it can start processes."""
    return facts()
