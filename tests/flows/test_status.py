"""What `status` says of servers and challengers, and what a release says at its end."""

import json
import os
import signal
from types import SimpleNamespace

import pytest

from flows import ending, release
from flows.config import load
from flows.story import Story
from tasks.foundations.errors import Conflict, Inconclusive, InputError, Refused
from tasks.promotion.control import Move
from tasks.serving.answers import Observation
from tests.flows.serving_world import ServingWorld

CONFIG = """\
name: tiny
task: {kind: classification, output: logits}
model: {kind: keras_builder, entrypoint: tiny.py:build}
data: {kind: python, entrypoint: tiny.py:load}
training: {loss: sparse_categorical_crossentropy, epochs: 2, optimizer: {kind: adam, learning_rate: 0.01}}
candidates:
  int8: [{kind: int8_static}]
targets:
  cpu: {runtime: onnxruntime}
gates:
  - {metric: accuracy, max_drop: 0.02}
choose: {minimize: p50_ms}
serving:
  - {kind: onnx_server, target: cpu, deadline_ms: 20, batching: {max_delay_ms: DELAY}}
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Version 1 of `digits` in production, version 2 waits; `people` has version 1."""
    world = ServingWorld(tmp_path_factory.mktemp("world"))
    for model, version in (("digits", 1), ("digits", 2), ("people", 1)):
        world.register(model, version)
    world.promote("digits", 1)
    return world


def status(world, *words):
    done = world.run("status", *words, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_without_a_server_nothing_is_asked_and_a_challenger_is_named(world):
    assert status(world, "digits")["servers"] == []
    assert world.run("status").stdout.splitlines() == [
        "digits: version 1 in production; version 2 waits as challenger",
        "people: nothing in production; version 1 waits as challenger",
    ]


def test_every_server_is_shown_with_what_it_serves_and_one_that_is_stopped_with_its_silence(world):
    pointer = json.loads((world.serving / "onnx_server/digits/pointer.json").read_text())
    with world.server("digits") as well, world.server() as stopped:
        os.kill(stopped["pid"], signal.SIGSTOP)
        try:
            text, found = world.run("status", "digits").stdout, status(world, "digits")["servers"]
            overview, every = world.run("status").stdout, status(world)["models"]
        finally:
            os.kill(stopped["pid"], signal.SIGCONT)

    servers = {server["url"]: server for server in found}
    assert servers[well["url"]] == {
        **{name: well[name] for name in ("url", "admin", "pid")},
        "host": servers[well["url"]]["host"],
        **{name: pointer[name] for name in ("version", "serial", "digest")},
        "failed": None,
    }
    assert (servers[stopped["url"]]["version"], servers[stopped["url"]]["failed"]) == (None, "does not answer")
    host = servers[well["url"]]["host"]
    lines = {
        f"  {well['url']}  process {well['pid']} on {host}  version 1 (move {pointer['serial']})",
        f"  {stopped['url']}  process {stopped['pid']} on {host}  does not answer",
    }
    assert lines <= set(text.splitlines()) and lines <= set(overview.splitlines())
    assert [len(each["servers"]) for each in every] == [2, 1]


def test_a_journal_that_was_lost_is_no_reason_to_begin_another(world, tmp_path):
    lost = {"SLIPWAY_JOURNAL_URL": f"sqlite:///{tmp_path}/other.db"}
    for words in (("status", "digits"), ("rollback", "digits"), ("reconcile", "digits"), ("promote", "digits", "1")):
        done = world.run(*words, **lost)

        assert done.returncode == 1
        assert "ends at 0: it was lost or reset" in done.stderr and "Run `release` first" not in done.stderr


def move(servers):
    answers = tuple(
        Observation(kind="onnx_server", server=f"http://127.0.0.1:{port}", version=3, digest="d", ms=1.0)
        for port in range(servers)
    )
    facts = {"model": "digits", "kind": "promote", "version": 3, "from_version": 1, "moved": True}
    return Move(**facts, attempt="a", message="", servers=answers)


@pytest.mark.parametrize(
    ("servers", "said"), [(0, ""), (1, "; 1 server answers with it"), (2, "; 2 servers answer with it")]
)
def test_a_release_says_how_many_servers_answer(servers, said):
    story = Story()
    story.moved(move(servers))

    assert story.decision == f"promoted version 3 (was 1){said}"


@pytest.mark.parametrize("before", [[], [Conflict("bob was first")]])
def test_a_version_that_its_trial_refuses_is_refused_and_the_log_is_said_once(monkeypatch, before):
    answers = [*before, Refused("Version 4 gets no traffic: it ended.\nThe end of its server's log:\nwords")]
    logged = []

    def refuse(*_):
        raise answers.pop(0)

    monkeypatch.setattr(release, "_move", refuse)
    monkeypatch.setattr(release, "names_champion", lambda _: False)
    monkeypatch.setattr(release, "find_champion", lambda _: None)
    desk = SimpleNamespace(config=None, executor=SimpleNamespace(observer=SimpleNamespace(log=logged.append)))
    story = Story()
    release._promote(desk, story, None)

    assert (story.decision, story.exit_code) == ("refused: Version 4 gets no traffic: it ended.", 3)
    assert [text.splitlines()[-1] for text in logged] == ["words"]


def test_a_refusal_that_ends_a_release_early_is_called_so(monkeypatch, tmp_path):
    monkeypatch.setattr(ending, "summarize", lambda *_: None)
    monkeypatch.setattr(ending, "report", lambda *_: None)
    executor = SimpleNamespace(digests={}, end=lambda: None)
    desk = SimpleNamespace(home=SimpleNamespace(root=tmp_path), folder=tmp_path, executor=executor)
    for error, said in ((Refused("no"), "refused: no"), (Inconclusive("hm"), "inconclusive: hm")):
        story = Story()
        with pytest.raises(Refused), ending.told(desk, story):
            raise error

        assert (story.decision, story.exit_code) == (said, error.exit_code)


def config(folder, delay):
    (folder / "tiny.py").write_text("def build():\n    pass\n\n\ndef load():\n    pass\n")
    (folder / "tiny.yaml").write_text(CONFIG.replace("DELAY", delay))
    return str(folder / "tiny.yaml")


@pytest.mark.parametrize("delay", ["20", "50.5"])
def test_a_delay_that_would_make_every_lone_request_late_is_a_mistake_of_the_config(tmp_path, delay):
    with pytest.raises(InputError) as caught:
        load(config(tmp_path, delay))

    assert f":14: serving.0: batching.max_delay_ms ({delay}) must be below deadline_ms (20): a request that is" in str(
        caught.value
    )


def test_a_delay_below_the_deadline_is_none(tmp_path):
    assert load(config(tmp_path, "19")).config.serving[0].deadline_ms == 20
