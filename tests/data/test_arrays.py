"""npz archives and npy files: which key is what, nothing is unpickled, nothing is whole in memory."""

import zipfile

import numpy as np
import pytest

from tasks.data.reading import Reading
from tasks.data.sources.npz import NpzData
from tasks.foundations.errors import InputError
from tests.data.reading import RNG, read, splits

X = {"train": RNG.normal(size=(20, 2)).astype("float32"), "test": RNG.normal(size=(8, 2)).astype("float32")}
Y = {"train": np.arange(20) / 2, "test": np.arange(8) / 2}
WHO = {"train": np.array(["a", "b"] * 10), "test": np.array(["a", "b"] * 4)}

KEYS = {
    "our own": ({f"{s}_{k}": v[s] for s in X for k, v in {"inputs": X, "labels": Y, "slices_who": WHO}.items()}, {}),
    "those of Keras": ({f"{k}_{s}": v[s] for s in X for k, v in {"x": X, "y": Y, "slices_who": WHO}.items()}, {}),
    "named inputs": (
        {f"{s}_{k}": v[s] for s in X for k, v in {"inputs_input": X, "y": Y, "slices_who": WHO}.items()},
        {},
    ),
    "any": (
        {f"{k}_{s}": v[s] for s in X for k, v in {"rows": X, "goal": Y, "writer": WHO, "more": Y}.items()},
        {"inputs": {"input": "rows"}, "labels": "goal", "slices": {"who": "writer"}},
    ),
    "any, one input": (
        {f"{s}_{k}": v[s] for s in X for k, v in {"rows": X, "goal": Y, "writer": WHO}.items()},
        {"inputs": "rows", "labels": "goal", "slices": {"who": "writer"}},
    ),
}


@pytest.mark.parametrize("name", KEYS)
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_keys_of_one_file_name_their_split(tmp_path, name, save):
    arrays, keys = KEYS[name]
    save(tmp_path / "data.npz", **arrays)
    read(tmp_path, {"kind": "npz", "path": "data.npz", **keys})
    test = splits(tmp_path)["test"]

    np.testing.assert_array_equal(test["inputs"]["input"], X["test"])
    np.testing.assert_array_equal(test["labels"], Y["test"])
    assert test["slices"]["who"].tolist() == WHO["test"].tolist()


@pytest.mark.parametrize("words", [("inputs", "labels"), ("x", "y")])
def test_keys_of_a_file_a_split_do_not_name_it(tmp_path, words):
    for split in X:
        np.savez(tmp_path / f"{split}.npz", **{words[0]: X[split], words[1]: Y[split]})
    read(tmp_path, {"kind": "npz", "splits": {"train": "train.npz", "test": "test.npz"}})

    np.testing.assert_array_equal(splits(tmp_path)["test"]["inputs"]["input"], X["test"])


def test_arrays_are_mapped_not_read(tmp_path):
    np.savez(tmp_path / "data.npz", **KEYS["our own"][0])
    (tmp_path / "scratch").mkdir()
    found = NpzData(kind="npz", path="data.npz").read(Reading(tmp_path, tmp_path / "scratch", 0, "regression"))

    assert isinstance(found["train"]["inputs"], np.memmap) and not found["train"]["inputs"].flags.writeable


def broken_npz(name):
    good = KEYS["our own"][0]
    return {
        "objects": {**good, "train_labels": np.array([1, "a", None] + [0] * 17, dtype=object)},
        "no labels": {key: array for key, array in good.items() if key != "test_labels"} | {"test_label": Y["test"]},
        "no split": {"x": X["train"], "y": Y["train"]},
        "another word": {**good, "x_val": X["test"], "y_val": Y["test"]},
        "empty": {},
    }[name]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("objects", "the key 'train_labels' of data.npz holds Python objects .*only unpickling.*astype"),
        ("no labels", "data.npz has no key test_labels or y_test for test. It holds .*Did you mean test_label"),
        ("no split", "no key of data.npz names a split. Expected keys like train_inputs.*it holds x, y"),
        ("another word", "the key 'x_val' of data.npz says 'val'; that split is called validation: rename the key"),
        ("empty", "no key of data.npz names a split.*it holds no arrays"),
    ],
)
def test_broken_archives_are_refused_with_their_key(tmp_path, name, sentence):
    np.savez(tmp_path / "data.npz", allow_pickle=True, **broken_npz(name))

    with pytest.raises(InputError, match=sentence):
        read(tmp_path, {"kind": "npz", "path": "data.npz"})


def test_what_is_no_archive_is_refused(tmp_path):
    np.save(tmp_path / "data.npy", X["train"])
    with pytest.raises(InputError, match="data.npy is no .npz archive.*read by kind: npy"):
        read(tmp_path, {"kind": "npz", "path": "data.npy"})


def test_a_member_that_is_damaged_is_refused(tmp_path):
    np.savez(tmp_path / "data.npz", **KEYS["our own"][0])
    content = bytearray((tmp_path / "data.npz").read_bytes())
    with zipfile.ZipFile(tmp_path / "data.npz") as archive:
        place = archive.getinfo("train_inputs.npy").header_offset
    content[place + 250] ^= 255
    (tmp_path / "data.npz").write_bytes(content)
    with pytest.raises(InputError, match="the key 'train_inputs' of data.npz is damaged"):
        read(tmp_path, {"kind": "npz", "path": "data.npz"})


def npy(**test):
    return {
        "kind": "npy",
        "splits": {
            "train": {"inputs": "x.npy", "labels": "y.npy"},
            "test": {"inputs": "x2.npy", "labels": "y2.npy", **test},
        },
    }


def write_npy(folder):
    for name, array in {"x": X["train"], "y": Y["train"], "x2": X["test"], "y2": Y["test"]}.items():
        np.save(folder / f"{name}.npy", array)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (np.array([{}] * 8), "y2.npy holds Python objects"),
        (b"age,height\n1,2\n", "y2.npy cannot be read as a .npy array"),
        (b"", "y2.npy cannot be read as a .npy array"),
        (np.zeros((8, 2), "datetime64[s]"), "test labels has dtype datetime64"),
    ],
)
def test_broken_npy_files_are_refused(tmp_path, content, sentence):
    write_npy(tmp_path)
    if isinstance(content, bytes):
        (tmp_path / "y2.npy").write_bytes(content)
    else:
        np.save(tmp_path / "y2.npy", content, allow_pickle=True)

    with pytest.raises(InputError, match=sentence):
        read(tmp_path, npy())


def test_arrays_in_fortran_order_and_of_another_byte_order_are_read(tmp_path):
    write_npy(tmp_path)
    np.save(tmp_path / "x2.npy", np.asfortranarray(X["test"]).astype(">f4"))
    read(tmp_path, npy())

    np.testing.assert_array_equal(splits(tmp_path)["test"]["inputs"]["input"], X["test"])


def test_an_array_that_is_not_there_is_refused_with_the_nearest(tmp_path):
    write_npy(tmp_path)
    with pytest.raises(InputError, match="there is no file .*y3.npy. Did you mean y.npy"):
        read(tmp_path, npy(labels="y3.npy"))
