from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.foundations.errors import InputError, StepFailed
from tasks.models.signature import Signature, TensorSpec
from tasks.runtimes.rows import cast_rows, match_inputs, predict_rows
from tasks.runtimes.session import Array


def _signature(**inputs: TensorSpec) -> Signature:
    return Signature(inputs=inputs, outputs={"y": TensorSpec(dtype="float32", shape=(None, 2))})


IMAGE = TensorSpec(dtype="float32", shape=(None, 8, 8, 1))


class Doubler:
    """A session in plain numpy that remembers the batches it got."""

    def __init__(self, fixed_batch: int | None = None) -> None:
        self.signature = _signature(x=TensorSpec(dtype="float32", shape=(None, 2)))
        self.fixed_batch = fixed_batch
        self.batches: list[int] = []

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        self.batches.append(len(inputs["x"]))
        return {"y": inputs["x"] * 2}


@given(rows=st.integers(1, 40), batch=st.integers(1, 12), fixed=st.none() | st.integers(1, 12), wide=st.booleans())
def test_every_row_comes_out_once_in_order_whatever_the_batch(
    rows: int, batch: int, fixed: int | None, wide: bool
) -> None:
    session = Doubler(fixed)
    data = np.arange(rows * 2, dtype=np.float64 if wide else np.float32).reshape(rows, 2)

    parts = list(predict_rows(session, {"input": data}, batch))

    np.testing.assert_array_equal(np.concatenate([outputs["y"] for _, outputs in parts]), data * 2)
    assert [start for start, _ in parts] == list(range(0, rows, fixed or batch))
    assert fixed is None or set(session.batches) == {fixed}


def test_an_output_that_is_not_one_entry_a_row_is_refused() -> None:
    session = Doubler()
    session.run = lambda inputs: {"y": np.zeros(3)}  # type: ignore[method-assign]

    with pytest.raises(StepFailed, match=r"Output 'y' has shape \(3,\) for a batch of 2 rows"):
        list(predict_rows(session, {"x": np.zeros((2, 2), np.float32)}, 2))


def test_one_array_feeds_one_input_whatever_its_name() -> None:
    data = np.zeros((3, 8, 8, 1), np.float32)

    assert match_inputs(_signature(image=IMAGE), {"input": data}) == {"image": data}


def test_arrays_come_in_the_order_of_the_model() -> None:
    signature = _signature(b=TensorSpec(dtype="float32", shape=(None,)), a=TensorSpec(dtype="float32", shape=(None,)))

    assert list(match_inputs(signature, {"a": np.zeros(2), "b": np.zeros(2)})) == ["b", "a"]


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
        match_inputs(_signature(image=IMAGE), arrays)


def test_inputs_with_different_numbers_of_rows_are_refused() -> None:
    spec = TensorSpec(dtype="float32", shape=(None, None))

    with pytest.raises(InputError, match="different numbers of rows: {'a': 3, 'b': 2}"):
        match_inputs(_signature(a=spec, b=spec), {"a": np.zeros((3, 1)), "b": np.zeros((2, 1))})


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
    result = cast_rows("x", values, dtype)

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
        cast_rows("x", values, dtype)


def test_bytes_and_text_become_python_strings() -> None:
    assert cast_rows("x", np.array([b"a\xc3\xa9"]), "str").tolist() == ["aé"]
    assert cast_rows("x", np.array(["aé"]), "str").dtype == object


def test_rows_are_copied_out_of_a_memory_map(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((4, 2), np.float32))
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")

    assert type(cast_rows("x", mapped[:2], "float32")) is np.ndarray
