"""Labels of multilabel and custom tasks: which are taken, from every source, and the sentence for each other one."""

import numpy as np
import pytest

from tasks.data.dataset import open_dataset
from tasks.data.expected import Expected, Tensor
from tasks.foundations.errors import InputError
from tests.data.reading import RNG, described, read, signature, splits

SETS = np.array([[1, 0, 1], [0, 1, 0], [1, 1, 0], [0, 0, 1]] * 15)


def archive(folder, **more):
    """Train and test of 60 rows each, in one archive."""
    rows = {split: RNG.normal(size=(60, 2)) for split in ("train", "test")}
    arrays = {f"{split}_inputs": each for split, each in rows.items()}
    np.savez(folder / "d.npz", **arrays, **{f"{split}_{name}": each for split in rows for name, each in more.items()})
    return {"kind": "npz", "path": "d.npz"}


def two(width=3):
    return Expected(
        inputs=signature(3).inputs,
        outputs={
            "digit": Tensor(dtype="float32", shape=(None, 7)),
            "mask": Tensor(dtype="float32", shape=(None, 4, 4)),
            "tags": Tensor(dtype="float32", shape=(None, width)),
        },
    )


@pytest.mark.parametrize("dtype", ["int64", "bool", "float32", "uint8"])
def test_sets_of_labels_are_kept_as_numbers_that_losses_take(tmp_path, dtype):
    result = read(tmp_path, archive(tmp_path, labels=SETS.astype(dtype)), "multilabel", signature=signature(3))
    kept = splits(tmp_path)["test"]["labels"]
    assert kept.dtype == np.float32
    np.testing.assert_array_equal(kept, SETS)
    assert (result.classes, result.warnings) == (0, ())


def bad(row, column, value, dtype="float64"):
    labels = SETS.astype(dtype)
    labels[row, column] = value
    return labels


REFUSED = {
    "half": (bad(4, 2, 0.5), {}, r"data: train labels, row 4, column 2: the value is 0.5. Expected 0 or 1"),
    "two": (bad(0, 1, 2, "int64"), {}, r"train labels, row 0, column 1: the value is 2"),
    "nan": (bad(3, 0, np.nan), {}, r"train labels, row 3, column 0: the value is nan"),
    "named": (bad(4, 2, 7), {"classes": ("a", "b", "c")}, r"row 4, column 2 \(c\): the value is 7"),
    "flat": (SETS[:, 0], {}, r"have shape \(60,\). Multilabel needs \(rows, k\).*kind: classification"),
    "deep": (SETS[:, :, None], {}, r"have shape \(60, 3, 1\). Multilabel needs \(rows, k\)"),
    "words": (SETS.astype(str), {}, "Multilabel needs 0 or 1"),
    "narrow": (SETS[:, :2], {}, r"train labels have 2 column\(s\), the model's output has 3"),
    "names": (SETS, {"classes": ("a", "b")}, r"task.classes names 2 labels, train labels have 3 column\(s\)"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_labels_that_are_no_sets_are_refused_with_their_place(tmp_path, name):
    labels, more, sentence = REFUSED[name]
    with pytest.raises(InputError, match=sentence):
        read(tmp_path, archive(tmp_path, labels=labels), "multilabel", signature=signature(3), **more)


@pytest.mark.parametrize(("classes", "called"), [((), "1"), (("red", "green", "blue"), "green")])
def test_a_label_that_no_test_row_tells_anything_about_is_told(tmp_path, classes, called):
    labels = SETS.copy()
    labels[:, 1] = 0
    result = read(tmp_path, archive(tmp_path, labels=labels), "multilabel", signature=signature(3), classes=classes)
    assert result.warnings == (
        f"test has the same value in every row of the label columns {called}: whether a model knows these labels is "
        "not tested",
    )
    assert result.class_names == classes


def test_columns_of_a_table_are_the_labels(tmp_path):
    rows = [f"{x:.3f},{a},{b}" for x, (a, b, _) in zip(RNG.normal(size=60), SETS, strict=True)]
    (tmp_path / "d.csv").write_text("\n".join(["x,red,green", *rows]))
    source = {"kind": "csv", "path": "d.csv", "labels": ["red", "green"]}
    read(tmp_path, source, "multilabel", signature=signature(2, (1,)))
    assert splits(tmp_path)["test"]["labels"].shape == (12, 2)


def test_the_width_is_that_of_the_judged_output(tmp_path):
    read(tmp_path, archive(tmp_path, labels=SETS), "multilabel", signature=two(), judged="tags")
    with pytest.raises(InputError, match=r"3 column\(s\), the model's output has 7"):
        (tmp_path / "other").mkdir()
        read(tmp_path / "other", archive(tmp_path / "other", labels=SETS), "multilabel", signature=two())


@pytest.mark.parametrize("dtype", ["int32", "float64", "bool"])
def test_labels_of_a_custom_task_have_any_shape_and_keep_their_dtype(tmp_path, dtype):
    labels = RNG.integers(0, 2, (60, 4, 4)).astype(dtype)
    read(tmp_path, archive(tmp_path, labels=labels), "custom", signature=two())
    kept = splits(tmp_path)["test"]["labels"]
    assert kept.dtype == dtype
    np.testing.assert_array_equal(kept, labels)


def test_labels_of_a_custom_task_are_finite(tmp_path):
    labels = np.zeros((60, 4, 4))
    labels[7, 1, 2] = np.inf
    with pytest.raises(InputError, match="train labels, row 7: the value is inf"):
        read(tmp_path, archive(tmp_path, labels=labels), "custom", signature=two())


def test_labels_by_output_lie_in_a_file_each(tmp_path):
    digit, mask = RNG.integers(0, 7, 60), RNG.normal(size=(60, 4, 4))
    read(tmp_path, archive(tmp_path, labels_digit=digit, labels_mask=mask), "custom", signature=two())
    test = open_dataset(tmp_path / "out")["test"]
    assert test.targets == ("digit", "mask")
    np.testing.assert_array_equal(test.labels()["digit"], digit)
    np.testing.assert_array_equal(test.labels()["mask"], mask)
    assert (tmp_path / "out/test/labels/mask.npy").is_file() and not (tmp_path / "out/test/labels.npy").exists()
    assert described(tmp_path)["splits"]["test"]["targets"]["mask"] == {"dtype": "float64", "shape": [60, 4, 4]}
    assert [len(each.labels()["digit"]) for each in open_dataset(tmp_path / "out").values()] == [54, 6, 60, 60]


def test_columns_of_a_table_are_labels_of_several_outputs(tmp_path):
    rows = [f"{x:.3f},{a},{b},{c}" for x, (a, b, c) in zip(RNG.normal(size=60), SETS, strict=True)]
    (tmp_path / "d.csv").write_text("\n".join(["x,d,red,green", *rows]))
    source = {"kind": "csv", "path": "d.csv", "labels": {"digit": "d", "tags": ["red", "green"]}}
    read(tmp_path, source, "custom")
    kept = splits(tmp_path)["test"]
    assert {name: each.shape for name, each in kept["labels"].items()} == {"digit": (12,), "tags": (12, 2)}
    assert kept["inputs"]["input"].shape == (12, 1)


def test_arrays_of_a_file_each_are_labels_of_several_outputs(tmp_path):
    for name, array in {"x": RNG.normal(size=(60, 2)), "d": np.arange(60) % 7}.items():
        np.save(tmp_path / f"{name}.npy", array)
        np.save(tmp_path / f"{name}2.npy", array + 1)
    files = {"train": "", "test": "2"}
    source = {
        "kind": "npy",
        "splits": {
            split: {"inputs": f"x{end}.npy", "labels": {"digit": f"d{end}.npy"}} for split, end in files.items()
        },
    }
    read(tmp_path, source, "custom", signature=two())
    assert list(splits(tmp_path)["test"]["labels"]) == ["digit"]


MISNAMED = {
    "unknown": ("custom", {"labels_digits": np.arange(60)}, "labels for 'digits'.*Did you mean digit"),
    "classes": (
        "classification",
        {"labels_digit": np.arange(60) % 7},
        "given by name.*task.judged names.*kind: custom",
    ),
    "rows": ("custom", {"labels_digit": np.arange(60), "labels_mask": np.zeros(59)}, "labels 'mask' has 59"),
}


@pytest.mark.parametrize("name", MISNAMED)
def test_labels_by_output_that_do_not_fit_are_refused(tmp_path, name):
    task, labels, sentence = MISNAMED[name]
    with pytest.raises(InputError, match=sentence):
        read(tmp_path, archive(tmp_path, **labels), task, signature=two())


def test_every_split_has_labels_for_the_same_outputs(tmp_path):
    source = archive(tmp_path, labels_digit=np.arange(60) % 7)
    with np.load(tmp_path / "d.npz") as content:
        arrays = dict(content)
    arrays["test_labels_mask"] = np.zeros((60, 4, 4))
    np.savez(tmp_path / "d.npz", **arrays)
    with pytest.raises(InputError, match="test has labels for digit, mask, train for digit"):
        read(tmp_path, source, "custom", signature=two())
