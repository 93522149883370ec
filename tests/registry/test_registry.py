import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from parts import onnx_winner, request, rows, weights

from tasks.bundle.verify import verify
from tasks.foundations.errors import DigestMismatch, InputError, Refused, SlipwayError
from tasks.registry import jobs
from tasks.registry.connection import without_password
from tasks.registry.mlflow_registry import Registry
from tasks.registry.records import Place, ReleaseLog, RunRecord

ACTIONS = Path(__file__).with_name("actions.py")


def start(action, *arguments):
    command = [sys.executable, str(ACTIONS), action, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd="/")


def answer(process):
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err[-3000:]
    return json.loads(out.splitlines()[-1])


def bundle(folder, release="r1", winners=None):
    asked = request(folder, winners or {"cpu": onnx_winner(folder / "w")}, release)
    jobs.write_bundle(asked)
    return Path(asked.out)


def publish_request(place, model, folder, release):
    log = ReleaseLog(
        release=release,
        run=RunRecord(name=release, params={"seed": "0"}, metrics={"accuracy[writer=3]": 0.97}),
        children=(RunRecord(name="float32", metrics={"accuracy": 0.98}), RunRecord(name="int8", tags={"won": "cpu"})),
    )
    return jobs.PublishRequest(place=place, log=log, model=model, bundle=str(folder) if folder else None)


def test_plain_mlflow_loads_a_version_in_another_process(place, tmp_path):
    folder = bundle(tmp_path, winners={"cpu": onnx_winner(tmp_path / "a"), "edge": onnx_winner(tmp_path / "b", seed=1)})
    published = jobs.publish(publish_request(place, "digits", folder, "r1"))

    seen = answer(start("load_plainly", place.tracking_uri, f"digits/{published.version}", "edge"))

    assert published.version == 1
    assert seen["graph"] == "tiny" and seen["ours"] is False and seen["refused"] is True
    np.testing.assert_allclose(seen["scores"], rows(5) @ weights(0), rtol=1e-5)
    np.testing.assert_allclose(seen["alone"], rows(5) @ weights(1), rtol=1e-5)
    located = jobs.locate(jobs.LocateRequest(place=place, model="digits", version=1, cache=str(tmp_path / "cache")))
    assert (Path(located.folder) / "registered_model_meta").is_file()  # plain MLflow left its mark
    assert located.manifest == verify(folder)


def test_a_release_is_a_run_with_a_child_run_a_candidate(place, registry, tmp_path):
    published = jobs.publish(publish_request(place, "runs", bundle(tmp_path), "r-runs"))
    client = registry._client

    run = client.get_run(published.run_id)
    children = client.search_runs([run.info.experiment_id], f"tags.`mlflow.parentRunId` = '{published.run_id}'")

    assert run.info.status == "FINISHED" and run.info.run_name == "r-runs"
    assert run.data.params == {"seed": "0"}
    assert run.data.metrics == {"accuracy_writer_3_": 0.97}
    assert sorted(child.info.run_name for child in children) == ["float32", "int8"]
    assert {child.info.status for child in children} == {"FINISHED"}


def test_a_refused_release_is_logged_without_a_version(place, registry, tmp_path):
    report = tmp_path / "report.html"
    report.write_text("<p>no winner</p>")
    asked = publish_request(place, "refused", None, "r-refused")
    asked = asked.model_copy(update={"log": asked.log.model_copy(update={"status": "FAILED"})})

    published = jobs.publish(asked)
    jobs.attach(
        jobs.AttachRequest(place=place, run_id=published.run_id, report=str(report), decision="refused: too slow")
    )

    run = registry._client.get_run(published.run_id)
    assert published.version is None and registry.versions("refused") == []
    assert run.info.status == "FAILED" and run.data.tags["slipway.decision"] == "refused: too slow"
    assert [item.path for item in registry._client.list_artifacts(published.run_id)] == ["report.html"]


def test_publishing_a_release_again_gives_the_same_version(place, registry, tmp_path):
    asked = publish_request(place, "again", bundle(tmp_path), "r-again")

    first, second = jobs.publish(asked), jobs.publish(asked)

    assert (second.version, second.run_id, second.repeated) == (first.version, first.run_id, True)
    assert len(registry.versions("again")) == 1


def test_two_processes_registering_at_once_get_two_versions(place, registry, tmp_path):
    processes = [
        start("publish", publish_request(place, "race", bundle(tmp_path / name, name), name).model_dump_json())
        for name in ("r-left", "r-right")
    ]

    versions = sorted(answer(process)["version"] for process in processes)

    assert versions == [1, 2]
    for version in versions:
        registry.locate("race", version, tmp_path / "cache")


def test_a_process_killed_before_the_version_leaves_nothing_that_breaks_the_next(place, registry, tmp_path):
    asked = publish_request(place, "killed", bundle(tmp_path), "r-killed")
    process = start("publish_and_die", asked.model_dump_json())
    process.communicate(timeout=120)
    assert process.returncode == -9
    assert registry.versions("killed") == []

    published = jobs.publish(asked)

    assert published.version == 1
    verify(registry.locate("killed", 1, tmp_path / "cache"))
    runs = registry._client.search_runs([registry._experiment], "tags.`slipway.release` = 'r-killed'")
    parents = [run.info.status for run in runs if "mlflow.parentRunId" not in run.data.tags]
    assert sorted(parents) == ["FINISHED", "KILLED"]


def test_aliases_follow_what_is_asked_and_others_stay(place, registry, tmp_path):
    jobs.publish(publish_request(place, "alias", bundle(tmp_path), "r-alias"))
    registry.set_alias("alias", "mine", 1)

    first = jobs.set_aliases(jobs.AliasRequest(place=place, model="alias", aliases={"champion": 1, "gone": None}))
    second = jobs.set_aliases(jobs.AliasRequest(place=place, model="alias", aliases={"champion": None}))

    assert first.aliases == {"mine": 1, "champion": 1}
    assert second.aliases == {"mine": 1}
    assert registry.versions("alias")[0].aliases == ("mine",)
    with pytest.raises(SlipwayError, match="not found"):
        registry.set_alias("alias", "champion", 99)


def test_a_lost_race_for_the_first_alias_is_run_again(registry, monkeypatch):
    from mlflow.exceptions import MlflowException

    calls = []

    def racing(*arguments):
        calls.append(arguments)
        if len(calls) < 3:
            raise MlflowException("(sqlite3.IntegrityError) UNIQUE constraint failed: registered_model_aliases.name")

    monkeypatch.setattr(registry._client, "set_registered_model_alias", racing)

    registry.set_alias("digits", "champion", 1)

    assert calls == [("digits", "champion", "1")] * 3


def test_a_broken_bundle_is_not_registered_and_its_run_says_failed(place, registry, tmp_path):
    folder = bundle(tmp_path)
    (folder / "targets/cpu/model.onnx").write_bytes(b"")

    with pytest.raises(DigestMismatch):
        jobs.publish(publish_request(place, "broken", folder, "r-broken"))

    (run,) = [
        run
        for run in registry._client.search_runs([registry._experiment], "tags.`slipway.release` = 'r-broken'")
        if "mlflow.parentRunId" not in run.data.tags
    ]
    assert run.info.status == "FAILED"
    assert registry.versions("broken") == []


def test_a_bundle_swapped_in_the_artifact_store_is_refused(place, registry, tmp_path):
    """Swapped whole, manifest and all: every file matches its manifest, only the registered digest does not."""
    import shutil

    jobs.publish(publish_request(place, "swapped", bundle(tmp_path / "a"), "r-a"))
    stored = registry.locate("swapped", 1, tmp_path / "cache")
    other = bundle(tmp_path / "b", winners={"cpu": onnx_winner(tmp_path / "c", seed=5)})
    shutil.rmtree(stored)
    shutil.copytree(other, stored)

    with pytest.raises(SlipwayError, match="registered with digest"):
        registry.locate("swapped", 1, tmp_path / "cache")


@pytest.mark.parametrize(
    ("uri", "location", "words"),
    [
        ("sqlite:///mlflow.db", "/tmp/a", "relative"),
        ("sqlite:////tmp/mlflow.db", "artifacts", "absolute"),
        ("sqlite:////tmp/mlflow.db", None, "absolute"),
        ("./mlruns", "/tmp/a", "no MLflow place"),
    ],
)
def test_places_that_depend_on_the_current_folder_are_refused(uri, location, words):
    with pytest.raises(InputError, match=words):
        Registry(Place(tracking_uri=uri, artifact_location=location, experiment="x")).open()


def test_a_run_of_a_database_has_an_address_and_the_command_that_serves_it(place, registry):
    assert registry.run_link("abc").startswith("http://127.0.0.1:5000/#/experiments/")
    assert registry.ui_command() == f"mlflow ui --backend-store-uri '{place.tracking_uri}'"


def test_a_servers_password_is_never_shown():
    server = Registry(Place(tracking_uri="https://ann:secret@mlflow.example/base/", experiment="digits"))

    assert server.run_link("abc") == "https://mlflow.example/base/#/experiments//runs/abc"
    assert without_password("http://ann:p@ss/w@host/x and on") == "http://host/x and on"
    assert server.ui_command() is None


def test_a_deleted_experiment_comes_back(place, registry):
    registry._client.delete_experiment(registry._experiment)

    again = Registry(place).open()

    assert again._experiment == registry._experiment
    assert registry._client.get_experiment(registry._experiment).lifecycle_stage == "active"


def test_a_deleted_versions_number_is_never_used_again(place, registry, tmp_path):
    for release in ("r-1", "r-2"):
        jobs.publish(publish_request(place, "deleted", bundle(tmp_path / release, release), release))
    folder = registry.locate("deleted", 2, tmp_path / "cache")

    asked = jobs.DeleteRequest(place=place, model="deleted", versions=(2, 7))
    assert jobs.delete_versions(asked.model_copy(update={"dry_run": True})).versions == (2,)
    assert folder.exists()
    assert jobs.delete_versions(asked).versions == (2,)
    assert jobs.delete_versions(asked).versions == ()
    third = jobs.publish(publish_request(place, "deleted", bundle(tmp_path / "r-3", "r-3"), "r-3"))

    assert not folder.exists()
    assert third.version == 3
    assert [info.version for info in registry.versions("deleted")] == [3, 1]


def test_a_registry_that_was_lost_gives_no_number_away_that_the_journal_knows(place, registry, tmp_path):
    asked = publish_request(place, "lost", bundle(tmp_path), "r-lost").model_copy(update={"above": 3})

    assert jobs.publish(asked).version == 4
    assert [info.version for info in registry.versions("lost")] == [4]
    verify(registry.locate("lost", 4, tmp_path / "cache"))


def test_a_version_with_an_alias_is_not_deleted(place, registry, tmp_path):
    jobs.publish(publish_request(place, "kept", bundle(tmp_path), "r-kept"))
    registry.set_alias("kept", "champion", 1)

    with pytest.raises(Refused, match="champion"):
        registry.delete_version("kept", 1)

    verify(registry.locate("kept", 1, tmp_path / "cache"))


def test_taking_away_an_alias_that_is_not_there_does_nothing(registry, place, tmp_path):
    jobs.publish(publish_request(place, "noalias", bundle(tmp_path), "r-noalias"))

    registry.delete_alias("noalias", "champion")
    registry.delete_alias("no such model", "champion")

    assert registry.aliases("noalias") == {} == registry.aliases("no such model")


def test_a_full_disk_registers_nothing_and_says_so(place, registry, tmp_path):
    """The limit on a file's size fails a write in the middle of the copy, as a full disk does."""
    import resource

    asked = request(tmp_path, {"cpu": onnx_winner(tmp_path / "w")}, "r-full")
    (tmp_path / "proof.json").write_bytes(b"0" * (9 << 20))
    jobs.write_bundle(asked)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8 << 20, before[1]))
    try:
        with pytest.raises(SlipwayError, match="No version was registered"):
            jobs.publish(publish_request(place, "full", asked.out, "r-full"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    assert registry.versions("full") == []
