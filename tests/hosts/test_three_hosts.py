"""Servers on one host, targets on two others: measured on both, promoted, served, rolled back, cut off, restarted.

What crosses hosts crosses a network: Prefect's and MLflow's HTTP, and the store through MLflow's proxied artifacts.
Only the serving folder is shared as a disk.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tasks.foundations.locks import hold, machine_lock
from tests.flows.full_prefect import PREFECT, process, until
from tests.flows.installation import Installation, Running
from tests.hosts.network import Host, three_hosts, why_not

pytestmark = [pytest.mark.slow("another machine"), pytest.mark.skipif(bool(why_not()), reason=why_not() or "-")]

MLFLOW = PREFECT.with_name("mlflow")
ROWS = {"inputs": [{"name": "features", "datatype": "FP32", "shape": [1, 16], "data": [0.1] * 16}]}
TARGETS = {
    "edge": {"runtime": "onnxruntime", "work_pool": "edge"},
    "big": {"runtime": "onnxruntime", "threads": 2, "work_pool": "big"},
}
GATES = [{"metric": "accuracy", "max_drop": 0.3}, {"metric": "accuracy", "max_drop": 0.5, "against": "champion"}]


class Site:
    """The three hosts and what runs on them."""

    def __init__(self, folder: Path, servers: Host, edge: Host, big: Host) -> None:
        self.folder, self.servers, self.edge, self.big = folder, servers, edge, big
        self.stack = ExitStack()
        self.running: dict[str, ExitStack] = {}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.installation = Installation(folder, f"http://{servers.address}:4200/api")
        shared = {
            "MLFLOW_TRACKING_URI": f"http://{servers.address}:5000",
            "SLIPWAY_STORE_URL": "mlflow-artifacts:/slipway",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
        }
        self.installation.environment |= shared
        self.log = folder / "hosts.log"

    def say(self, sentence: str) -> None:
        with self.log.open("a") as log:
            log.write(f"{time.strftime('%H:%M:%S')} {sentence}\n")

    def start(self, name: str, host: Host, words: list[str], **environment: str) -> None:
        """Start a service on a host, in its own home."""
        variables = self.installation.environment | {
            "SLIPWAY_HOME": str(self.folder / f"home-{host.name}"),
            "PREFECT_HOME": str(self.folder / f"prefect-{host.name}"),
        }
        self.running[name] = ExitStack()
        self.processes[name] = self.running[name].enter_context(
            process(host.enter(words), variables | environment, self.folder / f"{name}.log")
        )
        self.say(f"started {name} on {host.address}")

    def stop(self, *names: str) -> None:
        for name in names:
            self.running.pop(name).close()
            self.say(f"stopped {name}")

    def start_servers(self) -> None:
        prefect = [str(PREFECT), "server", "start", "--host", self.servers.address, "--port", "4200"]
        self.start("prefect", self.servers, prefect, PREFECT_API_URL="")
        words = [str(MLFLOW), "server", "--host", self.servers.address, "--port", "5000", "--workers", "1"]
        words += ["--backend-store-uri", f"sqlite:///{self.folder}/mlflow.db", "--serve-artifacts"]
        words += ["--artifacts-destination", str(self.folder / "mlflow-artifacts"), "--allowed-hosts", "*"]
        self.start("mlflow", self.servers, words)
        until(lambda: self.get(f"http://{self.servers.address}:4200/api/health"), "Prefect does not start", 120)
        until(lambda: self.get(f"http://{self.servers.address}:5000/health"), "MLflow does not start", 120)

    def start_worker(self, pool: str, host: Host) -> None:
        self.start(f"worker-{pool}", host, [str(PREFECT), "worker", "start", "--pool", pool, "--type", "process"])

    def supervise(self) -> None:
        """As systemd does: a worker gives up after its server was away for some time."""
        for pool, host in (("edge", self.edge), ("big", self.big)):
            if self.processes[f"worker-{pool}"].poll() is not None:
                self.stop(f"worker-{pool}")
                self.start_worker(pool, host)

    def get(self, url: str, body: dict[str, Any] | None = None) -> bytes:
        """What a client on the servers' host is answered; empty if nothing."""
        data = ["-d", json.dumps(body), "-H", "Content-Type: application/json"] if body else []
        words = self.servers.enter(["curl", "-s", "-f", "-m", "5", *data, url])
        return subprocess.run(words, capture_output=True).stdout

    def begin(self, *words: str, **changes: Any) -> Running:
        """A release on the servers' host."""
        config = self.installation.config(
            **{"targets": TARGETS, "gates": GATES, "serving": [{"kind": "onnx_server", "target": "edge"}], **changes}
        )
        wrapper = tuple(self.servers.enter([sys.executable, "-m", "flows"]))
        return start(self.installation, wrapper, "release", config, *words)

    def run(self, *words: str) -> Any:
        """A command on the servers' host."""
        running = start(self.installation, tuple(self.servers.enter([sys.executable, "-m", "flows"])), *words)
        try:
            return running.end()
        finally:
            running.stop()

    def runs(self, state: str) -> list[dict[str, Any]]:
        """Flow runs of targets in a state."""
        body = {"flow_runs": {"name": {"like_": "hardware"}, "state": {"type": {"any_": [state]}}}}
        return json.loads(self.get(f"http://{self.servers.address}:4200/api/flow_runs/filter", body) or b"[]")

    def close(self) -> None:
        self.stop(*list(self.running))


def start(installation: Installation, wrapper: tuple[str, ...], *words: str) -> Running:
    installation._count += 1
    out, log = (installation.folder / f"{installation._count}.{name}" for name in ("out", "log"))
    with out.open("w") as stdout, log.open("w") as stderr:
        started = subprocess.Popen(
            [*wrapper, *words, "--json"],
            env=installation.environment,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )
    return Running(started, out, log)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with three_hosts() as hosts:
        made = Site(tmp_path, *hosts)
        try:
            made.start_servers()
            made.start_worker("edge", made.edge)
            made.start_worker("big", made.big)
            yield made
        finally:
            made.close()
            print(made.log.read_text())


def ended(running: Running) -> Any:
    try:
        return running.end(400)
    finally:
        running.stop()


def test_a_model_goes_to_production_over_three_hosts_and_survives_their_failures(site: Site) -> None:
    served = f"http://{site.edge.address}:8080"

    # Measured on both hosts, promoted, served on one.
    first = ended(site.begin())
    assert (first.code, set(first.json["winners"])) == (0, {"edge", "big"}), first.log
    site.say(f"release: {first.json['decision']}")
    words = [sys.executable, "-m", "flows", "serve", "--host", site.edge.address, "--port", "8080"]
    home = {"SLIPWAY_HOME": str(site.installation.home)}
    site.start("serve", site.edge, [*words, "--admin-host", site.edge.address], **home)
    until(lambda: site.get(f"{served}/v2/health/ready"), "the server is not ready", 60)
    assert version_of(site, served) == "1"

    # One worker is cut off in the middle of its work: its target fails with the reason, the champion stays.
    try:
        with hold(machine_lock("measure"), "this test"):  # both hosts wait for it in the middle of their work
            cut = site.begin("--no-promote", seed=1, execution={"machine_wait_s": 20})
            until(lambda: len(site.runs("RUNNING")) == 2, "the hosts have not begun", 300)
            site.big.cut_off()
            site.say("cut big off")
        answer = ended(cut)
    finally:
        site.big.reconnect()
        site.say("connected big again")
    assert answer.code == 1, answer.log
    assert "has been silent for" in answer.reason("float32", "big"), answer.log
    assert version_of(site, served) == "1"

    # The servers are restarted in the middle of a release: it goes on, or the next one goes on where it was.
    with hold(machine_lock("measure"), "this test"):
        restarted = site.begin(seed=1, execution={"machine_wait_s": 60})
        until(lambda: site.runs("RUNNING"), "the hosts have not begun", 300)
        site.stop("prefect", "mlflow")
        site.start_servers()
    second = ended(restarted)
    site.say(f"release under the restart: exit {second.code}: {second.json.get('error') or second.json['decision']}")
    if second.code != 0:
        site.supervise()
        second = ended(site.begin(seed=1, execution={"machine_wait_s": 60}))
    assert (second.code, second.json["version"]) == (0, 2), second.log
    assert all(reused for stage, reused in second.reused.items() if stage.startswith(("train", "convert"))), (
        second.reused
    )
    assert version_of(site, served) == "2"

    # And back.
    back = site.run("rollback", "tiny")
    assert (back.code, back.json["version"], len(back.json["servers"])) == (0, 1, 1), back.log
    assert version_of(site, served) == "1"
    site.say(back.json["message"])


def version_of(site: Site, served: str) -> str:
    return str(json.loads(site.get(f"{served}/v2/models/tiny/infer", ROWS))["model_version"])
