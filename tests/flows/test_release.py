"""The life of one model through the real command line: released, repeated, changed, rolled back, refused, cleaned.

Each fixture is one command of that life and needs the one before it; the tests are claims about what it left.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.flows.installation import ROOT, TINY, Installation
from tests.flows.serving_world import serving

pytestmark = pytest.mark.slow

# Runs the command line as usual and writes what its process has used to the file named by PROBE.
WATCHED = """
import json, os, pathlib, runpy, sys
try:
    runpy.run_module("flows", run_name="__main__", alter_sys=True)
finally:
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    heavy = [name for name in ("tensorflow", "keras", "tf2onnx", "onnxruntime", "mlflow") if name in sys.modules]
    pathlib.Path(os.environ["PROBE"]).write_text(json.dumps({"peak_kb": peak, "heavy": heavy}))
"""
MLFLOW = """
import json, sys
import mlflow, numpy as np
uri, rows = sys.argv[1], json.loads(sys.argv[2])
mlflow.set_tracking_uri(uri)
client = mlflow.MlflowClient()
runs = client.search_runs([client.get_experiment_by_name("tiny").experiment_id])
parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
model = mlflow.pyfunc.load_model("models:/tiny/1")
answer = model.predict({"features": np.asarray(rows, "float32")})
print(json.dumps({
    "runs": [run.info.run_name for run in parents],
    "children": sorted(run.info.run_name for run in runs if "mlflow.parentRunId" in run.data.tags),
    "metrics": parents[0].data.metrics,
    "decision": parents[0].data.tags["slipway.decision"],
    "artifacts": [item.path for item in client.list_artifacts(parents[0].info.run_id)],
    "champion": client.get_model_version_by_alias("tiny", "champion").version,
    "outputs": {name: np.asarray(values).tolist() for name, values in answer.items()},
}))
"""
LOOK_AT_MLFLOW = """
import json, sys, mlflow
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.MlflowClient().get_registered_model("tiny")
print(json.dumps({name: int(version) for name, version in model.aliases.items()}))
"""


def python(code: str, *words: str) -> dict:
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def tracking(place: Installation) -> str:
    return f"sqlite:///{place.home}/mlflow/mlflow.db"


@pytest.fixture(scope="module")
def server(installation):
    """A server that was there before any release, and stays."""
    with serving([sys.executable, "-m", "flows", "serve", "--port", "0"], installation.environment) as where:
        yield where


@pytest.fixture(scope="module")
def first(installation, server, tmp_path_factory):
    """The first release of a home, with Prefect's own server, watched."""
    probe = tmp_path_factory.mktemp("probe") / "probe.json"
    url = installation.environment.pop("PREFECT_API_URL")
    installation.environment["PROBE"] = str(probe)
    running = installation.start("release", installation.config(), wrapper=("-c", WATCHED))
    try:
        running.until("build: started")
        running.note_family()
        answer = running.end()
    finally:
        running.stop()
        installation.environment["PREFECT_API_URL"] = url
    return answer, json.loads(probe.read_text()), running


@pytest.fixture(scope="module")
def served_first(installation, first):
    return installation.served(1)


@pytest.fixture(scope="module")
def again(installation, served_first):
    """The same once more."""
    return installation.release()


@pytest.fixture(scope="module")
def waiting(installation, again):
    """A challenger from another training, and the status that it leaves."""
    answer = installation.release("--no-promote", training={**TINY["training"], "epochs": 3})
    return answer, installation.status(), installation.pointer()


@pytest.fixture(scope="module")
def promoted(installation, waiting):
    """The challenger promoted by hand."""
    return installation.run("promote", "tiny", "2", "--reason", "looked at it")


@pytest.fixture(scope="module")
def back(installation, promoted):
    """Rolled back."""
    return installation.run("rollback", "tiny", "--reason", "it is worse"), installation.served(1)


@pytest.fixture(scope="module")
def popped(installation, back):
    """Version 2 once more: refused, then forced."""
    plain = installation.run("promote", "tiny", "2")
    forced = installation.run("promote", "tiny", "2", "--force", "--reason", "it was not the model")
    return plain, forced


@pytest.fixture(scope="module")
def refused(installation, popped):
    """An impossible gate, and the status after it."""
    gates = [*TINY["gates"], {"metric": "accuracy", "min": 0.9999}]
    return installation.release(gates=gates), installation.status()


@pytest.fixture(scope="module")
def undecided(installation, refused):
    """A gate so close below the best candidate's accuracy that 600 rows cannot tell."""
    best = max(row["accuracy"] for row in refused[0].json["candidates"])
    gates = [*TINY["gates"], {"metric": "accuracy", "min": best - 0.001}]
    return installation.release(gates=gates), installation.status()


@pytest.fixture(scope="module")
def cleaned(installation, undecided):
    """Cleaned down to one release, with a rollback after it."""
    config = installation.config(keep={"versions": 2, "releases": 1})
    dry = installation.run("clean", config, "--dry-run")
    releases = sorted(path.name for path in (installation.home / "releases" / "tiny").iterdir())
    answer = installation.run("clean", config)
    return dry, releases, answer, installation.run("rollback", "tiny", "--to", "1")


def test_a_first_release_is_promoted(first, installation):
    answer, _, _ = first

    assert answer.code == 0, answer.log
    assert answer.json["exit_code"] == 0
    assert (answer.json["model"], answer.json["version"], answer.json["promoted"]) == ("tiny", 1, True)
    assert answer.json["winners"] == {"cpu": "int8"}
    assert installation.pointer()["version"] == 1


def test_a_first_release_says_how_its_trial_went_and_who_answers_with_it(first, server):
    (trial,) = first[0].json["validation"]
    (answering,) = first[0].json["servers"]

    assert trial["kind"] == "onnx_server" and trial["requests"] > 0 and 0 < trial["p50_ms"] <= trial["p99_ms"]
    assert (answering["server"], answering["version"]) == (server["url"], 1)


def test_json_has_an_entry_a_candidate_and_target_with_its_figures(first):
    rows = {row["name"]: row for row in first[0].json["candidates"]}
    wanted = {"name", "target", "passed", "reason", "accuracy", "accuracy_drop", "p50_ms", "p99_ms", "speedup_p50"}

    assert set(rows) == {"float32", "int8"}
    assert all(set(row) >= wanted | {"size_bytes", "gzip_bytes"} for row in rows.values())
    assert rows["int8"]["passed"] and not rows["float32"]["passed"]
    assert rows["int8"]["size_bytes"] < 0.6 * rows["float32"]["size_bytes"]
    assert rows["int8"]["accuracy"] > 0.6


def test_the_orchestrating_process_stays_small_and_imports_no_tensorflow(first):
    _, probe, _ = first

    assert probe["heavy"] == []
    assert probe["peak_kb"] < 400_000


def test_no_process_and_no_half_written_file_is_left(first, installation):
    _, _, running = first

    assert running.family
    assert running.orphans() == []
    assert installation.leftovers() == []


def test_the_report_lies_where_the_answer_says(first):
    report = Path(first[0].json["report"])

    assert "tiny" in report.read_text()
    assert (report.parent / "release.json").is_file()


def test_plain_mlflow_loads_the_version_in_another_process(first, installation):
    found = python(MLFLOW, tracking(installation), json.dumps([[0.0] * 16] * 5))

    assert found["runs"] == [first[0].json["release"]]
    assert found["children"] == ["float32", "int8"]
    assert int(found["champion"]) == 1
    assert "report.html" in found["artifacts"]
    assert found["decision"] == "promoted version 1 (the first one); 1 server answers with it"
    assert found["metrics"]
    assert [len(row) for row in found["outputs"]["logits"]] == [3] * 5


def test_the_same_once_more_is_already_in_production(again, installation):
    assert again.code == 0, again.log
    assert again.json["decision"].startswith("already in production")
    assert (again.json["version"], again.json["promoted"]) == (1, False)
    assert [version["version"] for version in installation.status()["versions"]][:1] == [1]


def test_prefect_has_the_table_the_gates_the_progress_and_the_link_to_mlflow(again, installation):
    found = {each["key"]: each["data"] for each in installation.prefect("artifacts/latest")}

    assert found["tiny-progress"] == 100
    assert [row["candidate"] for row in json.loads(found["tiny-candidates"])] == ["float32", "int8"]
    assert "already in production" in found["tiny-gates"]
    assert f"({again.json['mlflow']})" in found["tiny-mlflow"]


def test_the_same_once_more_runs_no_stage_that_does_not_depend_on_the_load(again):
    ran = {stage for stage, reused in again.reused.items() if not reused}

    assert ran == {"open registry", "build", "read", "measure cpu", "judge cpu", "register"}
    assert again.reused["train"] and again.reused["int8_static int8"] and again.reused["predict cpu int8"]


def test_another_training_without_promotion_leaves_a_challenger(waiting):
    answer, status, pointer = waiting

    assert answer.code == 0, answer.log
    assert (answer.json["version"], answer.json["promoted"]) == (2, False)
    assert (status["champion"], status["challenger"]) == (1, 2)
    assert pointer["version"] == 1


def test_promote_puts_the_challenger_in_production(promoted):
    assert promoted.code == 0, promoted.log
    assert (promoted.json["version"], promoted.json["from_version"]) == (2, 1)


def test_a_rollback_brings_back_the_same_bytes(back, served_first):
    answer, served = back

    assert answer.code == 0, answer.log
    assert (answer.json["version"], answer.json["from_version"]) == (1, 2)
    assert served_first and served == served_first


def test_a_version_that_was_rolled_back_comes_back_only_by_force(popped):
    plain, forced = popped

    assert plain.code == 3
    assert "--force" in plain.json["error"]
    assert forced.code == 0 and forced.json["version"] == 2


def test_an_impossible_gate_refuses_and_names_itself(refused):
    answer, _ = refused

    assert answer.code == answer.json["exit_code"] == 3
    assert answer.json["decision"].startswith("refused: cpu: No candidate passes")
    assert "accuracy" in answer.reason("int8") and "0.9999" in answer.reason("int8")
    assert answer.json["winners"] == {}
    assert Path(answer.json["report"]).is_file()


def test_a_refused_release_leaves_the_champion_alone(refused):
    _, status = refused

    assert status["champion"] == 2
    assert [version["version"] for version in status["versions"]] == [1, 2]


def test_what_the_rows_cannot_decide_is_inconclusive_and_changes_nothing(undecided):
    answer, status = undecided

    assert answer.code == answer.json["exit_code"] == 4
    assert answer.json["decision"].startswith("inconclusive: cpu: ")
    assert {row["outcome"] for row in answer.json["candidates"]} >= {"inconclusive"}
    assert (answer.json["version"], answer.json["winners"]) == (None, {})
    assert status["champion"] == 2


def test_clean_bounds_the_home_and_production_lives_on(cleaned, served_first, installation):
    dry, before, answer, rollback = cleaned

    assert dry.json["freed_bytes"] > 0
    assert all(dry.json[each] == answer.json[each] for each in ("freed_bytes", "staged", "versions", "releases"))
    assert len(before) == 5  # the dry run removed nothing
    assert sorted(answer.json["releases"]) == before[:-1]
    assert rollback.code == 0 and rollback.json["version"] == 1
    assert installation.served(1) == served_first


def test_status_and_reconcile_agree_after_all_this(cleaned, installation):
    status = installation.status()
    reconciled = installation.run("reconcile")

    assert (status["champion"], status["warnings"]) == (1, [])
    assert {each["version"]: each["state"] for each in status["versions"]}[2] == "rolled_back"
    assert reconciled.code == 0
    assert python(LOOK_AT_MLFLOW, tracking(installation))["champion"] == 1


def test_report_writes_the_newest_again(cleaned, installation):
    newest = max(path.name for path in (installation.home / "releases" / "tiny").iterdir())
    page = installation.home / "releases" / "tiny" / newest / "report.html"
    page.unlink()

    answer = installation.run("report", "tiny")

    assert answer.json["report"] == str(page)
    assert page.is_file()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("status", "tny"), "tiny"),
        (("promote", "tiny", "99"), "99"),
        (("rollback", "nobody"), "nobody"),
        (("report", "tiny", "--release", "x"), "'x'"),
        (("clean", "nowhere.yaml"), "There is no config"),
    ],
)
def test_what_is_not_there_is_said_with_2(words, said, cleaned, installation):
    answer = installation.run(*words)

    assert answer.code == 2
    assert said in answer.json["error"]
    assert "Traceback" not in answer.log


def test_commands_work_from_any_folder(cleaned, installation, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", "import runpy; runpy.run_module('flows', run_name='__main__')", "status", "--json"],
        env={**installation.environment, "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )

    assert json.loads(done.stdout)["models"][0]["model"] == "tiny"
