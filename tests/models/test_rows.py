from pathlib import Path

import numpy as np
import pytest

from tasks.foundations.errors import InputError
from tasks.models.rows import Array, cast, match
from tasks.models.signature import Signature, TensorSpec

IMAGE = TensorSpec(dtype="float32", shape=(None, 8, 8, 1))


def _signature(**inputs: TensorSpec) -> Signature:
    return Signature(inputs=inputs, outputs={"y": TensorSpec(dtype="float32", shape=(None, 2))})


def test_one_array_feeds_one_input_whatever_its_name() -> None:
    data = np.zeros((3, 8, 8, 1), np.float32)

    assert match({"input": data}, _signature(image=IMAGE)) == {"image": data}


def test_arrays_come_in_the_order_of_the_model() -> None:
    signature = _signature(b=TensorSpec(dtype="float32", shape=(None,)), a=TensorSpec(dtype="float32", shape=(None,)))

    assert list(match({"a": np.zeros(2), "b": np.zeros(2)}, signature)) == ["b", "a"]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.zeros((3, 8, 8), np.float32)}, r"'image': the data has rows of shape \(8, 8\), .* takes \(8, 8, 1\)"),
        ({"x": np.zeros((3, 8, 9, 1), np.float32)}, r"'image': the data has rows of shape \(8, 9, 1\)"),
        ({"x": np.zeros((3, 8, 8, 1), "<U3")}, "'image': the data is <U3, the model takes float32"),
        ({"x": np.zeros((3, 8, 8, 1)), "more": np.zeros(3)}, r"takes the inputs \['image'\], the data has"),
    ],
)
def test_data_that_do_not_fit_are_refused_by_name(arrays: dict[str, Array], message: str) -> None:
    with pytest.raises(InputError, match=message):
        match(arrays, _signature(image=IMAGE))


def test_inputs_with_different_numbers_of_rows_are_refused() -> None:
    spec = TensorSpec(dtype="float32", shape=(None, None))

    with pytest.raises(InputError, match="different numbers of rows: {'a': 3, 'b': 2}"):
        match({"a": np.zeros((3, 1)), "b": np.zeros((2, 1))}, _signature(a=spec, b=spec))


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (np.array([1.5]), "float32"),
        (np.array([7]), "int32"),
        (np.array([255], np.uint8), "float32"),
        (np.array([True]), "int64"),
        (np.array([np.inf]), "float16"),
    ],
)
def test_a_cast_that_keeps_the_values_is_made(values: Array, dtype: str) -> None:
    result = cast("x", values, dtype)

    assert result.dtype == np.dtype(dtype)
    assert result[0] == values[0]


@pytest.mark.parametrize(
    ("values", "dtype", "message"),
    [
        (np.array([2**40]), "int32", "values from 1099511627776 to 1099511627776; the model takes int32"),
        (np.array([-1]), "uint8", "the model takes uint8, 0 to 255"),
        (np.array([1e300]), "float32", "beyond the range of float32"),
        (np.array([1.0]), "int64", "the data is float64, the model takes int64"),
        (np.array([1.0]), "strange", "takes strange, which data sets cannot hold"),
    ],
)
def test_a_cast_that_would_change_values_is_refused(values: Array, dtype: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        cast("x", values, dtype)


def test_bytes_and_text_become_python_strings() -> None:
    assert cast("x", np.array([b"a\xc3\xa9"]), "str").tolist() == ["aé"]
    assert cast("x", np.array(["aé"]), "str").dtype == object


def test_rows_are_copied_out_of_a_memory_map(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((4, 2), np.float32))
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")

    assert type(cast("x", mapped[:2], "float32")) is np.ndarray
