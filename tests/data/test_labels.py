"""Labels as words, as one-hot rows and as integers: which class they become, and what is refused."""

import numpy as np
import pytest

from tasks.data.labels import encode
from tasks.data.returned import Table
from tasks.evaluation.task import Classification
from tasks.foundations.errors import InputError
from tests.data.reading import RNG, described, read, signature, splits

FLOWERS = np.array(["virginica", "setosa", "versicolor"])
THIRTY, NINE = FLOWERS[np.arange(30) % 3], FLOWERS[np.arange(9) % 3]


def write(folder, train=THIRTY, test=NINE, **more):
    for split, labels in {"train": train, "test": test, **more}.items():
        np.savez(folder / f"{split}.npz", x=RNG.normal(size=(len(labels), 2)).astype("float32"), y=labels)
    return {"kind": "npz", "splits": {split: f"{split}.npz" for split in ("train", "test", *more)}}


def test_words_are_numbered_in_sorted_order_and_kept(tmp_path):
    result = read(tmp_path, write(tmp_path), "classification", signature=signature(3))

    assert result.class_names == ("setosa", "versicolor", "virginica") == tuple(described(tmp_path)["classes"])
    assert splits(tmp_path)["test"]["labels"].tolist() == [2, 0, 1] * 3
    assert result.classes == 3


def test_the_config_decides_the_order_and_may_name_integers(tmp_path):
    named = ("virginica", "setosa", "versicolor")
    read(tmp_path, write(tmp_path), "classification", signature=signature(3), classes=named)
    assert splits(tmp_path)["test"]["labels"].tolist() == [0, 1, 2] * 3

    (tmp_path / "integers").mkdir()
    source = write(tmp_path / "integers", np.arange(30) % 3, np.arange(9) % 3)
    result = read(tmp_path / "integers", source, "classification", signature=signature(3), classes=named)
    assert result.class_names == named and splits(tmp_path / "integers")["test"]["labels"].tolist() == [0, 1, 2] * 3


def test_words_as_bytes_are_words(tmp_path):
    read(tmp_path, write(tmp_path, FLOWERS[np.arange(30) % 3].astype("S")), "classification")
    assert splits(tmp_path)["test"]["labels"].tolist() == [2, 0, 1] * 3


@pytest.mark.parametrize("dtype", ["uint8", "float32", "bool"])
def test_one_hot_rows_become_integers(tmp_path, dtype):
    source = write(tmp_path, np.eye(3, dtype=dtype)[np.arange(30) % 3], np.eye(3, dtype=dtype)[np.arange(9) % 3])
    result = read(tmp_path, source, "classification", signature=signature(3))

    assert splits(tmp_path)["test"]["labels"].tolist() == [0, 1, 2] * 3 and result.class_names == ()


def test_integers_stay_as_they_are(tmp_path):
    read(tmp_path, write(tmp_path, np.arange(30) % 3, np.arange(9) % 3), "classification")
    assert splits(tmp_path)["test"]["labels"].tolist() == [0, 1, 2] * 3
    assert "classes" not in described(tmp_path)


SOFT = np.eye(3)[np.arange(9) % 3]
SOFT[4] = [0.2, 0.7, 0.1]
REFUSED = {
    "a word that train never shows": (
        {"test": np.array(["setosa", "setoza", "virginica"])},
        {},
        "test labels, row 1: 'setoza' is no class of train. Did you mean setosa. Classes: setosa, versicolor, ",
    ),
    "a word that the config does not name": (
        {},
        {"classes": ("setosa", "versicolor", "verginica")},
        "train labels, row 0: 'virginica' is no class of task.classes. Did you mean verginica",
    ),
    "more words than outputs": (
        {},
        {"signature": signature(1)},
        "3 different words .setosa.*the model's output tells 2",
    ),
    "more names than outputs": (
        {},
        {"classes": ("a", "b"), "signature": signature(3)},
        "task.classes names 2 classes .a, b.",
    ),
    "soft labels": (
        {"test": SOFT},
        {},
        r"row 4 is \[0.2, 0.7, 0.1\]: it shares one label out among classes. A classification",
    ),
    "two ones": ({"test": np.ones((9, 3), int)}, {}, r"row 0 is \[1, 1, 1\]. Several labels a row must be one-hot"),
    "words and integers": ({"test": np.arange(9) % 3}, {}, "train labels are words, test labels are int64"),
    "integers beyond the names": (
        {"train": np.arange(30) % 4, "test": np.arange(9) % 3},
        {"classes": ("a", "b", "c")},
        "train labels, row 3: the value is 3. Expected classes 0..2",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_labels_that_are_no_classes_are_refused_with_their_place(tmp_path, name):
    labels, more, sentence = REFUSED[name]
    with pytest.raises(InputError, match=sentence):
        read(tmp_path, write(tmp_path, **labels), "classification", **more)


def test_words_are_no_targets_of_a_regression(tmp_path):
    with pytest.raises(InputError, match="Regression needs numbers"):
        read(tmp_path, write(tmp_path), "regression")


def test_a_class_missing_in_calibration_is_a_warning_by_name(tmp_path):
    source = write(tmp_path, calibration=FLOWERS[[0, 1, 0, 1]])
    result = read(tmp_path, source, "classification")

    assert any("calibration has no row of the classes versicolor: " in warning for warning in result.warnings)


def test_a_class_missing_in_test_is_no_warning_and_one_missing_in_train_is_named(tmp_path):
    source = write(tmp_path, FLOWERS[np.arange(30) % 2], FLOWERS[[0, 1, 0, 2]])
    result = read(tmp_path, source, "classification", classes=tuple(FLOWERS))

    assert result.warnings == ("test holds the classes ['versicolor'] that train never shows",)


def test_without_train_the_words_are_those_of_all_splits():
    inputs = {"x": np.zeros((2, 1))}
    tables = {"calibration": Table(inputs, np.array(["b", "c"]), {}), "test": Table(inputs, np.array(["a", "b"]), {})}
    encoded = encode(tables, "classification", (), None)

    assert encoded.names == ("a", "b", "c") and encoded.tables["calibration"].labels.tolist() == [1, 2]


def test_a_task_names_every_class_once():
    with pytest.raises(ValueError, match="the class 'a' stands twice"):
        Classification(kind="classification", output="logits", classes=("a", "b", "a"))
    with pytest.raises(ValueError, match="names 1 class; a classification tells at least two apart"):
        Classification(kind="classification", output="logits", classes=("a",))
