"""Data by URL: streamed into scratch when a release reads them, never looked at before, and refused with a reason."""

import fsspec
import numpy as np
import pytest

from tasks.data.files import SECRETS, fetch
from tasks.data.reading import Reading
from tasks.data.sources.csv import CsvData
from tasks.foundations.errors import InputError, SlipwayError
from tasks.foundations.menu import choices
from tests.data.reading import read, splits

CSV = b"x,target\n" + b"".join(b"%d,%d\n" % (i, i) for i in range(30))


@pytest.fixture
def remote(tmp_path):
    """The same files in memory and on disk, by URL."""
    np.savez(
        tmp_path / "data.npz",
        x_train=np.ones((9, 2)),
        y_train=np.arange(9),
        x_test=np.zeros((4, 2)),
        y_test=np.arange(4),
    )
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"x": np.arange(30), "target": np.arange(30)}), tmp_path / "data.parquet")
    (tmp_path / "data.csv").write_bytes(CSV)
    for kind in ("npz", "csv", "parquet"):
        with fsspec.open(f"memory://bucket/data.{kind}", "wb") as file:
            file.write((tmp_path / f"data.{kind}").read_bytes())
    yield tmp_path
    fsspec.filesystem("memory").rm("/bucket", recursive=True)


@pytest.mark.parametrize("kind", ["npz", "csv", "parquet"])
@pytest.mark.parametrize("scheme", ["memory://bucket", "file://{folder}"])
def test_every_file_may_be_remote(remote, kind, scheme):
    keys = {} if kind == "npz" else {"label": "target"}
    read(remote, {"kind": kind, "url": f"{scheme.format(folder=remote)}/data.{kind}", **keys})

    assert len(splits(remote)["test"]["labels"])


def test_a_file_a_split_may_be_remote_and_local(remote):
    (remote / "test.csv").write_bytes(CSV.replace(b",", b".5,").replace(b"x.5,", b"x,"))
    source = {"kind": "csv", "splits": {"train": "memory://bucket/data.csv", "test": "test.csv"}, "label": "target"}
    assert read(remote, source).rows["test"] == 30


@pytest.mark.parametrize("kind", ["npz", "npy", "csv", "parquet"])
def test_a_word_that_is_no_split_is_refused_when_the_config_is_read(kind):
    file = {"inputs": "x.npy", "labels": "y.npy"} if kind == "npy" else "a"
    label = {"label": "y"} if kind in ("csv", "parquet") else {}
    with pytest.raises(ValueError, match="'tets' is no split. Did you mean test. Splits are train, validation,"):
        choices("tasks.data.sources")[kind].model_validate({"kind": kind, "splits": {"tets": file}, **label})


def test_a_url_is_not_looked_at_before_a_release(tmp_path):
    source = CsvData(kind="csv", url="https://does.not.exist.invalid/data.csv", label="target")
    assert list(source.problems(tmp_path)) == []


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("memory://bucket/nothing.csv", "there is no file at memory://bucket/nothing.csv"),
        ("nosuch://bucket/x.csv", "nosuch://bucket/x.csv cannot be fetched: ValueError: Protocol not known"),
        ("file:///nowhere/x.csv", "there is no file /nowhere/x.csv"),
    ],
)
def test_what_cannot_be_fetched_is_refused_with_its_reason(tmp_path, url, sentence):
    with pytest.raises(InputError, match=sentence):
        fetch(url, Reading(tmp_path, tmp_path, 0, "regression"))


def test_a_server_that_does_not_answer_is_no_mistake_of_the_user(tmp_path):
    with pytest.raises(SlipwayError, match="x.csv cannot be reached: Cannot connect") as raised:
        fetch("http://127.0.0.1:9/x.csv", Reading(tmp_path, tmp_path, 0, "regression"))
    assert raised.value.exit_code == 1


@pytest.mark.parametrize(
    "keys", [{"inputs": ["a", "b", "a"]}, {"inputs": {"x": ["a", "a"]}}, {"labels": ["y", "y"], "label": None}]
)
def test_a_column_that_stands_twice_in_a_list_is_refused(keys):
    with pytest.raises(ValueError, match="stands twice in a list"):
        CsvData(**{"kind": "csv", "path": "data.csv", "label": "y", **keys})


def test_a_type_of_bytes_is_refused_for_csv():
    with pytest.raises(ValueError, match="csv has none"):
        CsvData(kind="csv", path="data.csv", label="y", inputs={"x": {"columns": "a*", "dtype": "int8"}})


def test_a_missing_file_and_a_folder_are_found_at_check(tmp_path):
    (tmp_path / "data.csv").write_bytes(CSV)
    (tmp_path / "folder.csv").mkdir()
    source = CsvData(kind="csv", splits={"train": "dat.csv", "test": "folder.csv"}, label="target")
    (first, missing), (second, folder) = source.problems(tmp_path)

    assert first == ("splits", "train") and second == ("splits", "test")
    assert (
        missing == f"there is no file {tmp_path}/dat.csv. Did you mean data.csv? Paths count from the config's folder."
    )
    assert folder == f"{tmp_path}/folder.csv is a folder. Expected one file."


@pytest.mark.parametrize(
    ("url", "secret"),
    [
        ("s3://key:secret@bucket/a", True),
        ("https://x.org/a?X-Amz-Credential=k&X-Amz-Signature=abc", True),
        ("abfs://container@account.dfs.core.windows.net/a.csv", False),
        ("https://x.org/a@b:c.csv?version=2", False),
        ("s3://bucket/signal/design=1/a.csv", False),
    ],
)
def test_credentials_are_known_by_their_form(url, secret):
    assert bool(SECRETS.search(url)) is secret
