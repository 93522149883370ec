"""Prometheus finds the server, and every query of the dashboard asks for what the server really counts."""

import json
import re
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tasks.serving.server.metrics import Metrics
from tests.flows.serving_world import ServingWorld, digits

DOCKER = Path(__file__).parents[2] / "docker"
CONFIG = DOCKER / "prometheus.yml"
DASHBOARD = json.loads((DOCKER / "grafana" / "dashboards" / "serving.json").read_text())
COMPOSE = yaml.safe_load((DOCKER / "compose.yaml").read_text())
QUERIES = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
LATE_S = 60


def names(query: str) -> set[str]:
    """The metrics that a query reads."""
    return set(re.findall(r"\b(?:slipway|process)_\w+|\bup\b", query))


def labels(query: str) -> set[str]:
    """The labels that a query groups by."""
    return {label.strip() for group in re.findall(r"by \(([^)]*)\)", query) for label in group.split(",")}


def test_every_query_of_the_dashboard_asks_for_something_that_a_server_counts():
    families = {family.name: family.type for family in text_string_to_metric_families(Metrics().text().decode())}
    endings = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"], "gauge": [""]}
    known = {name + ending for name, kind in families.items() for ending in endings.get(kind, [])} | {"up"}

    for query in QUERIES:
        assert names(query) and names(query) <= known, query
        assert labels(query) <= {"model", "code", "reason", "le"}, query


def test_the_dashboard_shows_rate_latency_refusals_version_and_switches():
    asked = set().union(*map(names, QUERIES))

    assert {
        "slipway_requests_total", "slipway_request_seconds_bucket", "slipway_rejected_total", "slipway_version",
        "slipway_switches_total", "slipway_failing",
    } <= asked  # fmt: skip
    assert {"histogram_quantile(0.5", "histogram_quantile(0.99"} <= {query.split(",")[0] for query in QUERIES}


def test_the_dashboard_reads_from_the_data_source_that_is_provisioned():
    (source,) = yaml.safe_load((DOCKER / "grafana/provisioning/datasources/prometheus.yml").read_text())["datasources"]
    asked = [panel["datasource"] for panel in DASHBOARD["panels"]]
    asked += [target["datasource"] for panel in DASHBOARD["panels"] for target in panel["targets"]]

    assert all(one == {"type": source["type"], "uid": source["uid"]} for one in asked)
    assert source["url"] == "http://prometheus:9090" and "prometheus" in COMPOSE["services"]
    (provider,) = yaml.safe_load((DOCKER / "grafana/provisioning/dashboards/slipway.yml").read_text())["providers"]
    mounts = [volume.split(":") for volume in COMPOSE["services"]["grafana"]["volumes"]]
    assert ["./grafana/dashboards", provider["options"]["path"], "ro"] in mounts


def test_panels_have_ids_of_their_own_and_do_not_overlap():
    panels = DASHBOARD["panels"]
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24 and not cells & taken, panel["title"]
        taken |= cells
    assert len({panel["id"] for panel in panels}) == len(panels)


def test_prometheus_asks_the_server_where_compose_puts_it():
    jobs = {job["job_name"]: job for job in yaml.safe_load(CONFIG.read_text())["scrape_configs"]}
    server, prometheus = COMPOSE["services"]["server"], COMPOSE["services"]["prometheus"]

    assert jobs["slipway"]["static_configs"] == [{"targets": ["server:8080"]}]
    assert "--port=8080" in server["command"] and set(prometheus["networks"]) & set(server["networks"])


@pytest.mark.slow
def test_with_a_real_prometheus_and_a_real_server_every_query_has_an_answer(tmp_path):
    if not shutil.which("prometheus") or not shutil.which("promtool"):
        pytest.skip("no prometheus on the PATH")
    checked = subprocess.run(["promtool", "check", "config", CONFIG], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
    world = ServingWorld(tmp_path)
    for version in (1, 2):
        world.register("digits", version)
    world.promote("digits", 1)

    with world.server() as server, prometheus(tmp_path, server["url"]) as base:
        ask(server["url"])
        answered(base, 'up{job="slipway"} == 1')
        world.promote("digits", 2)
        deadline = time.monotonic() + LATE_S
        waiting = [re.sub(r"\$model", ".*", query.replace("$__rate_interval", "30s")) for query in QUERIES]
        while waiting and time.monotonic() < deadline:
            ask(server["url"])
            waiting = [query for query in waiting if value(base, query) is None]
        assert waiting == [], "without data"
        assert value(base, 'slipway_version{model="digits"}') == 2
        assert value(base, 'sum by (model) (increase(slipway_switches_total{model=~".*"}[1d]))') > 0


@contextmanager
def prometheus(folder: Path, server: str) -> Iterator[str]:
    """A real one with our configuration, but for where the server is and how often it is asked."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    text = CONFIG.read_text().replace("server:8080", server.removeprefix("http://")).replace("5s", "1s")
    (folder / "prometheus.yml").write_text(text.replace("127.0.0.1:9090", f"127.0.0.1:{port}"))
    command = [
        "prometheus", f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]  # fmt: skip
    with (folder / "prometheus.log").open("w") as log, subprocess.Popen(command, stderr=log, stdout=log) as process:
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def value(base: str, query: str) -> float | None:
    """The first number that a query gives, None for none yet."""
    asked = f"{base}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
    try:
        with urllib.request.urlopen(asked, timeout=10) as answer:
            result = json.load(answer)["data"]["result"]
    except OSError as error:
        if getattr(error, "code", 503) == 503:  # it is starting
            return None
        raise
    number = float(result[0]["value"][1]) if result else float("nan")
    return None if number != number else number


def answered(base: str, query: str) -> None:
    """Wait until a query has an answer."""
    deadline = time.monotonic() + LATE_S
    while value(base, query) is None:
        assert time.monotonic() < deadline, f"{query} has no answer"
        time.sleep(0.1)


def ask(server: str) -> None:
    """Some requests, and one that is refused."""
    tensor = {"name": "image", "datatype": "FP32", "shape": [1, 8, 8, 1], "data": digits(1).ravel().tolist()}
    for body in [{"inputs": [tensor]}] * 40 + [{"inputs": []}]:
        request: Any = urllib.request.Request(f"{server}/v2/models/digits/infer", json.dumps(body).encode())
        with suppress(urllib.error.HTTPError):
            urllib.request.urlopen(request, timeout=10).read()
