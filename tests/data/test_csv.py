"""csv files: what their texts mean, and every way in which they are wrong, with file, column, row and value."""

import gzip

import numpy as np
import pytest

from tasks.data.sources.csv import CsvData
from tasks.foundations.errors import InputError
from tests.data.reading import RNG, described, read, splits


def lines(rows=50):
    numbers = RNG.normal(size=(rows, 2)).round(3)
    return ["age,height,target", *(f"{a},{b},{a + b:.3f}" for a, b in numbers)]


def write(folder, text, name="data.csv"):
    text = text if isinstance(text, str) else "\n".join(text) + "\n"
    (folder / name).write_bytes(text.encode())


def source(**more):
    return {"kind": "csv", "path": "data.csv", "label": "target", **more}


def test_every_other_column_is_stacked_and_a_fifth_is_test(tmp_path):
    write(tmp_path, lines())
    result = read(tmp_path, source())

    assert result.rows == {"train": 36, "validation": 4, "calibration": 40, "test": 10}
    test = splits(tmp_path)["test"]
    assert test["inputs"]["input"].shape == (10, 2) and test["inputs"]["input"].dtype == np.float32
    np.testing.assert_allclose(test["labels"], test["inputs"]["input"].sum(axis=1), atol=2e-3)


def test_named_inputs_keep_their_columns_types(tmp_path):
    words = ["one", "two, too", 'three "3"', ""]
    rows = [f'{i},{i / 2},"{words[i % 3].replace(chr(34), chr(34) * 2)}",{i % 2 == 0},{i}' for i in range(20)]
    write(tmp_path, ["id,half,word,even,target", *rows])
    inputs = {"id": "id", "id_1": ["id"], "half": "half", "word": "word", "even": "even", "both": ["id", "half"]}
    read(tmp_path, source(inputs=inputs, test_fraction=0.5))
    test = splits(tmp_path)["test"]
    found = test["inputs"]
    number = test["labels"].astype(int)

    assert {name: (array.dtype.kind, array.shape) for name, array in found.items()} == {
        "id": ("i", (10,)), "id_1": ("i", (10, 1)), "half": ("f", (10,)), "word": ("U", (10,)), "even": ("b", (10,)),
        "both": ("f", (10, 2)),
    }  # fmt: skip
    assert found["word"].tolist() == [words[i % 3] for i in number]
    assert found["even"].tolist() == [i % 2 == 0 for i in number]


def test_a_pattern_stands_for_columns_and_a_shape_folds_them(tmp_path):
    header = ",".join(["target", *(f"pixel{i}" for i in range(6))])
    write(tmp_path, [header, *(",".join(str(i + j) for j in range(7)) for i in range(20))])
    read(tmp_path, source(inputs={"image": {"columns": ["pixel*"], "shape": [2, 3]}}))
    test = splits(tmp_path)["test"]

    assert described(tmp_path)["splits"]["test"]["inputs"]["image"] == {"dtype": "int64", "shape": [4, 2, 3]}
    np.testing.assert_array_equal(test["inputs"]["image"][:, 1, 2], test["labels"] + 6)


def test_a_column_names_the_splits(tmp_path):
    fold = ["train", "test", "calibration", "validation", "test"]
    write(tmp_path, ["fold,x,target", *(f"{fold[i % 5]},{i},{i}" for i in range(50))])
    result = read(tmp_path, source(split_column="fold"))

    assert result.rows == {"train": 10, "validation": 10, "calibration": 10, "test": 20}
    assert sorted(splits(tmp_path)["test"]["labels"] % 5) == [1] * 10 + [4] * 10


def test_files_a_split_delimiters_headers_compression_and_a_byte_order_mark(tmp_path):
    (tmp_path / "train.csv.gz").write_bytes(gzip.compress(b"\n".join(b"%d;%d" % (i, i) for i in range(30))))
    write(tmp_path, [f"{i};{i}" for i in range(100, 110)], "test.csv")
    source = CsvData(kind="csv", splits={"train": "train.csv.gz", "test": "test.csv"}, label="y", delimiter=";",
                     header=["x", "y"])  # fmt: skip
    result = read(tmp_path, source.model_dump())
    assert result.rows == {"train": 27, "validation": 3, "calibration": 30, "test": 10}

    (tmp_path / "marked").mkdir()
    write(tmp_path / "marked", "\ufefftarget,x\r\n" + "".join(f"{i}, {i} \r\n" for i in range(10)))
    read(tmp_path / "marked", {"kind": "csv", "path": "data.csv", "label": "target"})
    assert splits(tmp_path / "marked")["test"]["inputs"]["input"].shape == (2, 1)


def test_numbers_that_turn_into_fractions_after_many_rows_are_numbers(tmp_path, monkeypatch):
    monkeypatch.setattr("tasks.data.sources.csv.BLOCK_BYTES", 256)
    write(tmp_path, ["x,target", *(f"{i},{i}" for i in range(500)), *(f"{i}.5,{i}" for i in range(500, 520))])
    read(tmp_path, source())
    inputs = np.concatenate([part["inputs"]["input"] for part in splits(tmp_path).values()])

    assert inputs.dtype == np.float32 and 519.5 in inputs


def test_slices_may_mix_words_and_numbers(tmp_path):
    write(tmp_path, ["x,target,floor", *(f"{i},{i},{'ground' if i % 7 == 0 else i % 7}" for i in range(40))])
    read(tmp_path, source(slices={"storey": "floor"}))

    assert set(splits(tmp_path)["test"]["slices"]["storey"]) <= {"ground", *"123456"}


def changed(row, text):
    def change(content):
        content[row + 1] = text

    return change


BROKEN = {
    "no such column": (
        {"label": "traget"},
        None,
        "data.csv has no column 'traget'. Did you mean target. It has: 'age', ",
    ),
    "no such input": ({"inputs": ["age", "hieght"]}, None, "no column 'hieght'. Did you mean height"),
    "no such pattern": ({"inputs": {"image": ["pixel*"]}}, None, "no column of data.csv matches 'pixel.'"),
    "wrong delimiter": (
        {},
        lambda c: c.__setitem__(slice(None), [line.replace(",", ";") for line in c]),
        "Its header is one column, 'age;height;target': write delimiter: ';'.",
    ),
    "a word among numbers": (
        {},
        changed(17, "tall,1.5,2"),
        "data.csv, column 'age', row 17: 'tall' is no number, unlike",
    ),
    "an empty value": ({}, changed(3, "1.0,,2"), "column 'height', row 3: the value is empty"),
    "a missing value in words": (
        {},
        changed(4, "NA,1,2"),
        "column 'age', row 4: the value is 'NA'. Models take no missing",
    ),
    "nan": ({}, changed(5, "1,nan,2"), "column 'height', row 5: the value is 'nan'|the value is nan"),
    "infinity": ({}, changed(5, "1,inf,2"), "column 'height', row 5: the value is inf. Expected: a finite number"),
    "beyond float32": (
        {},
        changed(6, "1e300,1,2"),
        "column 'age', row 6: the value is 1e.300. Expected: a number that fits into",
    ),
    "no label": ({}, changed(7, "1,2,"), "column 'target', row 7: the value is empty"),
    "a short row": ({}, changed(8, "1,2"), "the row '1,2' .line 10 .*has 2 values, the header has 3"),
    "a long row": ({}, changed(8, "1,2,3,4"), "the row '1,2,3,4'.* has 4 values, the header has 3"),
    "a column twice": ({}, lambda c: c.__setitem__(0, "age,age,target"), "has the column 'age' twice .columns 0 and 1"),
    "a column without a name": ({}, lambda c: c.__setitem__(0, ",age,target"), "a column without a name .column 0"),
    "empty": ({}, lambda c: c.clear(), "data.csv is empty|has no rows|no column"),
    "no rows": ({}, lambda c: c.__delitem__(slice(1, None)), "data.csv has no rows"),
    "too few rows": (
        {"test_fraction": 0.01},
        lambda c: c.__delitem__(slice(3, None)),
        "2 row.s., too few to draw 0.01",
    ),
    "the label as input": ({"inputs": ["age", "target"]}, None, "'target' is a label and stands in input 'input' too"),
    "nothing left": ({"label": None, "labels": ["age", "height", "target"]}, None, "no column of data.csv is left"),
    "wrong shape": (
        {"inputs": {"x": {"columns": ["age", "height"], "shape": [3]}}},
        None,
        "has 2 columns, its shape .3. holds 3",
    ),
    "words and numbers stacked": (
        {},
        lambda c: c.__setitem__(slice(None), [f"{line},red" if i else f"{line},colour" for i, line in enumerate(c)]),
        "stacks columns of numbers, but 'colour' holds texts, e.g. 'red'",
    ),
    "no split": (
        {"split_column": "fold"},
        lambda c: c.__setitem__(slice(None), [f"{line},tset" if i else f"{line},fold" for i, line in enumerate(c)]),
        "column 'fold', row 0: 'tset' is no split.*Did you mean test",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_refused_with_its_place(tmp_path, name):
    keys, change, sentence = BROKEN[name]
    content = lines()
    if change:
        change(content)
    write(tmp_path, "\n".join(content) + "\n" if content else "")

    with pytest.raises(InputError, match=sentence) as refusal:
        read(tmp_path, source(**keys))
    assert str(refusal.value).startswith("data: ")
    assert list((tmp_path / "out").iterdir()) == []


def test_text_that_is_not_utf8_is_refused(tmp_path):
    (tmp_path / "data.csv").write_bytes("x,target\nä,1\n".encode("latin-1"))
    with pytest.raises(InputError, match="cannot be read as csv.*Save it as UTF-8"):
        read(tmp_path, source())


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("data.csv", "x,target\n1,2\n".encode("utf-16"), "data.csv is UTF-16. Save it as UTF-8"),
        ("data.csv.gz", b"x,target\n1,2\n", "cannot be read as csv.*must be packed with gzip"),
        ("data.csv", b'x,target\n"' + b"a" * 2000 + b'",2\n', "A row is longer than .* never closed"),
        ("data.csv", b'x,target\n1,2\n"2,3\n', "the row .* has 1 values, the header has 2"),
        ("data.csv", b'x,target\n1,a\n2,""\n', "column 'target', row 1: the value is ''"),
    ],
)
def test_what_cannot_be_parsed_is_refused(tmp_path, monkeypatch, name, content, sentence):
    monkeypatch.setattr("tasks.data.sources.csv.BLOCK_BYTES", 1000)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=sentence):
        read(tmp_path, source(path=name))


def test_a_column_of_numbers_here_and_words_there_is_refused(tmp_path):
    write(tmp_path, ["x,target", *(f"{i},{i}" for i in range(10))], "train.csv")
    write(tmp_path, ["x,target", *(f"a{i},{i}" for i in range(10))], "test.csv")
    files = {"train": "train.csv", "test": "test.csv"}
    with pytest.raises(InputError, match="'x' holds numbers in train.csv and texts in test.csv"):
        read(tmp_path, {"kind": "csv", "splits": files, "label": "target"})


KEYS = {
    "two places": ({"url": "https://x.org/a.csv"}, "path and url are given; expected exactly one of path, url, splits"),
    "no place": ({"path": None}, "nothing says where the data lie"),
    "two labels": ({"labels": ["a"]}, "label and labels are given"),
    "a URL as path": ({"path": "s3://a/b.csv"}, "s3://a/b.csv is a URL: write `url:` instead of `path:`"),
    "a path as URL": ({"path": None, "url": "b.csv"}, "b.csv is no URL"),
    "a password": ({"path": None, "url": "https://me:secret@x.org/a.csv"}, "the URL carries credentials"),
    "a signed link": ({"path": None, "url": "https://x.org/a.csv?v=1&sig=abc"}, "the URL carries credentials"),
    "two divisions": ({"split_column": "f", "test_fraction": 0.1}, "split_column and test_fraction both divide"),
    "a needless division": (
        {"path": None, "splits": {"test": "a"}, "test_fraction": 0.1},
        "test_fraction divides one file",
    ),
    "no split": ({"path": None, "splits": {"tset": "a"}}, "'tset' is no split. Did you mean test?"),
}


@pytest.mark.parametrize("name", KEYS)
def test_keys_that_do_not_fit_together_are_refused(name):
    keys, sentence = KEYS[name]
    with pytest.raises(ValueError, match=sentence.replace("?", "[?]")) as refusal:
        CsvData.model_validate(source(**keys))
    assert "secret" not in str(refusal.value).split("[type")[0]
