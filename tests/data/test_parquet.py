"""parquet files: pictures, sequences and words in typed columns, and every way in which they are wrong."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.data.sources.parquet import ParquetData
from tasks.foundations.errors import InputError
from tests.data.reading import RNG, read, splits

PIXELS = RNG.integers(0, 256, (40, 2, 3)).astype("uint8")
FOLD = np.array(["train"] * 30 + ["test"] * 10)


def lists():
    return pa.array(PIXELS.reshape(40, 6).tolist(), pa.list_(pa.uint8()))


def write(folder, columns, **more):
    table = pa.table({"fold": FOLD, "target": np.arange(40) / 2, **columns})
    pq.write_table(table, folder / "data.parquet", **more)


def source(**more):
    return {"kind": "parquet", "path": "data.parquet", "label": "target", "split_column": "fold", **more}


FORMS = {
    "lists": (lists(), {"column": "pixels", "shape": [2, 3]}),
    "lists of a fixed size": (
        pa.FixedSizeListArray.from_arrays(pa.array(PIXELS.ravel()), 6),
        {"column": "pixels", "shape": [2, 3]},
    ),
    "nested lists": (pa.array(PIXELS.tolist(), pa.list_(pa.list_(pa.uint8()))), "pixels"),
    "bytes": (pa.array([row.tobytes() for row in PIXELS]), {"column": "pixels", "shape": [2, 3]}),
    "bytes of a fixed size": (
        pa.array([row.tobytes() for row in PIXELS], pa.binary(6)),
        {"column": "pixels", "shape": [2, 3], "dtype": "uint8"},
    ),
    "large lists": (
        pa.array(PIXELS.tolist(), pa.large_list(pa.large_list(pa.uint8()))),
        {"column": "pixels", "shape": [2, 3]},
    ),
}


@pytest.mark.parametrize("name", FORMS)
def test_pictures_come_back_from_every_form(tmp_path, name, monkeypatch):
    monkeypatch.setattr("tasks.data.sources.parquet.BATCH_BYTES", 40)
    column, given = FORMS[name]
    write(tmp_path, {"pixels": column}, row_group_size=7)
    read(tmp_path, source(inputs={"image": given}))
    test = splits(tmp_path)["test"]["inputs"]["image"]

    assert test.dtype == np.uint8
    np.testing.assert_array_equal(test, PIXELS[30:])


def test_typed_columns_keep_their_types_and_words_may_be_categories(tmp_path):
    word = pa.array(["ä", "bcd"] * 20).dictionary_encode()
    price = pa.array([f"{i}.25" for i in range(40)]).cast(pa.decimal128(10, 2))
    write(
        tmp_path,
        {"word": word, "price": price, "flag": pa.array([True, False] * 20), "id": np.arange(40, dtype="int32")},
    )
    read(tmp_path, source(inputs={"word": "word", "price": "price", "flag": "flag", "id": "id"}, slices=["flag"]))
    test = splits(tmp_path)["test"]

    assert {name: str(array.dtype) for name, array in test["inputs"].items()} == {
        "word": "<U3", "price": "float32", "flag": "bool", "id": "int32",
    }  # fmt: skip
    assert test["inputs"]["word"].tolist() == ["ä", "bcd"] * 5
    np.testing.assert_array_equal(test["inputs"]["price"], np.arange(30, 40) + 0.25)


def test_columns_of_several_values_have_inputs_of_their_own_by_default(tmp_path):
    write(tmp_path, {"pixels": lists(), "age": np.arange(40)})
    read(tmp_path, source())
    test = splits(tmp_path)["test"]["inputs"]

    assert {name: array.shape for name, array in test.items()} == {"pixels": (10, 6), "age": (10,)}


def test_an_index_of_pandas_is_no_input(tmp_path):
    write(tmp_path, {"x": np.arange(40.0), "__index_level_0__": np.arange(40)})
    read(tmp_path, source())
    assert splits(tmp_path)["test"]["inputs"]["input"].shape == (10, 1)


def test_several_targets_are_stacked(tmp_path):
    write(tmp_path, {"x": np.arange(40.0), "second": np.arange(40)})
    read(tmp_path, source(label=None, labels=["target", "second"]))
    np.testing.assert_array_equal(splits(tmp_path)["test"]["labels"][:, 0] * 2, np.arange(30, 40))


def test_large_integers_are_not_wrapped_and_words_as_views_are_words(tmp_path):
    write(
        tmp_path, {"x": 2**64 - 1 - np.arange(40, dtype="uint64"), "word": pa.array(["ab"] * 40).cast(pa.string_view())}
    )
    read(tmp_path, source(inputs={"x": ["x"], "word": "word"}))
    test = splits(tmp_path)["test"]["inputs"]

    assert test["x"].dtype == np.uint64 and test["x"][-1, 0] == 2**64 - 40
    assert set(test["word"]) == {"ab"}


def test_one_hot_lists_are_labels(tmp_path):
    write(tmp_path, {"x": np.arange(40.0), "y": np.eye(2)[np.arange(40) % 2].tolist()})
    read(tmp_path, source(label="y", split_column=None, inputs="x"), "classification")
    test = splits(tmp_path)["test"]

    np.testing.assert_array_equal(test["labels"], test["inputs"]["input"] % 2)


def put(row, value, values=None):
    content = [1.0] * 40 if values is None else values
    content[row] = value
    return content


BROKEN = {
    "null": ({"x": put(17, None)}, {}, "column 'x', row 17: the value is missing .null."),
    "nan": ({"x": put(35, float("nan"))}, {}, "column 'x', row 35: the value is nan. Expected: a finite number"),
    "null word": (
        {"word": put(4, None, ["a"] * 40)},
        {"inputs": {"word": "word"}},
        "column 'word', row 4: the value is missing",
    ),
    "null label": ({"x": put(0, 1.0), "y": put(9, None)}, {"label": "y"}, "column 'y', row 9: the value is missing"),
    "null list": ({"x": put(6, None, PIXELS.reshape(40, 6).tolist())}, {}, "column 'x', row 6: the value is missing"),
    "null in a list": ({"x": put(6, [1, None, 3], [[1, 2, 3]] * 40)}, {}, "column 'x', row 6: the value is missing"),
    "ragged lists": ({"x": put(6, [1], [[1, 2, 3]] * 40)}, {}, "column 'x', row 6: the list has 1 values, row 0 has 3"),
    "wrong shape": (
        {"x": lists()},
        {"inputs": {"x": {"column": "x", "shape": [7]}}},
        "the list has 6 values, the shape .7. holds 7",
    ),
    "bytes without shape": ({"x": [b"ab"] * 40}, {}, "'x' holds bytes. Say what they are: x: .column: x, shape"),
    "compressed pictures": (
        {"x": put(3, b"\x89PNG", [b"abcdef"] * 40)},
        {"inputs": {"x": {"column": "x", "shape": [6]}}},
        "row 3: 4 bytes, but the shape .6. of uint8 takes 6.*PNG, JPEG",
    ),
    "dates": (
        {"x": pa.array([0] * 40, pa.timestamp("s"))},
        {},
        "column 'x' is of type timestamp.ms.. Expected numbers",
    ),
    "stacked lists": ({"x": lists()}, {"inputs": ["x"]}, "'x' holds several values a row and cannot be stacked"),
    "missing column": (
        {"x": put(0, 1.0)},
        {"inputs": ["y"]},
        "data.parquet has no column 'y'. It has: 'fold', 'target', 'x'",
    ),
    "shape of a number": (
        {"x": put(0, 1.0)},
        {"inputs": {"x": {"column": "x", "shape": [2]}}},
        "holds one value a row",
    ),
    "null split": (
        {"x": put(0, 1.0), "f": put(8, None, ["test"] * 40)},
        {"split_column": "f"},
        "column 'f', row 8: the value is missing",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_columns_are_refused_with_their_place(tmp_path, name):
    columns, keys, sentence = BROKEN[name]
    write(tmp_path, columns, row_group_size=13)

    with pytest.raises(InputError, match=sentence):
        read(tmp_path, source(**keys))
    assert list((tmp_path / "out").iterdir()) == []


def test_another_file_than_parquet_is_refused(tmp_path):
    (tmp_path / "data.parquet").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="data.parquet cannot be read as parquet"):
        read(tmp_path, source())


def test_an_input_of_two_columns_keys_is_refused():
    with pytest.raises(ValueError, match="column and columns are given"):
        ParquetData.model_validate(source(inputs={"x": {"column": "a", "columns": ["b"]}}))
