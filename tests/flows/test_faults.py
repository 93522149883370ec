"""What goes wrong in real life: bad input, dying steps, full disks, signals, two releases at once.

One installation lives through all of it, with a champion that no fault may touch. Every fault really happens.
"""

import os
import resource
import shutil
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

from tasks.foundations.locks import hold, machine_lock
from tests.flows.installation import MODELS, TINY, Answer, Installation, Running

STRONGER = {**TINY["training"], "epochs": 3}
WEAK = {**TINY["training"], "epochs": 1, "optimizer": {"kind": "sgd", "learning_rate": 0.000001}}
LENIENT = [{"metric": "size_bytes", "max_ratio": 0.6}, {"metric": "agreement", "min": 0.5}]
LIMIT = 20_000  # bytes of a file: the reports and databases are larger, the log is not
ENDLESS = {"stuck": [{"kind": "fault", "how": "endless"}], **TINY["candidates"]}
# One of every step that can find it: tests/data and tests/models know all else that can be wrong.
BAD = {
    "the builder raises": (
        {"model": "raising_build"},
        "bad.py:raising_build raised RuntimeError: the weights file is not mounted (bad.py, line 8).",
    ),
    "another shape": (
        {"data": "other_shape"},
        "data: a row of train input 'input' has shape (12,), the model takes (16,).",
    ),
    "a metric that raises": (
        {"gates": [{"metric": "bad.py:raising_metric", "min": 0.5}]},
        "bad.py:raising_metric raised KeyError: 'weights' (bad.py, line ",
    ),
    "a slice that nobody has": (
        {"data": "without_slices", "gates": [{"metric": "accuracy", "max_drop": 0.1, "slices": "all"}]},
        "gates[0] (accuracy max_drop 0.1 against reference): the test data has no slices.",
    ),
}


def untouched(installation: Installation, champion: dict[str, str], version: int = 1) -> bool:
    """Whether the champion serves as before and nothing half-done lies about."""
    status = installation.status()
    assert (status["champion"], status["warnings"]) == (version, [])
    assert installation.pointer()["version"] == version
    assert installation.served(1) == champion
    assert installation.leftovers() == []
    return True


@pytest.fixture(scope="module")
def broken(installation):
    """The first release, whose candidates break, each in its own way; others may run while it waits for a limit."""
    candidates = {how: [{"kind": "fault", "how": how}] for how in ("killed", "hungry", "endless", "raising")}
    config = installation.config(
        candidates={**candidates, **TINY["candidates"]},
        execution={"workers": 2, "step_timeout_s": 30, "memory_limit_gb": 16},
    )
    return installation.start("release", config)


@pytest.fixture(scope="module")
def bad(installation, broken):
    """Every bad input as a release of its own, and the versions before and after all of them."""
    shutil.copy(MODELS / "bad.py", installation.folder)
    broken.until("endless: started")

    def run(name: str) -> tuple[str, Answer]:
        sections = {
            section: {**TINY[section], "entrypoint": f"bad.py:{what}"} if isinstance(what, str) else what
            for section, what in BAD[name][0].items()
        }
        config = installation.config(name=f"bad_{list(BAD).index(name)}", execution={"workers": 1}, **sections)
        return name, installation.run("release", config)

    with ThreadPoolExecutor(3) as threads:
        return dict(threads.map(run, BAD))


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_sentence_with_2(name, bad):
    answer = bad[name]

    assert answer.code == 2, answer.log
    assert BAD[name][1] in answer.json["error"]
    assert "Traceback" not in answer.log
    assert answer.json["version"] is None


def test_a_metric_that_raises_is_found_before_candidates_are_made(bad):
    stages = {stage["name"] for stage in bad["a metric that raises"].json["stages"]}
    assert any(name.startswith("train") for name in stages)
    assert not any(name.startswith(("int8", "convert", "compress")) for name in stages)


@pytest.fixture(scope="module")
def survived(broken, bad):
    """The broken release at its end."""
    try:
        return broken.end()
    finally:
        broken.stop()


@pytest.fixture(scope="module")
def champion(installation, survived):
    """Version 1 in production, in spite of all that."""
    assert survived.json["promoted"], survived.log
    return installation.served(1)


def test_bad_input_registers_nothing(bad, champion, installation):
    assert [each["model"] for each in installation.run("status").json["models"]] == ["tiny"]


@pytest.mark.parametrize(
    ("candidate", "reason"),
    [
        ("killed", "died (SIGKILL; the system's out-of-memory killer sends it too)"),
        ("hungry", "out of memory"),
        ("endless", "ran longer than its limit of 30 s and was stopped"),
        ("raising", "ZeroDivisionError: of the quantizer"),
    ],
)
def test_a_step_that_breaks_costs_its_candidate_only(candidate, reason, survived):
    assert reason in survived.reason(candidate)
    assert {row["name"]: row["outcome"] for row in survived.json["candidates"]}[candidate] == "broken"


def test_the_others_go_on_to_the_end(survived, champion, installation):
    assert survived.code == 0, survived.log
    assert (survived.json["version"], survived.json["winners"]) == (1, {"cpu": "int8"})
    assert untouched(installation, champion)


@pytest.mark.slow("fault")
@pytest.mark.parametrize(
    ("number", "code", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_a_signal_ends_everything_at_once(number, code, word, survived, champion, installation):
    url = installation.environment["PREFECT_API_URL"]
    if number == signal.SIGINT:
        del installation.environment["PREFECT_API_URL"]  # with a server of its own, which must end too
    running = installation.start("release", installation.config(candidates=ENDLESS))
    installation.environment["PREFECT_API_URL"] = url
    try:
        running.until("fault stuck: started")
        running.note_family()
        if number == signal.SIGINT:
            os.killpg(running.process.pid, number)  # as a terminal does
        else:
            running.process.send_signal(number)
        answer = running.end(seconds=60)
    finally:
        running.stop()

    assert answer.code == answer.json["exit_code"] == code, answer.log
    assert word in answer.json["error"]
    assert "Traceback" not in answer.log
    assert len(running.family) >= 2
    assert running.orphans() == []
    assert untouched(installation, champion)


@pytest.fixture(scope="module")
def killed(installation, survived):
    """A release killed while it measures."""
    running = installation.start("release", installation.config(training=STRONGER))
    try:
        running.until("measure cpu: started")
        running.until_child("tasks.runtimes._child")
        running.note_family()
        running.process.kill()
        running.process.wait()
    finally:
        running.stop()
    return running, installation.status(), installation.pointer()


def test_nothing_outlives_a_killed_release(killed):
    running, _, _ = killed

    assert len(running.family) >= 2
    assert running.orphans() == []


def test_a_killed_release_leaves_the_champion_alone(killed):
    _, status, pointer = killed

    assert (status["champion"], pointer["version"]) == (1, 1)


@pytest.fixture(scope="module")
def pair(installation, killed):
    """Two releases of one model at once: what was killed, anew, and another; both come to measuring before either."""
    pair: list[Running] = []
    try:
        with hold(machine_lock("measure"), "this test"):
            for training in (STRONGER, WEAK):
                pair.append(installation.start("release", installation.config(training=training, gates=LENIENT)))
                pair[-1].until("waiting for this test")
        return [running.end() for running in pair]
    finally:
        for running in pair:
            running.stop()


def test_a_killed_release_goes_on_where_it_was(pair):
    assert all(pair[0].reused[stage] for stage in ("train", "convert float32", "int8_static int8", "predict cpu int8"))


def test_prefect_is_told_of_a_killed_release(pair, installation):
    states = [run["state_type"] for run in installation.prefect("flow_runs")]

    assert "CRASHED" in states and "RUNNING" not in states


def test_measuring_queues_and_says_so(pair):
    assert all("waiting for this test (process" in answer.log for answer in pair)


def test_both_of_two_releases_are_promoted_the_second_after_another_look(pair, installation):
    status = installation.status()

    assert [answer.code for answer in pair] == [0, 0], [answer.log for answer in pair]
    moves = {answer.json["version"]: (answer.json["previous"], answer.json["promoted"]) for answer in pair}
    assert moves in ({2: (1, True), 3: (2, True)}, {3: (1, True), 2: (3, True)})
    assert sum(any("has changed since" in note for note in answer.json["notes"]) for answer in pair) == 1
    assert {status["champion"], status["previous"]} == {2, 3}
    assert status["warnings"] == [] and installation.leftovers() == []


@pytest.fixture(scope="module")
def overtaken(installation, pair):
    """A weak model that is as good as the champion it is judged against, until somebody promotes a strong one."""
    if installation.status()["champion"] == pair[0].json["version"]:
        installation.run("rollback", "tiny")  # to the weak one, whichever of the two came last
    against = [*LENIENT, {"metric": "accuracy", "max_drop": 0.25, "against": "champion"}]
    with hold(machine_lock("measure"), "this test"):
        running = installation.start("release", installation.config(training=WEAK, seed=1, gates=against))
        try:
            running.until("waiting for this test")
            moved = installation.run("rollback", "tiny")  # to a strong one
        except BaseException:
            running.stop()
            raise
    try:
        return moved, running.end(), installation.status()
    finally:
        running.stop()


@pytest.mark.slow("fault")
def test_a_release_that_was_overtaken_is_judged_once_more_and_refused(overtaken):
    moved, answer, status = overtaken

    assert moved.code == 0
    assert answer.code == 3, answer.log
    assert "does not pass against the new champion" in answer.json["decision"]
    assert f"rollback of version {moved.json['version']} by" in answer.json["decision"]
    assert status["champion"] == moved.json["version"]


@pytest.fixture(scope="module")
def full(installation, champion):
    """A release for which no file can grow any more once it measures, as on a full disk."""
    before = installation.status()
    with hold(machine_lock("measure"), "this test"):
        running = installation.start("release", installation.config(gates=LENIENT))
        try:
            running.until("waiting for this test")
            running.note_family()
            for pid in (running.process.pid, *running.family):
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (LIMIT, LIMIT))
        except BaseException:
            running.stop()
            raise
    try:
        return before, running.end()
    finally:
        running.stop()


@pytest.mark.slow("fault")
def test_a_full_disk_is_said_and_nothing_has_changed(full, installation):
    before, answer = full

    assert answer.code == 1, answer.log
    assert "has room" in answer.json["error"] or "No space left" in answer.json["error"]
    assert len(answer.json["error"]) < 300
    assert "Traceback" not in answer.log
    assert installation.status() == before
    assert installation.leftovers() == []


@pytest.fixture
def small_disk(installation, overtaken):
    """The serving folders on a disk of their own that has room for little more than they hold."""
    serving = installation.home / "serving"
    aside = installation.folder / "aside"
    shutil.copytree(serving, aside)
    size = sum(-(-path.stat().st_size // 4096) + 1 for path in aside.rglob("*")) * 4096 + 40_000
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", serving], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"no right to mount a small disk: {mounted.stderr.decode().strip()}")
    try:
        shutil.copytree(aside, serving, dirs_exist_ok=True)
        yield serving
    finally:
        subprocess.run(["umount", serving], check=True)


@pytest.mark.slow("fault")
def test_a_disk_that_is_full_while_publishing_undoes_the_promote(small_disk, overtaken, installation):
    before, served = installation.pointer(), installation.served(installation.pointer()["version"])
    waiting = overtaken[1].json["version"]
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"0" * max(0, shutil.disk_usage(small_disk).free - 20_000))

    answer = installation.run("promote", "tiny", str(waiting))

    status = installation.status()
    assert answer.code == 1
    assert "There is no room for a version" in answer.json["error"]
    assert (installation.pointer(), status["champion"], status["warnings"]) == (before, before["version"], [])
    assert installation.served(before["version"]) == served
    assert not (small_disk / "onnx_server" / "tiny" / str(waiting)).exists()
    assert installation.leftovers() == []
