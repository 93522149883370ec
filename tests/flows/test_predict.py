"""`predict`: rows of files become what a model takes, wrong ones are named, and a server's answers are understood."""

import json
import os
import pickle
import socket

import numpy as np
import pytest

from flows import predict_client
from flows.predict import Question, predict
from flows.predict_rows import read
from tasks.foundations.errors import InputError, SlipwayError
from tasks.models.signature import TensorSpec
from tasks.serving import nodes
from tests.flows.scripted_server import METADATA, Say, in_binary, scripted, told, values

PAIR = {"x": TensorSpec(dtype="float32", shape=(None, 2))}
IMAGE = {"image": TensorSpec(dtype="float32", shape=(None, 2, 2))}
FREE = {"tokens": TensorSpec(dtype="int64", shape=(None, None))}
NAMED = {"inputs": TensorSpec(dtype="float32", shape=(None, 2))}
HINT = "Write the rows alone, or send this file with curl."
MIXED = {
    "age": TensorSpec(dtype="int8", shape=(None,)),
    "body": TensorSpec(dtype="float32", shape=(None, 2)),
    "member": TensorSpec(dtype="bool", shape=(None, 1)),
    "town": TensorSpec(dtype="str", shape=(None,)),
}
MIXED_ROWS = {
    "age": np.array([41, -3], np.int8),
    "body": np.array([[1, 2.5], [3, 4]], np.float32),
    "member": np.array([[True], [False]]),
    "town": np.array(["Ulm", "Gießen, Hessen"], object),
}


@pytest.fixture
def write(tmp_path):
    """Write a file of rows; gives its path."""

    def write(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def same(found, wanted):
    assert list(found) == list(wanted)
    for name, array in wanted.items():
        assert found[name].dtype == array.dtype and found[name].tolist() == array.tolist()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (
            "a.json",
            [
                {"age": 41, "body": [1, 2.5], "member": [True], "town": "Ulm"},
                {"town": "Gießen, Hessen", "member": [False], "body": [3, 4], "age": -3},
            ],
        ),
        (
            "b.json",
            {
                "town": ["Ulm", "Gießen, Hessen"],
                "age": [41, -3],
                "body": [[1, 2.5], [3, 4]],
                "member": [[True], [False]],
            },
        ),
        ("c.csv", 'body_0,body_1,town,age,member\n1,2.5,Ulm,41,true\n\n3,4.0,"Gießen, Hessen",-3,False\n'),
        ("d.csv", '\ufeffage,member,town,body_1,body_0\r\n41,TRUE,Ulm,2.5,1e0\r\n-3,false,"Gießen, Hessen",4,3\r\n'),
        ("e.csv", 'age_0,member_0,town_0,body_0,body_1\n41,true,Ulm,1,2.5\n-3,false,"Gießen, Hessen",3,4\n'),
    ],
)
def test_every_form_gives_the_same_rows(name, content, write):
    path = write(name, content if isinstance(content, str) else json.dumps(content))

    same(read(path, MIXED), MIXED_ROWS)


def test_an_archive_gives_arrays_by_name_and_a_single_one_whatever_its_name(tmp_path):
    rows = {**MIXED_ROWS, "age": np.array([41, -3]), "town": MIXED_ROWS["town"].astype(str)}
    np.savez(tmp_path / "a.npz", **rows)
    np.savez(tmp_path / "b.npz", np.array([[1, 2], [3, 4]]))

    same(read(tmp_path / "a.npz", MIXED), MIXED_ROWS)
    same(read(tmp_path / "b.npz", PAIR), {"x": np.array([[1, 2], [3, 4]], np.float32)})


@pytest.mark.parametrize("header", ["a,b,c,d", "0,1,2,3", "p,q,0,1", "pixel_0_0,pixel_0_1,pixel_1_0,pixel_1_1"])
def test_columns_of_a_single_input_fold_in_their_order_and_it_is_said(header, write):
    path, notes = write("a.csv", f"{header}\n1,2,3,4\n5,6,7,8\n"), []

    same(read(path, IMAGE, notes.append), {"image": np.arange(1, 9, dtype=np.float32).reshape(2, 2, 2)})
    assert notes == [f"columns {', '.join(header.split(','))} taken in this order as image"]


def test_columns_with_the_name_of_the_input_are_no_news(write):
    path, notes = write("a.csv", "image_1,image_0,image_2,image_3\n2,1,3,4\n"), []

    same(read(path, IMAGE, notes.append), {"image": np.float32([[[1, 2], [3, 4]]])})
    assert not notes


def test_rows_of_a_free_length_are_taken_as_they_are(write):
    same(read(write("a.json", "\ufeff[[1, 2, 3], [4, 5, 6]]"), FREE), {"tokens": np.array([[1, 2, 3], [4, 5, 6]])})


@pytest.mark.parametrize(
    ("inputs", "content", "sentence"),
    [
        (PAIR, "[[1, 2], [3, NaN]]", "row 1, x[1] is NaN; expected a finite number (float32)."),
        (PAIR, "[[1, 2], [Infinity, 4]]", "row 1, x[0] is Infinity; expected a finite number (float32)."),
        (PAIR, "[[1, 1e39]]", "row 0, x[1] is 1e+39; expected a finite number (float32)."),
        (PAIR, f"[[1, 1{'0' * 400}]]", "row 0, x[1] is 1000"),
        (PAIR, '[[1, 2], [3, "four"]]', "row 1, x[1] is 'four'; expected a finite number (float32)."),
        (PAIR, "[[1, null]]", "row 0, x[1] is null; expected"),
        (IMAGE, '[[[1, 2], [3, "x"]]]', "row 0, image[1][1] is 'x'; expected"),
        (PAIR, "[[1, 2, 3]]", "row 0 of x has the shape (3); the model takes (2)."),
        (PAIR, "[1, 2]", "row 0 of x has the shape (); the model takes (2)."),
        (PAIR, "[[1, 2], [3]]", "row 1 of x is [3]; expected the shape (2), as row 0 has."),
        (PAIR, "[[1, [2]]]", "row 0 of x is [1, [2]]; expected the shape (2)."),
        (FREE, "[[1, 2], [3]]", "row 1 of tokens is [3]; expected the shape (2), as row 0 has."),
        (FREE, "[[1, 2.0]]", "row 0, tokens[1] is 2.0; expected a whole number from -9223372036854775808"),
        (PAIR, "[[1, 2], [3, true]]", "row 1, x[1] is true; expected a finite number (float32)."),
        (FREE, "[[1, false]]", "row 0, tokens[1] is false; expected a whole number from"),
        (PAIR, "[]", "holds no rows. Expected at least one."),
        (MIXED, "[]", "holds no rows. Expected at least one."),
        (PAIR, '{"x": []}', "holds no rows. Expected at least one."),
        (PAIR, "", "is empty. Expected at least one row."),
        (PAIR, " ", "line 1, column 2: no JSON: Expecting value."),
        (PAIR, "[[1, 2],\n [3, 4]", "line 2, column 8: no JSON: Expecting ',' delimiter."),
        (PAIR, "[" * 100_000, "lists are nested too deeply for rows."),
        (PAIR, "7", "it holds 7; expected a list of rows."),
        (PAIR, '{"z": [[1, 2]]}', "it names z; the model takes x."),
        (
            PAIR,
            '{"instances": [[1, 2]]}',
            "it is the body of a request, with 'instances'; `predict` takes rows. " + HINT,
        ),
        (PAIR, '{"signature_name": "", "inputs": {"x": [[1, 2]]}}', "it is the body of a request, with 'inputs'"),
        (PAIR, '{"inputs": [{"name": "x", "data": [1, 2]}]}', "it is the body of a request, with 'inputs'"),
        (NAMED, '{"inputs": [{"name": "inputs", "data": [1, 2]}]}', "it is the body of a request, with 'inputs'"),
        (PAIR, '{"x": 5}', "x is 5; expected a list with an entry for every row."),
        (PAIR, '[{"x": [1, 2]}, {"y": [1, 2]}]', "row 1 names y; the model takes x."),
        (PAIR, '[{"x": [1, 2]}, [3, 4]]', "row 1 is [3, 4]; expected an object of values by input, as row 0 is."),
        (MIXED, "[[1]]", "it holds plain rows, and the model takes several inputs: age, body, member, town."),
        (
            MIXED,
            '{"age": [1, 2], "body": [[1, 2]], "member": [[true]], "town": ["a"]}',
            "the inputs have different numbers of rows: {'age': 2, 'body': 1, 'member': 1, 'town': 1}.",
        ),
        (
            MIXED,
            '[{"age": 128, "body": [1, 2], "member": [true], "town": "a"}]',
            "row 0, age is 128; expected a whole number from -128 to 127 (int8).",
        ),
        (
            MIXED,
            '[{"age": -129, "body": [1, 2], "member": [true], "town": "a"}]',
            "row 0, age is -129; expected a whole number from -128 to 127 (int8).",
        ),
        (
            MIXED,
            '[{"age": 1, "body": [1, 2], "member": [1], "town": "a"}]',
            "row 0, member[0] is 1; expected true or false.",
        ),
        (MIXED, '[{"age": 1, "body": [1, 2], "member": [true], "town": 7}]', "row 0, town is 7; expected text."),
    ],
)
def test_a_wrong_json_file_is_named_by_row_and_value(inputs, content, sentence, write):
    path = write("rows.json", content)

    with pytest.raises(InputError) as caught:
        read(path, inputs)
    assert str(caught.value).startswith(str(path)) and sentence in str(caught.value)


@pytest.mark.parametrize(
    ("inputs", "content", "sentence"),
    [
        (PAIR, "", "is empty. Expected at least one row."),
        (PAIR, "\n", "it is empty. Expected a header and at least one row."),
        (PAIR, "a,b\n1,True\n", "row 0 (line 2), column b is true; expected a finite number (float32)."),
        (
            PAIR,
            "y_0,y_1\n1,2\n",
            "column y_0 looks like one of an input y, and the model takes x. If it is meant, name",
        ),
        (PAIR, "a,age_12\n1,2\n", "column age_12 looks like one of an input age, and the model takes x."),
        (PAIR, "a,b\n", "holds no rows. Expected at least one."),
        (PAIR, "1.5,2\n3,4\n", "its first line holds numbers ('1.5', ...). Expected a header with names."),
        (PAIR, "a,b\n1,2\n3\n", "row 1 (line 3) has 1 columns; the header has 2."),
        (PAIR, "a,b\n\n1,\n", "row 0 (line 3), column b is ''; expected a finite number (float32)."),
        (PAIR, "a,b\n1,2\n3,nan\n", "row 1 (line 3), column b is NaN; expected"),
        (PAIR, "a,b\n1,2\n3,1_0\n", "row 1 (line 3), column b is '1_0'; expected"),
        (PAIR, "a,a\n1,2\n", "the header names 'a' more than once."),
        (PAIR, 'a,b\n1,"2\n', "line 2: unexpected end of data."),
        (PAIR, "x_0,x_1,id\n1,2,3\n", "no input takes the column id; the model takes x. Leave it out of the file."),
        (PAIR, "x_0,y\n1,2\n", "there is no column 'x_1'. The columns are x_0, y."),
        (
            IMAGE,
            "label,p0,p1,p2,p3\n1,2,3,4,5\n",
            "it has 5 columns, and input image takes 4 numbers a row, (2, 2). Leave out label: no other column is "
            "named so. The columns are label, p0, p1, p2, p3.",
        ),
        (IMAGE, "a,b,c\n1,2,3\n", "it has 3 columns, and input image takes 4 numbers a row, (2, 2). The columns are"),
        (FREE, "a,b\n1,2\n", "input tokens takes rows of the shape (any), and columns cannot say how long"),
        (MIXED, "age,town\n1,a\n", "there is no column 'body_0'. The columns are age, town."),
        (
            MIXED,
            "age,town,body_0,body_1,member,label,note\n1,a,1,2,true,0,x\n",
            "no input takes the column label, note; the model takes age, body, member, town.",
        ),
        (
            MIXED,
            "age,town,body_0,body_1,member\n1.0,a,1,2,true\n",
            "row 0 (line 2), column age is '1.0'; expected a whole number from -128 to 127 (int8).",
        ),
        (
            MIXED,
            "age,town,body_0,body_1,member\n1,a,1,2,1\n",
            "row 0 (line 2), column member is '1'; expected true or false.",
        ),
        (PAIR, b"a,b\n1,\xff\n", "is not UTF-8 text: byte 6 is 0xff."),
    ],
)
def test_a_wrong_csv_file_is_named_by_line_column_and_value(inputs, content, sentence, write):
    path = write("rows.csv", content)

    with pytest.raises(InputError) as caught:
        read(path, inputs)
    assert str(caught.value).startswith(str(path)) and sentence in str(caught.value)


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        ({"x": [[1.0, 2], [np.nan, 4]]}, "row 1, x[0] is NaN; expected a finite number (float32)."),
        ({"x": [[1.0, 2], [3, 4], [5, -np.inf]]}, "row 2, x[1] is -Infinity; expected a finite number (float32)."),
        ({"x": [[1.0, 2]], "z": [[1.0]]}, "The model takes the inputs ['x'], the data has ['x', 'z']."),
        ({"x": [[1.0, 2, 3]]}, "the data has rows of shape (3), the model takes (2)."),
        ({"x": [["a", "b"]]}, "the data is <U1, the model takes float32"),
        ({"x": [[1, 2], [3, 1e39], [-1e39, 0]]}, "row 1, x[1] is 1e+39; expected a finite number (float32)."),
        ({"x": np.empty((0, 2))}, "holds no rows. Expected at least one."),
        ({"x": np.array([[None, 1]], object)}, "it is no archive of plain arrays: Object arrays cannot be loaded"),
    ],
)
def test_a_wrong_archive_is_named(arrays, sentence, tmp_path):
    np.savez(tmp_path / "rows.npz", **{name: np.asarray(array) for name, array in arrays.items()})

    with pytest.raises(InputError) as caught:
        read(tmp_path / "rows.npz", PAIR)
    assert str(caught.value).startswith(str(tmp_path / "rows.npz")) and sentence in str(caught.value)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is empty. Expected at least one row."),
        (b"PK\x03\x04 and so on", "it is no archive of plain arrays: File is not a zip file."),
        (pickle.dumps({"x": 1}), "it is no archive of plain arrays:"),
    ],
)
def test_what_is_no_archive_is_not_opened(content, sentence, write):
    with pytest.raises(InputError, match=sentence):
        read(write("rows.npz", content), PAIR)


@pytest.mark.parametrize(
    ("dtype", "values", "sentence"),
    [
        (
            "int8",
            np.array([[1], [-129], [400]]),
            "row 1, x[0] is -129; expected a whole number from -128 to 127 (int8).",
        ),
        ("uint8", np.array([[1], [-1]]), "row 1, x[0] is -1; expected a whole number from 0 to 255 (uint8)."),
        ("int64", np.array([[2**63]], np.uint64), "row 0, x[0] is 9223372036854775808; expected a whole number"),
        ("float16", np.array([[7e4]], np.float32), "row 0, x[0] is 70000.0; expected a finite number (float16)."),
        ("float64", np.array([[np.nan]]), "row 0, x[0] is NaN; expected a finite number (float64)."),
    ],
)
def test_a_value_of_an_archive_that_its_input_cannot_hold_is_named(dtype, values, sentence, tmp_path):
    np.savez(tmp_path / "rows.npz", x=values)

    with pytest.raises(InputError) as caught:
        read(tmp_path / "rows.npz", {"x": TensorSpec(dtype=dtype, shape=(None, 1))})
    assert sentence in str(caught.value)


def test_the_limits_of_a_dtype_are_taken(tmp_path):
    values = np.array([[-128], [127]])
    np.savez(tmp_path / "rows.npz", x=values)

    rows = read(tmp_path / "rows.npz", {"x": TensorSpec(dtype="int8", shape=(None, 1))})
    same(rows, {"x": values.astype(np.int8)})


def test_an_array_without_an_archive_is_told_how_to_be_one(tmp_path):
    np.save(tmp_path / "x.npy", np.ones((1, 2)))
    (tmp_path / "x.npy").rename(tmp_path / "x.npz")

    with pytest.raises(InputError, match="Save it with np.savez"):
        read(tmp_path / "x.npz", PAIR)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("none.json", "cannot be read: No such file or directory."),
        ("folder.csv", "cannot be read: Is a directory."),
        ("rows.parquet", "is no file of rows. Expected one that ends in .json, .npz, .csv."),
    ],
)
def test_a_file_that_cannot_be_read_is_named(name, sentence, tmp_path):
    (tmp_path / "folder.csv").mkdir()

    with pytest.raises(InputError) as caught:
        read(tmp_path / name, PAIR)
    assert str(caught.value) == f"{tmp_path / name} {sentence}"


# --- the client


def ask(url, rows=3, *, folder, **options):
    path = folder / "rows.json"
    path.write_text(json.dumps([[row, row] for row in range(rows)]))
    return predict(Question("m", path, url=url, **options))


def test_rows_go_in_batches_on_one_connection_as_bytes(tmp_path):
    answers = told(METADATA), in_binary(np.float32([0.1, 2])), values(7)
    with scripted(*answers) as server:
        answer = ask(server.url, folder=tmp_path, batch_size=2)

    assert server.paths == ["GET /v2/models/m", "POST /v2/models/m/infer", "POST /v2/models/m/infer"]
    assert server.connections == 1
    body = server.asked[1][1]
    head, tail = body[:-16], body[-16:]
    assert json.loads(head) == {
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [2, 2], "parameters": {"binary_data_size": 16}}],
        "parameters": {"binary_data_output": True},
    }
    assert np.frombuffer(tail, "<f4").tolist() == [0, 0, 1, 1]
    assert answer["outputs"] == {"y": [0.1, 2, 7]}
    assert {key: answer[key] for key in ("model", "version", "rows", "exit_code", "notes")} == {
        "model": "m",
        "version": 1,
        "rows": 3,
        "exit_code": 0,
        "notes": [],
    }


def test_a_version_is_asked_by_its_number_and_a_label_by_what_it_stands_for(tmp_path):
    status = told({"model_version_status": [{"version": "4", "state": "AVAILABLE"}]})
    with scripted(told(METADATA), values(1, version="3"), status, told(METADATA), values(1, version="4")) as server:
        assert ask(server.url, 1, folder=tmp_path, version=3)["version"] == 3
        assert ask(server.url, 1, folder=tmp_path, label="stable")["version"] == 4

    assert server.paths == [
        "GET /v2/models/m/versions/3",
        "POST /v2/models/m/versions/3/infer",
        "GET /v1/models/m/labels/stable",
        "GET /v2/models/m/versions/4",
        "POST /v2/models/m/versions/4/infer",
    ]


def test_a_version_and_a_label_are_one_too_many(tmp_path):
    with pytest.raises(InputError, match="Give one of them"):
        ask("http://127.0.0.1:1", folder=tmp_path, version=1, label="stable")


def test_a_change_of_version_between_batches_is_said(tmp_path):
    with scripted(told(METADATA), values(1), values(2, version="2"), values(3, version="2")) as server:
        answer = ask(server.url, folder=tmp_path, batch_size=1)

    assert (answer["version"], answer["versions"]) == (2, [1, 2])
    assert answer["notes"] == ["another version came into production while rows were sent: 1 then 2 answered"]
    assert answer["notes"][0] in answer["text"]


def test_a_server_without_room_is_asked_again_when_it_says(tmp_path, monkeypatch):
    waits = []
    monkeypatch.setattr(predict_client.time, "sleep", waits.append)
    full = told({"error": "the queue is full"}, 503, Retry_After="2")
    with scripted(told(METADATA), full, full, values(1)) as server:
        assert ask(server.url, 1, folder=tmp_path)["outputs"] == {"y": [1]}

    assert waits == [2, 2]


def test_a_server_that_stays_without_room_is_left(tmp_path, monkeypatch):
    monkeypatch.setattr(predict_client.time, "sleep", lambda _: None)
    full = told({"error": "the queue is full"}, 503, Retry_After="1")
    with scripted(told(METADATA), *[full] * 10) as server, pytest.raises(SlipwayError) as caught:
        ask(server.url, 1, folder=tmp_path)

    assert str(caught.value) == f"{server.url} answers 503: the queue is full. Try again later."
    assert (caught.value.exit_code, len(server.asked)) == (1, 1 + predict_client.TRIES)


def test_only_a_server_without_room_is_asked_again(tmp_path):
    late = told({"error": "the answer came too late"}, 504, Retry_After="0")
    with scripted(told(METADATA), late, values(1)) as server, pytest.raises(SlipwayError, match="answers 504"):
        ask(server.url, 1, folder=tmp_path)


def test_a_wait_beyond_the_limit_is_not_begun(tmp_path):
    full = told({"error": "the queue is full"}, 503, Retry_After="60")
    with scripted(told(METADATA), full) as server, pytest.raises(SlipwayError, match="the queue is full"):
        ask(server.url, 1, folder=tmp_path, timeout_s=5)

    assert len(server.asked) == 2


@pytest.mark.parametrize(
    ("status", "code", "sentence"),
    [
        (400, 2, "answers 400: x has 3 columns."),
        (404, 2, "answers 404: There is no model 'm' here. Served: digits, people."),
        (413, 2, "answers 413: The body is too large. Ask for fewer rows at once with --batch-size."),
        (500, 1, "answers 500: the model answered NaN."),
        (503, 1, "answers 503: it is being loaded. Try again later."),
        (504, 1, "answers 504: the answer came too late."),
    ],
)
def test_a_refusal_is_passed_on_with_its_reason(status, code, sentence, tmp_path):
    reason = sentence.removeprefix(f"answers {status}: ").split(". Ask")[0].split(". Try")[0]
    with scripted(told(METADATA), told({"error": reason}, status)) as server, pytest.raises(SlipwayError) as caught:
        ask(server.url, 1, folder=tmp_path)

    assert str(caught.value) == f"{server.url} {sentence}"
    assert caught.value.exit_code == code


@pytest.mark.parametrize(
    ("say", "sentence"),
    [
        (Say(200, b"<html>hello"), "does not speak the Open Inference Protocol: '<html>hello'."),
        (told({"name": "m"}), "does not speak the Open Inference Protocol"),
        (told([1]), "does not speak the Open Inference Protocol"),
        (Say(404, b"<html>nothing</html>"), "answers 404: <html>nothing</html>."),
        (Say(403), "answers 403: Forbidden."),
    ],
)
def test_a_server_of_another_kind_is_told(say, sentence, tmp_path):
    with scripted(say) as server, pytest.raises(SlipwayError) as caught:
        ask(server.url, 1, folder=tmp_path)
    assert str(caught.value).startswith(f"{server.url} {sentence}")


@pytest.mark.parametrize(
    ("say", "sentence"),
    [
        (told({"outputs": [{"name": "y"}]}), "gave an answer that cannot be read"),
        (Say(200, b"{"), "gave an answer that cannot be read"),
        (in_binary(np.float32([[1, 2]]), "FP64"), "gave an answer that cannot be read"),
        (values(1, 2), "was asked for 1 rows and gave y in the shape (2,)."),
        (values(float("nan")), "The model's output y is NaN or infinite for row 0."),
    ],
)
def test_an_answer_that_is_none_is_told(say, sentence, tmp_path):
    with scripted(told(METADATA), say) as server, pytest.raises(SlipwayError) as caught:
        ask(server.url, 1, folder=tmp_path)
    assert sentence in str(caught.value)


def test_a_connection_that_was_closed_in_between_is_opened_again(tmp_path):
    closed = Say(200, json.dumps(METADATA).encode(), close=True)
    with scripted(closed, values(1)) as server:
        assert ask(server.url, 1, folder=tmp_path)["outputs"] == {"y": [1]}
    assert server.connections == 2

    with scripted(told(METADATA), Say(hang_up=True), values(1)) as server:
        assert ask(server.url, 1, folder=tmp_path)["outputs"] == {"y": [1]}
    assert server.connections == 2


def test_a_server_that_hangs_up_at_once_is_none(tmp_path):
    with scripted(Say(hang_up=True), Say(hang_up=True)) as server, pytest.raises(SlipwayError) as caught:
        ask(server.url, 1, folder=tmp_path)

    assert f"{server.url} does not answer: Remote end closed connection without response (--url)" in str(caught.value)
    assert len(server.asked) == 1


def test_a_server_that_goes_in_the_middle_is_named(tmp_path):
    hang_up = Say(hang_up=True)
    with scripted(told(METADATA), hang_up, hang_up) as server, pytest.raises(SlipwayError) as caught:
        ask(server.url, 1, folder=tmp_path)

    assert str(caught.value).startswith(f"{server.url} does not answer: Remote end closed connection")


def test_a_server_that_is_silent_is_left_after_the_limit(tmp_path):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(SlipwayError) as caught:
            ask(url, 1, folder=tmp_path, timeout_s=0.2)

    assert str(caught.value).startswith(f"{url} has not answered within 0.2 s. Allow more with --timeout-s")


# --- where the server is


def register(home, name, url, **changes):
    node = nodes.Node(
        id=name, host=socket.gethostname(), pid=os.getpid(), url=url, admin="http://127.0.0.1:1", started="2026-11-24"
    )
    nodes.register(home / "serving", node.model_copy(update=changes))


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An installation without a server; nobody listens at the default address."""
    monkeypatch.setenv("SLIPWAY_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SLIPWAY_SERVER", raising=False)
    monkeypatch.setattr("flows.predict.DEFAULT_URL", "http://127.0.0.1:1")
    return tmp_path / "home"


def test_without_a_server_it_says_where_it_looked_and_how_to_start_one(home, tmp_path, monkeypatch):
    with pytest.raises(SlipwayError) as caught:
        ask(None, folder=tmp_path)
    assert str(caught.value) == (
        "No server answers. http://127.0.0.1:1 does not answer: Connection refused (the default). Start one with "
        "`python -m flows serve`, or say where it is with --url or SLIPWAY_SERVER."
    )
    assert caught.value.exit_code == 1 and not home.exists()

    monkeypatch.setenv("SLIPWAY_SERVER", "http://127.0.0.1:2")
    with pytest.raises(SlipwayError, match=r"http://127.0.0.1:2 does not answer: Connection refused \(SLIPWAY_SERVER"):
        ask(None, folder=tmp_path)
    with pytest.raises(SlipwayError, match=r"http://127.0.0.1:3/ml does not answer: Connection refused \(--url\)"):
        ask("http://127.0.0.1:3/ml/", folder=tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("none.json", None, "cannot be read: No such file or directory."),
        ("rows.txt", "1", "is no file of rows. Expected one that ends in .json, .npz, .csv."),
        ("rows.csv", "", "is empty. Expected at least one row."),
    ],
)
def test_a_file_that_cannot_hold_rows_is_told_before_a_server_is_looked_for(
    name, content, sentence, home, tmp_path, write
):
    if content is not None:
        write(name, content)

    with pytest.raises(InputError) as caught:
        predict(Question("m", tmp_path / name))
    assert str(caught.value) == f"{tmp_path / name} {sentence}" and caught.value.exit_code == 2


@pytest.mark.parametrize("timeout_s", [0.0001, float("nan"), float("inf")])
def test_a_limit_that_cannot_be_kept_is_refused(timeout_s, tmp_path):
    with scripted() as server, pytest.raises(InputError, match="--timeout-s is .*; expected 0.001 to 1000000 seconds"):
        ask(server.url, folder=tmp_path, timeout_s=timeout_s)

    assert not server.asked


def test_columns_taken_in_their_order_are_a_note_of_the_answer(tmp_path, write):
    with scripted(told(METADATA), values(1)) as server:
        answer = predict(Question("m", write("rows.csv", "a,b\n1,2\n"), url=server.url))

    assert answer["notes"] == ["columns a, b taken in this order as x"]
    assert answer["text"].endswith("\nnote: columns a, b taken in this order as x")


def test_the_server_is_the_named_one_else_a_registered_one_that_answers(home, tmp_path, monkeypatch):
    with scripted(told(METADATA), values(1), told(METADATA), values(2)) as server:
        register(home, "a", "http://127.0.0.1:4")  # does not answer any more
        register(home, "b", "http://127.0.0.1:5", models=("other",))
        register(home, "c", "http://127.0.0.1:6", host="elsewhere")  # its own loopback, not ours
        register(home, "d", server.url)
        assert ask(None, 1, folder=tmp_path)["outputs"] == {"y": [1]}

        for path in (home / "serving" / "nodes").iterdir():
            path.unlink()
        monkeypatch.setenv("SLIPWAY_SERVER", server.url)
        assert ask(None, 1, folder=tmp_path)["outputs"] == {"y": [2]}


def test_all_places_that_were_asked_are_named_and_this_machine_comes_first(home, tmp_path):
    register(home, "0", "http://0.0.0.0:7", host="elsewhere")
    register(home, "a", "http://127.0.0.1:4")
    register(home, "c", "http://127.0.0.1:6", host="elsewhere")

    with pytest.raises(SlipwayError) as caught:
        ask(None, folder=tmp_path)
    assert str(caught.value).startswith(
        f"No server answers. http://127.0.0.1:4 does not answer: Connection refused (registered in {home}/serving); "
        f"http://0.0.0.0:7 does not answer: Connection refused (registered in {home}/serving); "
        "http://127.0.0.1:1 does not answer: Connection refused (the default). Start"
    )


@pytest.mark.parametrize("url", ["127.0.0.1:8080", "ftp://a", "http://", "http://a:b"])
def test_an_address_that_is_none_is_refused(url, tmp_path):
    with pytest.raises(InputError, match="is no address of a server"):
        ask(url, folder=tmp_path)


def test_a_path_before_the_protocols_own_is_kept(tmp_path):
    with scripted(told(METADATA), values(1)) as server:
        ask(f"{server.url}/ml/", 1, folder=tmp_path)

    assert server.paths == ["GET /ml/v2/models/m", "POST /ml/v2/models/m/infer"]


# --- what comes out


def several(*rows):
    """Outputs of two kinds: words and scores."""
    outputs = [
        {"name": "word", "datatype": "BYTES", "shape": [len(rows)], "data": [f"w{row}" for row in rows]},
        {
            "name": "scores",
            "datatype": "FP32",
            "shape": [len(rows), 2],
            "data": [float(row) for r in rows for row in (r, -r)],
        },
    ]
    return told({"model_name": "m", "model_version": "3", "outputs": outputs})


def test_answers_go_to_a_file_in_the_form_of_its_name(tmp_path):
    for suffix in ("json", "npz", "csv"):
        with scripted(told(METADATA), several(0, 1), several(2)) as server:
            path = tmp_path / f"answers.{suffix}"
            answer = ask(server.url, folder=tmp_path, batch_size=2, output=path)
            assert answer["output"] == str(path) and "outputs" not in answer
            assert answer["text"].endswith(f"all 3 rows in {path}")

    outputs = {"word": ["w0", "w1", "w2"], "scores": [[0, 0], [1, -1], [2, -2]]}
    assert json.loads((tmp_path / "answers.json").read_text()) == {
        "model": "m",
        "version": 3,
        "rows": 3,
        "outputs": outputs,
    }
    archive = np.load(tmp_path / "answers.npz", allow_pickle=False)
    assert {name: archive[name].tolist() for name in archive.files} == outputs
    assert archive["scores"].dtype == np.float32
    assert (tmp_path / "answers.csv").read_text() == "word,scores_0,scores_1\nw0,0.0,0.0\nw1,1.0,-1.0\nw2,2.0,-2.0\n"
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("answers.txt", "is no file for answers. Expected one that ends in .json, .npz, .csv."),
        ("none/answers.csv", "cannot be written: there is no folder"),
    ],
)
def test_a_place_that_takes_no_answers_is_refused_before_anybody_is_asked(name, sentence, tmp_path):
    with scripted() as server, pytest.raises(InputError, match=sentence):
        ask(server.url, folder=tmp_path, output=tmp_path / name)

    assert not server.asked


def test_people_get_a_table_of_the_first_rows(tmp_path):
    with scripted(told(METADATA), several(*range(12))) as server:
        lines = ask(server.url, 12, folder=tmp_path)["text"].splitlines()

    assert lines[0].startswith(f"m version 3: 12 rows by {server.url} in 1 request, ")
    assert lines[1:3] == ["row  word  scores", "  0  'w0'    0  0"]
    assert lines[-2:] == ["  9  'w9'    9 -9", "... and 2 more; --output FILE takes all"]


NUMBERS = np.float32([0.71056777, 0.1, 1e-7, 16777217, 3.4028235e38, 1.1754944e-38, -0.0])


def test_numbers_are_written_as_short_as_their_dtype_allows(tmp_path):
    more = np.random.default_rng(0).integers(0, 2**31 - 2**24, 2000, np.uint32).view(np.float32)
    numbers = np.concatenate([NUMBERS, more[np.isfinite(more)]])
    for path in (None, tmp_path / "answers.csv", tmp_path / "answers.json"):
        with scripted(told(METADATA), in_binary(numbers)) as server:
            answer = ask(server.url, len(numbers), folder=tmp_path, output=path, batch_size=5000)
        if path is None:
            given = answer["outputs"]["y"]
            assert [repr(number) for number in given[:2]] == ["0.7105678", "0.1"]
            assert max(len(repr(number).partition("e")[0].strip("-0.").replace(".", "")) for number in given) <= 10
            np.testing.assert_array_equal(np.float32(given), numbers)
    assert (tmp_path / "answers.csv").read_text().splitlines()[1:3] == ["0.7105678", "0.1"]
    assert '"outputs": {"y": [0.7105678, 0.1, ' in (tmp_path / "answers.json").read_text()


def test_doubles_are_written_whole(tmp_path):
    with scripted(told(METADATA), in_binary(np.array([0.7105677723884583]), "FP64")) as server:
        assert ask(server.url, 1, folder=tmp_path)["outputs"] == {"y": [0.7105677723884583]}


def table_of(outputs, tmp_path, monkeypatch, name="y", columns=80):
    """Lines under the head for one output."""
    monkeypatch.setenv("COLUMNS", str(columns))
    said = in_binary(np.float32(outputs))
    said = Say(said.status, said.body.replace(b'"y"', b'"%s"' % name.encode()), dict(said.headers))
    said.headers["Inference-Header-Content-Length"] = str(len(said.body) - np.float32(outputs).nbytes)
    with scripted(told(METADATA), said) as server:
        return ask(server.url, len(outputs), folder=tmp_path)["text"].splitlines()[1:]


def test_numbers_stand_below_each_other(tmp_path, monkeypatch):
    rows = [[0.016821, 0.7819, 12345.6, 4e-9], [-0.5, 10.25, 7, 0]]

    assert table_of(rows, tmp_path, monkeypatch) == [
        "row  y",
        "  0   0.0168  0.78 12346 4.000e-09",
        "  1  -0.5000 10.25     7 0.000e+00",
    ]
    assert table_of([0.25, 10], tmp_path, monkeypatch) == ["row      y", "  0   0.25", "  1  10.00"]


def test_of_a_row_for_every_class_the_largest_is_shown(tmp_path, monkeypatch):
    likely = [[0, 0.075, 0.925], [0.5, 0.2, 0.3]]
    logits = [[0, 1, 9.25, 2, 3], [8, 1, 2, 3, 4]]

    assert table_of(likely, tmp_path, monkeypatch) == ["row  largest of y", "  0     2 (0.925)", "  1     0 (0.500)"]
    assert table_of(logits, tmp_path, monkeypatch, "logits") == [
        "row  largest of logits",
        "  0           2 (9.25)",
        "  1           0 (8.00)",
    ]


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("y", [0, 1, 9.25, 2, 3]),
        ("y", [0.2, 0.3, 0.4, 0.05, 0.06]),
        ("y", [-0.5, 1, 0.5, 0, 0]),
        ("y", [0.25, 0.75]),
        ("logits", [1, 2, 3]),
    ],
)
def test_what_is_no_row_of_classes_is_shown_as_it_is(name, row, tmp_path, monkeypatch):
    title, line = table_of([row], tmp_path, monkeypatch, name)

    assert title == f"row  {name}" and [float(word) for word in line.split()[1:]] == row


def test_long_rows_end_with_the_terminal(tmp_path, monkeypatch):
    rows = np.arange(40).reshape(2, 20)

    for columns, last in ((80, None), (40, 29), (12, 20), (3, 20)):
        _, first, second = table_of(rows, tmp_path, monkeypatch, columns=columns)
        assert len(first) == len(second) <= max(columns, 12)
        assert second.split()[-2:] == (["38", "39"] if last is None else [str(last), "..."])


def test_outputs_of_several_values_share_the_terminal(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    sizes = {"short": 2, "long": 30, "longer": 40}
    outputs = [
        {"name": name, "datatype": "FP32", "shape": [1, size], "data": [7.0] * size} for name, size in sizes.items()
    ]
    with scripted(told(METADATA), told({"model_version": "1", "outputs": outputs})) as server:
        title, line = ask(server.url, 1, folder=tmp_path)["text"].splitlines()[1:]

    assert title == "row  short  long           longer"
    assert line == "  0    7 7  7 7 7 7 7 ...  7 7 7 7 7 ..."
