"""Reading a data set: what is refused, in which words, and what is written."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from tasks.data.dataset import open_dataset
from tasks.data.expected import Expected, Tensor
from tasks.data.sources.python import PythonData
from tasks.data.write import ReadRequest, read_data
from tasks.foundations.errors import InputError

RNG = np.random.default_rng(0)


def make(rows=20, classes=3, width=4):
    return {
        "inputs": RNG.normal(size=(rows, width)),
        "labels": np.arange(rows) % classes,
        "slices": {"side": np.where(np.arange(rows) % 2 == 0, "left", "right")},
    }


def good():
    return {"train": make(100), "test": make(20)}


def expected(dtype="float32", shape=(None, 4), outputs=3, name="input"):
    return Expected(
        inputs={name: Tensor(dtype=dtype, shape=shape)},
        outputs={"output": Tensor(dtype="float32", shape=(None, outputs))},
    )


def read(tmp_path, data, task="classification", **more):
    """Through a real file, as a user has it; the data itself comes by way of a module attribute."""
    folder = tmp_path / "configs"
    folder.mkdir(exist_ok=True)
    name = f"data_{hashlib.sha256(str(tmp_path).encode()).hexdigest()[:12]}"
    (folder / f"{name}.py").write_text("CONTENT = None\ndef load():\n    return CONTENT\n")
    source = PythonData(kind="python", entrypoint=f"{name}.py:load")
    from tasks.foundations import entrypoints

    entrypoints.load(source.entrypoint, folder)
    import sys

    sys.modules[name].CONTENT = data
    out = Path(more.pop("out", tmp_path / "out"))
    out.mkdir()
    request = ReadRequest(source=source, folder=str(folder), task=task, seed=more.pop("seed", 0), out=str(out), **more)
    return read_data(request), out


def test_what_was_returned_is_what_is_mapped(tmp_path):
    data = good()
    result, out = read(tmp_path, data, signature=expected())
    splits = open_dataset(out)
    assert list(splits) == ["train", "validation", "calibration", "test"]
    assert result.rows == {"train": 90, "validation": 10, "calibration": 100, "test": 20}
    assert result.classes == 3
    test = splits["test"]
    assert isinstance(test.input_arrays()["input"], np.memmap)
    assert test.input_arrays()["input"].dtype == np.float32
    np.testing.assert_array_equal(test.input_arrays()["input"], data["test"]["inputs"].astype("float32"))
    np.testing.assert_array_equal(test.labels(), data["test"]["labels"])
    assert test.slice_columns()["side"].tolist() == data["test"]["slices"]["side"].tolist()


def test_validation_is_taken_out_of_train_and_calibration_lies_within_it(tmp_path):
    _, out = read(tmp_path, {"train": make(1000), "test": make(20)}, signature=expected())
    rows = {name: {tuple(row) for row in split.input_arrays()["input"]} for name, split in open_dataset(out).items()}
    assert len(rows["validation"]) == 100
    assert not rows["validation"] & rows["train"]
    assert len(rows["calibration"]) == 512
    assert rows["calibration"] <= rows["train"] | rows["validation"]


def test_two_train_rows_still_leave_a_validation_row(tmp_path):
    result, _ = read(tmp_path, {"train": make(2), "test": make(4)})
    assert result.rows["train"] == 1 and result.rows["validation"] == 1


def test_the_same_data_gives_the_same_bytes_and_another_seed_other_rows(tmp_path):
    data = good()

    def digest(folder):
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        return [(str(path.relative_to(folder)), hashlib.sha256(path.read_bytes()).hexdigest()) for path in files]

    first, second, third = (
        digest(read(tmp_path, data, out=tmp_path / f"out{i}", seed=seed)[1]) for i, seed in enumerate((0, 0, 1))
    )
    assert first == second
    assert first != third


def test_memory_maps_in_many_chunks_are_copied_exactly(tmp_path, monkeypatch):
    for module in ("chunks", "write"):
        monkeypatch.setattr(f"tasks.data.{module}.CHUNK_BYTES", 100)
    np.save(tmp_path / "big.npy", RNG.normal(size=(37, 4)))
    data = good()
    data["train"] = {**make(37), "inputs": np.load(tmp_path / "big.npy", mmap_mode="r")}
    _, out = read(tmp_path, data)
    splits = open_dataset(out)
    written = np.concatenate([splits[name].input_arrays()["input"] for name in ("train", "validation")])
    assert sorted(written[:, 0]) == sorted(np.load(tmp_path / "big.npy")[:, 0].astype("float32"))


def test_bytes_images_are_written_as_the_models_floats(tmp_path):
    data = {name: {**part, "inputs": RNG.integers(0, 256, (len(part["labels"]), 4)).astype("uint8")} for name, part in
            good().items()}  # fmt: skip
    _, out = read(tmp_path, data, signature=expected())
    written = open_dataset(out)["test"].input_arrays()["input"]
    assert written.dtype == np.float32
    np.testing.assert_array_equal(written, data["test"]["inputs"])


def test_train_rows_in_test_are_a_warning_and_never_calibrate(tmp_path):
    data = good()
    data["test"]["inputs"][:5] = data["train"]["inputs"][:5]
    result, _ = read(tmp_path, data)
    assert result.rows["calibration"] == 95
    assert any("5 of 100 train rows stand in test too" in warning for warning in result.warnings)


def test_a_class_that_train_never_shows_is_a_warning(tmp_path):
    data = {"train": make(50, classes=2), "test": make(20, classes=3)}
    result, _ = read(tmp_path, data)
    assert result.warnings == ("test holds the classes [2] that train never shows",)


def test_a_trained_model_needs_no_train(tmp_path):
    result, _ = read(tmp_path, {"calibration": make(8), "test": make(8)}, needs_train=False)
    assert result.rows == {"calibration": 8, "test": 8}


def test_regression_targets_keep_their_values(tmp_path):
    data = {"train": make(10), "test": make(5)}
    data["train"]["labels"], data["test"]["labels"] = np.arange(10), np.arange(5)
    result, out = read(tmp_path, data, task="regression", signature=expected(outputs=1))
    assert result.classes == 0
    assert open_dataset(out)["test"].labels().tolist() == [0.0, 1.0, 2.0, 3.0, 4.0]


def put(split, key, value):
    def change(data):
        data[split][key] = value

    return change


def poison(split, key, index, value):
    def change(data):
        data[split][key] = np.array(data[split][key])
        data[split][key][index] = value

    return change


def floats(split, index, value):
    def change(data):
        data[split]["labels"] = data[split]["labels"].astype(float)
        data[split]["labels"][index] = value

    return change


def share(data):
    data["calibration"] = make(6)
    data["calibration"]["inputs"][4] = data["test"]["inputs"][7]


def every_train_row_is_a_test_row(data):
    data["train"] = data["test"]


BROKEN = {
    "nan": (poison("train", "inputs", (17, 2), np.nan), "train input 'input', row 17: the value is nan"),
    "infinity": (poison("test", "inputs", (3, 0), -np.inf), "test input 'input', row 3: the value is -inf"),
    "rows": (put("test", "labels", np.arange(19) % 3), "test has row counts that differ: input 'input' has 20, labels"),
    "slice rows": (put("test", "slices", {"side": np.arange(3)}), "slice 'side' has 3"),
    "object": (put("train", "inputs", np.array([{}] * 100)), "train input 'input' has dtype object"),
    "ragged": (put("train", "inputs", [[1.0], [1.0, 2.0]]), "train input 'input' is no regular array"),
    "single value": (put("train", "labels", 3), "train labels is a single value"),
    "no labels": (put("train", "labels", None), "train has no 'labels'"),
    "unknown key": (put("train", "label", 1), "train has an unknown key 'label'"),
    "unknown split": (lambda data: data.update(tset=data["test"]), "unknown split 'tset'.*Did you mean test"),
    "no train": (lambda data: data.pop("train"), "the split 'train' is missing"),
    "no test": (lambda data: data.pop("test"), "the split 'test' is missing"),
    "empty split": (lambda data: data.update(test=make(0)), "the split 'test' is empty"),
    "too few": (lambda data: data.update(train=make(1, classes=1)), "every label of train is 0"),
    "one class": (put("test", "labels", np.ones(20, int)), "every label of test is 1"),
    "soft labels": (put("train", "labels", np.full((100, 2), 0.5)), "row 0 is .0.5, 0.5.: it shares one label out"),
    "one-hot twice": (
        put("train", "labels", [*np.eye(3, dtype=int)[[0] * 99].tolist(), [1, 1, 0]]),
        "row 99 is .1, 1, 0.. Several labels a row must be one-hot",
    ),
    "a label a step": (put("train", "labels", np.arange(1200).reshape(100, 12) % 3), "labels of sequences"),
    "many labels": (put("train", "labels", np.ones((100, 3), int)), "several labels at once.*kind: multilabel"),
    "one-hot a step": (put("train", "labels", np.ones((100, 2, 3))), "one class a row. For several labels at once"),
    "words a step": (put("train", "labels", np.full((100, 2), "a")), "one class a row. For several labels at once"),
    "column": (put("train", "labels", (np.arange(100) % 3)[:, None]), r"labels.reshape\(-1\)"),
    "words and numbers": (put("train", "labels", np.array(["a", "b"] * 50)), "train labels are words, test labels are"),
    "float classes": (floats("train", 0, 1.5), "train labels are float64"),
    "range": (poison("train", "labels", 12, 9), "train labels, row 12: the value is 9. Expected classes 0..2"),
    "negative": (poison("test", "labels", 1, -1), "test labels, row 1: the value is -1"),
    "shared": (share, "calibration row 4 is test row 7 again"),
    "all shared": (every_train_row_is_a_test_row, "nothing to calibrate on"),
    "width": (lambda data: data.update(test=make(20, width=5)), "a row of test input 'input' has shape .5,., in train"),
    "bad slice": (put("test", "slices", {"ink": np.zeros(20)}), "slice 'ink' is float64"),
    "file name": (put("test", "slices", {"a/b": np.zeros(20, int)}), "a column named 'a/b'"),
    "no dict": (lambda data: data.update(test=3), "test must be a dict of inputs, labels, slices; it is int"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_unusable_data_is_refused_with_its_place(tmp_path, name):
    break_it, sentence = BROKEN[name]
    data = good()
    break_it(data)
    with pytest.raises(InputError, match=sentence):
        read(tmp_path, data, signature=expected())
    assert list((tmp_path / "out").iterdir()) == []


def test_a_load_that_returns_no_dict_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"load\(\) must return .*; it returned tuple"):
        read(tmp_path, (1, 2))


@pytest.mark.parametrize(
    ("signature", "sentence"),
    [
        (expected(shape=(None, 4, 1)), r"has shape \(4,\), the model takes \(4, 1\).*array\[..., None\]"),
        (expected(shape=(None, 7)), r"has shape \(4,\), the model takes \(7,\)"),
        (expected(dtype="int64"), "is float64, the model takes int64"),
        (expected(dtype="str"), "is float64, the model takes str"),
    ],
)
def test_data_that_the_model_cannot_take_is_refused(tmp_path, signature, sentence):
    with pytest.raises(InputError, match=sentence):
        read(tmp_path, good(), signature=signature)


def test_values_beyond_the_models_dtype_are_refused_with_their_row(tmp_path):
    data = good()
    data["test"]["inputs"][6, 1] = 1e300
    with pytest.raises(InputError, match=r"test input 'input', row 6: 1e\+300 does not fit into the model's float32"):
        read(tmp_path, data, signature=expected())


def test_integers_that_the_models_dtype_would_round_are_refused(tmp_path):
    data = good()
    for part in data.values():
        part["inputs"] = np.arange(len(part["labels"]) * 4).reshape(-1, 4) + 1
    data["test"]["inputs"][2, 3] = 2**24 + 1
    with pytest.raises(InputError, match="test input 'input', row 2: 16777217 does not fit into the model's float32"):
        read(tmp_path, data, signature=expected())


def test_several_inputs_are_matched_by_name_with_the_nearest_word(tmp_path):
    data = good()
    for part in data.values():
        part["inputs"] = {"imgae": part["inputs"], "age": part["inputs"][:, :1]}
    signature = Expected(
        inputs={"image": Tensor(dtype="float32", shape=(None, 4)), "age": Tensor(dtype="float32", shape=(None, 1))},
        outputs={"output": Tensor(dtype="float32", shape=(None, 3))},
    )
    with pytest.raises(InputError, match="the model has no input 'imgae'.*Did you mean image"):
        read(tmp_path, data, signature=signature)


def test_regression_refuses_nan_targets_and_wrong_widths(tmp_path):
    data = good()
    floats("train", 5, np.nan)(data)
    with pytest.raises(InputError, match="train labels, row 5: the value is nan"):
        read(tmp_path, data, task="regression")
    with pytest.raises(InputError, match=r"train labels have 1 column\(s\), the model's output has 3"):
        read(tmp_path, good(), task="regression", signature=expected(), out=tmp_path / "second")


def test_a_models_signature_is_accepted_as_what_is_expected():
    from tasks.models.signature import Signature, TensorSpec

    spec = TensorSpec(dtype="float32", shape=(None, 4))
    source = PythonData(kind="python", entrypoint="a.py:b")
    request = ReadRequest(source=source, folder="/f", task="regression", seed=0, out="/o",
                          signature=Signature(inputs={"x": spec}, outputs={"y": spec}))  # fmt: skip
    assert request.signature.inputs["x"].shape == (None, 4)
