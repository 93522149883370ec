"""What of a registered version is taken, and what is refused: pickles above all. Real MLflow, real logged models."""

import shutil
from pathlib import Path

import pytest
from parts import onnx_winner, request
from test_registry import answer, publish_request, start

from tasks.foundations.errors import InputError, SlipwayError
from tasks.models.load import InspectRequest, LoadRequest, inspect, load
from tasks.models.sources.registered import Registered
from tasks.registry import jobs
from tasks.registry.fetch import FetchRequest, fetch

pytest.importorskip("tensorflow")


@pytest.fixture(scope="module")
def versions(place):
    """Versions of `churn`, logged by plain MLflow: sort -> version."""
    return answer(start("log_models", place.tracking_uri, place.experiment))


def asked(place, tmp_path, **more):
    out = tmp_path / "fetched"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    return FetchRequest(place=place, out=str(out), **{"name": "churn", **more})


@pytest.mark.parametrize("sort", ["keras", "keras flavor"])
def test_a_keras_model_of_mlflow_opens_as_a_keras_file(place, versions, tmp_path, sort):
    wanted = asked(place, tmp_path, version=versions[sort])
    found = fetch(wanted)
    assert (found.kind, found.version) == ("keras_file", versions[sort])

    source = Registered(kind="registered", name="churn", version=versions[sort])
    opened = source.opened(tmp_path / "fetched", found.model_dump())
    looked = inspect(InspectRequest(source=opened, folder="/nowhere"))
    (tmp_path / "out").mkdir()
    load(LoadRequest(source=opened, folder="/nowhere", digest=looked.digest, out=str(tmp_path / "out")))

    assert looked.format == "keras"
    assert (tmp_path / "out" / "model.keras").is_file()


def test_a_module_of_mlflow_is_fetched_as_a_saved_model(place, versions, tmp_path):
    found = fetch(asked(place, tmp_path, version=versions["module"]))

    assert found.kind == "saved_model"
    assert (tmp_path / "fetched" / found.path / "saved_model.pb").is_file()


def test_an_alias_is_followed_and_only_the_model_is_kept(place, versions, tmp_path):
    found = fetch(asked(place, tmp_path, alias="gold"))

    assert found.version == 1
    assert [path.name for path in (tmp_path / "fetched").iterdir()] == ["model.keras"]


def test_pickles_are_refused_by_name_and_left_out_where_code_takes_their_place(place, versions, tmp_path):
    with pytest.raises(InputError, match=r"holds pickles.*data/custom_objects.cloudpickle.*custom_objects: layers.py"):
        fetch(asked(place, tmp_path, version=versions["own layers"]))
    with pytest.raises(InputError, match=r"holds pickles.*python_model.pkl.*mlflow.tensorflow.log_model"):
        fetch(asked(place, tmp_path, version=versions["python"]))

    fetch(asked(place, tmp_path, version=versions["own layers"], has_code=True))

    assert [path.name for path in (tmp_path / "fetched").iterdir()] == ["model.keras"]


@pytest.mark.parametrize(
    ("which", "sentence"),
    [
        ({"version": 99}, r"churn has no version 99. It has: 1, 2, 3, 4, 5"),
        ({"alias": "golt"}, r"churn has no alias 'golt'. Did you mean gold\? Its aliases: gold; its versions: 1, 2"),
        ({"name": "chrun", "version": 1}, r"no registered model 'chrun' with a version. Did you mean churn\?"),
    ],
)
def test_a_version_that_is_not_there_names_those_that_are(place, versions, tmp_path, which, sentence):
    with pytest.raises(InputError, match=sentence):
        fetch(asked(place, tmp_path, **which))


def test_a_version_made_by_slipway_gives_its_saved_model_or_says_that_it_has_none(place, tmp_path):
    from saved_model_parts import saved_model_winner

    for name, winners in (
        ("ours", {"cpu": onnx_winner(tmp_path / "o"), "tfs": saved_model_winner(tmp_path / "s")}),
        ("onnx-only", {"cpu": onnx_winner(tmp_path / "p")}),
    ):
        made = request(tmp_path / name, winners)
        jobs.write_bundle(made)
        jobs.publish(publish_request(place, name, made.out, f"r-{name}"))

    assert fetch(asked(place, tmp_path, name="ours", version=1)).model_dump() == {
        "version": 1,
        "kind": "saved_model",
        "path": "tfs",
        "signature": "serving_default",
    }
    with pytest.raises(InputError, match=r"made by Slipway and holds ONNX files only.*runtime: tensorflow"):
        fetch(asked(place, tmp_path, name="onnx-only", version=1))


def test_files_that_are_gone_are_told(place, versions, tmp_path, registry):
    import mlflow

    client = mlflow.MlflowClient(place.tracking_uri)
    folder = Path(client.get_model_version_download_uri("churn", str(versions["module"])))
    folder.rename(tmp_path / "away")
    try:
        with pytest.raises(SlipwayError, match="are gone: there is no folder"):
            fetch(asked(place, tmp_path, version=versions["module"]))
    finally:
        (tmp_path / "away").rename(folder)
