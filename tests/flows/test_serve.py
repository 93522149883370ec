"""`serve` and `predict` as they are run: on a real home, with a real server, after real promotions."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from flows.serve import Options, serve, settings_of
from tasks.foundations.errors import InputError, SlipwayError
from tests.flows.serving_world import HANG_S, ROOT, ServingWorld, digit_weights, digits, serving

# A serving node has none of these.
PIPELINE = ("sqlalchemy", "filelock", "mlflow", "prefect", "fastapi", "fsspec", "onnx", "yaml", "rich", "grpc")
WITHOUT_PIPELINE = f"""
import sys
sys.modules |= dict.fromkeys({PIPELINE!r})
from flows.__main__ import run
sys.argv = ["flows", *sys.argv[1:]]
run()
"""
PEOPLE = '{"age": [41, -3], "body": [[1, 2], [3, 4.5]], "member": [[true], [false]], "town": ["Ulm", "Gießen"]}'


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Two versions of `digits`, the first in production, and one of `people`."""
    world = ServingWorld(tmp_path_factory.mktemp("world"))
    for model, version in (("digits", 1), ("digits", 2), ("people", 1)):
        world.register(model, version)
    world.promote("digits", 1)
    world.promote("people", 1)
    return world


@pytest.fixture(scope="module")
def server(world):
    """A server of both models, as a node without the pipeline's libraries runs it."""
    with serving([sys.executable, "-c", WITHOUT_PIPELINE, "serve", "--port", "0"], world.environment) as where:
        yield where


def options(root, *models, **rest):
    return Options(models, root, rest.pop("max_body_mb", 64), {"port": 0, **rest})


def test_the_announcement_names_ports_process_and_versions(server, world):
    assert server["models"] == {"digits": 1, "people": 1}
    assert server["grpc"] is None and server["pid"] > 0
    with urllib.request.urlopen(f"{server['url']}/v2/health/ready", timeout=HANG_S) as answer:
        assert answer.status == 200
    with urllib.request.urlopen(f"{server['admin']}/status", timeout=HANG_S) as answer:
        assert json.load(answer)["pid"] == server["pid"]


def test_predict_finds_the_server_of_its_installation_and_gets_the_models_own_answers(server, world, tmp_path):
    np.savez(tmp_path / "rows.npz", digits(40))
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_PIPELINE, "predict", "digits", "--input", str(tmp_path / "rows.npz"), "--json"],
        env=world.environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    answer = json.loads(done.stdout)
    assert (done.returncode, answer["version"], answer["rows"], done.stderr) == (0, 1, 40, "")
    expected = digits(40).reshape(40, -1) @ digit_weights(1)
    np.testing.assert_allclose(answer["outputs"]["logits"], expected, rtol=1e-4, atol=1e-4)


def test_words_numbers_and_truth_go_there_and_come_back(server, world, tmp_path):
    (tmp_path / "rows.json").write_text(PEOPLE)
    words = ("predict", "people", "--input", str(tmp_path / "rows.json"), "--url", server["url"])
    done = world.run(*words, "--output", str(tmp_path / "answers.csv"))

    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split() for line in done.stdout.splitlines()[1:4]] == [
        ["row", "older", "measures", "is_member", "home"],
        ["0", "42", "1", "2.0", "True", "'Ulm'"],
        ["1", "-2", "3", "4.5", "False", "'Gießen'"],
    ]
    assert (tmp_path / "answers.csv").read_text() == (
        "older,measures_0,measures_1,is_member_0,home\n42,1.0,2.0,True,Ulm\n-2,3.0,4.5,False,Gießen\n"
    )


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("nobody",), "There is no model 'nobody' here. Served: digits, people."),
        (("people", "--version", "7"), "Version 7 of model 'people' is not served"),
        (("people", "--label", "canary"), "has no version label 'canary'; it has 'stable'."),
        (("people", "--batch-size", "0"), "0 is not in the range x>=1"),
    ],
)
def test_what_is_not_served_is_answered_by_what_is(words, sentence, server, world, tmp_path):
    (tmp_path / "rows.json").write_text(PEOPLE)
    done = world.run("predict", *words, "--input", str(tmp_path / "rows.json"), "--json", SLIPWAY_SERVER=server["url"])

    answer = json.loads(done.stdout)
    assert done.returncode == answer["exit_code"] == 2
    assert sentence in answer["error"]


def test_a_body_beyond_the_limit_is_refused_with_advice(world, tmp_path):
    np.savez(tmp_path / "rows.npz", digits(40))
    with world.server("digits", "--max-body-mb", "0.004") as where:
        words = ("predict", "digits", "--input", str(tmp_path / "rows.npz"), "--url", where["url"])
        refused, taken = world.run(*words), world.run(*words, "--batch-size", "8")

    assert refused.returncode == 2 and "larger than 4000 bytes" in refused.stderr and "--batch-size" in refused.stderr
    assert taken.returncode == 0, taken.stderr
    assert where["models"] == {"digits": 1}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_people_get_one_line_and_a_signal_is_a_good_end(number, world):
    process = subprocess.Popen(
        [sys.executable, "-m", "flows", "serve", "people", "--port", "0"],
        env=world.environment,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        lines = []
        while not (lines and lines[-1].startswith("Serving ")):
            lines.append(process.stderr.readline())
            assert lines[-1], lines
        process.send_signal(number)
        out, rest = process.communicate(timeout=HANG_S)
    finally:
        process.kill()

    assert re.fullmatch(
        r"Serving people \(version 1\) on http://127\.0\.0\.1:\d+; admin and metrics on http://127\.0\.0\.1:\d+\. "
        r"Stop with Ctrl-C or SIGTERM\.\n",
        lines[-1],
    )
    assert (process.returncode, out) == (0, "") and "Traceback" not in rest and "error" not in rest


def test_a_port_that_is_taken_is_a_sentence(world, tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        done = world.run("serve", "--port", port, "--json")

    answer = json.loads(done.stdout)
    assert done.returncode == answer["exit_code"] == 1
    assert answer["error"] == (
        f"Port {port} of 127.0.0.1 cannot be used: another process listens there. End it, or give another number with "
        "--port."
    )


@pytest.mark.parametrize(
    ("changes", "kind", "sentence"),
    [
        (
            {"admin_port": "taken"},
            SlipwayError,
            "another process listens there. End it, or give another number with --admin",
        ),
        (
            {"grpc_port": "taken"},
            SlipwayError,
            "another process listens there. End it, or give another number with --grpc",
        ),
        ({"port": 8123, "grpc_port": 8123}, InputError, "--port and --grpc-port are both 8123."),
        ({"host": "no such host"}, InputError, "--host no such host: no such host."),
        (
            {"admin_host": "192.0.2.1", "admin_port": 0},
            SlipwayError,
            "this machine has no such address. Give one of its",
        ),
    ],
)
def test_addresses_that_cannot_be_had_are_named_by_their_option(changes, kind, sentence, world):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        ports = {name: other.getsockname()[1] if value == "taken" else value for name, value in changes.items()}
        with pytest.raises(kind) as caught:
            serve(options(world.serving, **ports), as_json=True)
    assert sentence in str(caught.value)


def test_a_model_without_a_folder_is_refused_by_those_that_have_one(world, tmp_path):
    with pytest.raises(InputError) as caught:
        settings_of(options(world.serving, "digits", "peple"))
    assert str(caught.value) == (
        f"There is no model 'peple' in {world.serving}/onnx_server. There are digits, people. Did you mean people?"
    )
    with pytest.raises(
        InputError, match=r"There is none; the first release of a config with this serving kind makes it\."
    ):
        settings_of(options(tmp_path, "digits"))


def test_a_root_that_is_none_is_refused(tmp_path):
    with pytest.raises(
        InputError, match=r"none is no folder. --root names a serving folder, one that holds onnx_server/"
    ):
        settings_of(options(tmp_path / "none"))


def test_without_a_root_it_is_the_installations_folder(world, monkeypatch):
    monkeypatch.setenv("SLIPWAY_HOME", str(world.home))

    assert settings_of(options(None)).root == str(world.serving)


def test_installed_without_a_checkout_it_asks_for_the_folder(tmp_path, monkeypatch):
    monkeypatch.delenv("SLIPWAY_HOME", raising=False)
    monkeypatch.setattr("flows.serve.CHECKOUT", tmp_path)

    with pytest.raises(InputError, match="name the serving folder with --root"):
        settings_of(options(None))


def test_options_become_settings(tmp_path):
    (tmp_path / "onnx_server" / "digits").mkdir(parents=True)
    found = settings_of(
        options(Path(os.path.relpath(tmp_path)), "digits", "digits", max_body_mb=0.5, workers=3, grpc_port=9)
    )

    assert (found.root, found.models, found.max_body_bytes) == (str(tmp_path), ("digits",), 500_000)
    assert (found.workers, found.grpc_port, found.port, found.host) == (3, 9, 0, "127.0.0.1")


def test_a_home_without_a_release_is_served_as_soon_as_there_is_one(tmp_path):
    world = ServingWorld(tmp_path)
    (tmp_path / "rows.json").write_text(json.dumps(digits(1).tolist()))
    world.register("digits", 1)
    with world.server() as where:
        assert where["models"] == {}
        world.promote("digits", 1)
        done = world.run("predict", "digits", "--input", str(tmp_path / "rows.json"), "--json")
    assert json.loads(done.stdout)["version"] == 1, done.stderr
