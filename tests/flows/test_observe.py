"""What machines can read of a release and of requests: spans at a collector, and logs as lines of JSON."""

import json
import os
import signal
import subprocess
import sys
import urllib.request

import pytest

from flows.diary import wants_json
from tasks.foundations.errors import InputError
from tests.flows.collector import collector
from tests.flows.serving_world import HANG_S, ROOT, ServingWorld, digits

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture
def world(tmp_path):
    world = ServingWorld(tmp_path)
    world.register("digits", 1)
    world.promote("digits", 1)
    return world


def ask(url, body, **headers):
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json", **headers})
    try:
        with urllib.request.urlopen(request, timeout=HANG_S) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def test_every_request_is_a_span_below_the_clients_own_and_the_log_is_json(world, tmp_path):
    log = tmp_path / "serve.log"
    rows = {"instances": digits(2).tolist()}
    with collector() as collected, log.open("w") as stderr:
        environment = {**world.environment, "OTEL_EXPORTER_OTLP_ENDPOINT": collected.url, "SLIPWAY_LOG_FORMAT": "json"}
        words = [sys.executable, "-m", "flows", "serve", "--port", "0", "--json"]
        server = subprocess.Popen(
            words,
            env={**environment, "OTEL_BSP_SCHEDULE_DELAY": "100"},
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=stderr,
        )
        try:
            url = json.loads(server.stdout.readline())["url"]
            traced = ask(f"{url}/v1/models/digits:predict", rows, traceparent=f"00-{TRACE}-{PARENT}-01")
            wrong = ask(f"{url}/v1/models/digits:predict", {"instances": [1]})
            below = collected.until(lambda span: span["trace"] == TRACE)
            refused = collected.until(lambda span: span.get("http.response.status_code") == 400)
        finally:
            server.send_signal(signal.SIGTERM)
            assert server.wait(HANG_S) == 0
    assert (traced, wrong) == (200, 400)
    assert (below["service"], below["name"], below["parent"]) == ("slipway-serve", "infer digits", PARENT)
    assert (below["slipway.model"], below["slipway.version"], below["http.response.status_code"]) == ("digits", 1, 200)
    assert below["ms"] > 0 and not below["error"] and not refused["parent"]
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    switched = next(line for line in lines if line.get("event") == "switched")
    assert (switched["level"], switched["model"], switched["version"]) == ("info", "digits", 1)
    assert all({"at", "level", "message"} <= line.keys() for line in lines)


def test_nothing_of_opentelemetry_is_imported_unless_it_is_asked_for():
    modules = "flows.diary, flows.serve, tasks.serving.server.app, tasks.serving.server.host"
    code = f"import {modules}, sys; print(sorted(sys.modules))"
    environment = {key: value for key, value in os.environ.items() if not key.startswith("OTEL_")}

    found = subprocess.run([sys.executable, "-c", code], env=environment, cwd=ROOT, capture_output=True, text=True)

    assert found.returncode == 0, found.stderr
    assert "opentelemetry" not in found.stdout


def test_where_opentelemetry_is_not_installed_it_says_what_to_do(world):
    code = (
        "import sys; sys.modules['opentelemetry'] = None; sys.modules['opentelemetry.sdk'] = None\n"
        "sys.modules['opentelemetry.exporter'] = None\n"
        "from flows.__main__ import run; sys.argv = ['flows', 'serve', '--port', '0']; run()"
    )
    environment = {**world.environment, "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}

    done = subprocess.run([sys.executable, "-c", code], env=environment, cwd=ROOT, capture_output=True, text=True)

    assert done.returncode == 2, done.stderr
    assert "Install Slipway with its extra `otel`" in done.stderr


def test_a_format_that_is_none_is_refused(monkeypatch):
    monkeypatch.setenv("SLIPWAY_LOG_FORMAT", "xml")

    with pytest.raises(InputError, match="SLIPWAY_LOG_FORMAT is 'xml'. Expected text or json"):
        wants_json()


@pytest.mark.slow
def test_a_release_is_a_trace_with_a_span_for_every_stage_and_lines_of_json(new_installation):
    with collector() as collected:
        new_installation.environment |= {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collected.url,
            "SLIPWAY_LOG_FORMAT": "json",
            "SLIPWAY_NOTIFY": "json://127.0.0.1:9/nobody",
        }

        answer = new_installation.release()

        assert answer.code == 0, answer.log
        root = collected.until(lambda span: span["name"] == "release tiny")
        technique = collected.until(lambda span: span["name"] == "int8_static")
    assert (root["slipway.version"], root["slipway.exit_code"], root["error"]) == (1, 0, False)
    assert root["slipway.decision"] == answer.json["decision"] and root["slipway.run"] == answer.json["release"]
    assert (technique["parent"], technique["trace"]) == (root["id"], root["trace"])
    assert (technique["slipway.candidate"], technique["slipway.reused"]) == ("int8", False)
    stages = {f"{stage['name']} {stage['candidate'] or ''}".strip() for stage in answer.json["stages"]}
    below = [span for span in collected.spans if span["parent"] == root["id"]]
    assert {f"{span['name']} {span.get('slipway.candidate', '')}".strip() for span in below} == {
        *stages,
        "attach report",
    }
    lines = [json.loads(line) for line in answer.log.splitlines()]
    assert {line["run"] for line in lines} == {answer.json["release"]} and {line["model"] for line in lines} == {"tiny"}
    assert any(
        (line.get("stage"), line.get("candidate"), line["message"]) == ("int8_static", "int8", "done") for line in lines
    )
    (end,) = [line for line in lines if line.get("event") == "ended"]
    assert (end["version"], end["message"], end["level"]) == (1, answer.json["decision"], "info")
    assert "address 1 of 1 (JSON) did not take the notification of `promoted`" in lines[-1]["message"]
