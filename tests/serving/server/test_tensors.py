"""Arrays are what the signature says, or the sentence says why not."""

import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tasks.models.signature import Signature, TensorSpec
from tasks.serving.server import tensors
from tasks.serving.server.rejected import Rejected
from tasks.serving.server.tensors import DTYPES
from tests.serving.server.mangled import JSON, attempt

NUMBERS = [name for name in DTYPES if name not in ("bool", "str")]
INTEGERS = [name for name in NUMBERS if "int" in name]


def spec(dtype: str, *shape: int | None) -> TensorSpec:
    return TensorSpec(dtype=dtype, shape=shape)


def convert(dtype: str, values: list[Any], booleans: bool = True) -> Any:
    return tensors.from_values("x", spec(dtype, None), values, (len(values),), booleans)


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_every_value_of_every_dtype_comes_through_lists_and_bytes(data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from(list(DTYPES)))
    shape = data.draw(arrays.array_shapes(max_dims=3, max_side=4))
    if dtype == "str":
        elements: Any = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
        array = data.draw(arrays.arrays(object, shape, elements=elements))
    else:
        finite = {"elements": {"allow_nan": False, "allow_infinity": False}} if "float" in dtype else {}
        array = data.draw(arrays.arrays(np.dtype(dtype), shape, **finite))
    its = spec(dtype, *(None for _ in shape))

    flat = tensors.from_values("x", its, tensors.flatten("x", array.ravel().tolist(), shape), shape)
    nested = tensors.from_values("x", its, tensors.flatten("x", array.tolist(), shape), shape)
    raw = tensors.to_bytes(array)
    binary = tensors.from_bytes("x", its, b"..." + raw + b".", 3, len(raw), shape)

    for result in (flat, nested, binary):
        assert result.dtype == array.dtype and result.shape == shape
        assert result.tobytes() == array.tobytes() if dtype != "str" else result.tolist() == array.tolist()
        assert result.flags.aligned


@pytest.mark.parametrize("dtype", NUMBERS)
@pytest.mark.parametrize("value", ["1", None, True, [1], {"a": 1}])
def test_nothing_but_numbers_is_a_number(dtype: str, value: Any) -> None:
    with pytest.raises(Rejected, match="'x' holds .* at position 1, expected (whole )?numbers") as no:
        convert(dtype, [0, value, 0])
    assert no.value.reason == "malformed"


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers_are_not_cut_wrapped_or_rounded(dtype: str) -> None:
    limits = np.iinfo(dtype)
    assert convert(dtype, [int(limits.min), int(limits.max), 7.0]).tolist() == [limits.min, limits.max, 7]
    for value in (limits.min - 1, limits.max + 1, 0.5, -9.223372036854776e18, 1.8446744073709552e19, 1e300):
        with pytest.raises(Rejected, match=r"at position 1, expected whole numbers between -?\d+ and \d+ for U?INT"):
            convert(dtype, [1, value])


@pytest.mark.parametrize(("dtype", "largest"), [("float16", 65504.0), ("float32", 3.4028234663852886e38)])
def test_a_number_does_not_become_an_infinity(dtype: str, largest: float) -> None:
    assert convert(dtype, [largest, -largest, 3, 2**60 if dtype == "float32" else 2]).tolist()[:2] == [
        largest,
        -largest,
    ]
    for value in (largest * 1.01, -largest * 1.01):
        with pytest.raises(Rejected, match=r"at position 2, expected numbers between -.* for FP"):
            convert(dtype, [1.0, 2.0, value], booleans=False)


@pytest.mark.parametrize("value", [0, 1, 1.0, "true", None])
def test_only_booleans_are_booleans(value: Any) -> None:
    assert convert("bool", [True, False]).tolist() == [True, False]
    with pytest.raises(Rejected, match="at position 1, expected booleans"):
        convert("bool", [True, value])


@pytest.mark.parametrize("value", [0, None, True, ["a"], {"b64": "YQ=="}])
def test_only_strings_are_strings(value: Any) -> None:
    with pytest.raises(Rejected, match="at position 0, expected strings"):
        convert("str", [value, "a"])


@pytest.mark.parametrize(
    "shape",
    [
        None,
        "12",
        {},
        [],
        [2],
        [2, 3, 1],
        [2, 4],
        [2, "3"],
        [True, 3],
        [-1, 3],
        [0, 3],
        [1.5, 3],
        [2, None],
        [-(10**30), 3],
    ],
)
def test_a_shape_that_is_not_the_models_is_refused(shape: Any) -> None:
    with pytest.raises(Rejected, match=r"'x' has shape .*, expected \[-1, 3\]") as no:
        tensors.check_shape("x", spec("int8", None, 3), shape, 10**40)
    assert no.value.reason == "malformed"


def test_no_size_of_a_tensor_may_be_zero() -> None:
    with pytest.raises(Rejected, match=r"has shape \[1000000000000000000000000000000, 0\]"):
        tensors.check_shape("x", spec("int8", None, None), [10**30, 0], 10)


def test_a_shape_beyond_the_limit_is_too_large() -> None:
    assert tensors.check_shape("x", spec("int8", None, 3), [4.0, 3], 12) == (4, 3)
    with pytest.raises(Rejected, match="'x' has 15 elements, expected at most 14") as no:
        tensors.check_shape("x", spec("int8", None, 3), [5, 3], 14)
    assert no.value.reason == "too_large"


@pytest.mark.parametrize(
    "values",
    [
        [[1, 2], [3]],
        [[1, 2], 3],
        [[1, 2, 3, 4]],
        [[1, 2], [3, 4], [5, 6]],
        [[[1], [2]], [[3], [4]]],
        [[1, 2], "34"],
        [[1, 2], {"3": 3, "4": 4}],
        [1, 2, 3],
        [1, 2, [3, 4]],
        [[], []],
        [],
        "1234",
        None,
    ],
)
def test_ragged_short_and_deep_lists_are_refused(values: Any) -> None:
    with pytest.raises(Rejected) as no:
        tensors.from_values("x", spec("int8", None, 2), tensors.flatten("x", values, (2, 2)), (2, 2))
    assert no.value.reason == "malformed" and "'x'" in no.value.message


@pytest.mark.parametrize(
    ("dtype", "shape", "raw", "says"),
    [
        ("float32", (1, 2), b"1234567", r"holds 7 bytes, expected 8 for FP32 of shape \[1, 2\]"),
        ("bool", (3,), b"\0\1\2", "bytes other than 0 and 1"),
        ("str", (2,), struct.pack("<I", 1) + b"a", "expected at least 8 for 2 strings"),
        ("str", (1,), struct.pack("<I", 2) + b"a", "String 0 of input 'x' ends after the 5 bytes"),
        ("str", (2,), struct.pack("<I", 3) + b"abc\0", "String 1 of input 'x' ends after"),
        ("str", (1,), struct.pack("<I", 4294967295), "String 0 of input 'x' ends after"),
        ("str", (1,), struct.pack("<I", 1) + b"ab", "1 bytes after its last string"),
        ("str", (1,), struct.pack("<I", 1) + b"\xff", "String 0 of input 'x' is not UTF-8"),
    ],
)
def test_bytes_that_are_not_the_tensor_are_refused(dtype: str, shape: tuple[int, ...], raw: bytes, says: str) -> None:
    with pytest.raises(Rejected, match=says):
        tensors.from_bytes("x", spec(dtype, *(None for _ in shape)), raw + b"\0" * 9, 0, len(raw), shape)


@given(st.sampled_from(list(DTYPES)), JSON, JSON)
@settings(max_examples=150, deadline=None)
def test_no_json_raises_anything_but_rejected(dtype: str, values: Any, shape: Any) -> None:
    def convert_all() -> Any:
        checked = tensors.check_shape("x", spec(dtype, None, None), shape, 1000)
        return tensors.from_values("x", spec(dtype, None, None), tensors.flatten("x", values, checked), checked)

    result = attempt(convert_all)
    assert len(result.message) < 500 if isinstance(result, Rejected) else result.shape == tuple(shape)


SIGNATURE = Signature(
    inputs={"a": spec("float32", None, 2), "b": spec("str", None)}, outputs={"y": spec("float32", None)}
)
STRINGS = np.array(["p", "q", "r"], object)


def test_arrays_that_fit_are_counted_in_rows() -> None:
    assert tensors.check({"b": STRINGS, "a": np.zeros((3, 2), np.float32)}, SIGNATURE, 9) == 3


@pytest.mark.parametrize(
    ("feeds", "says"),
    [
        ({"a": np.zeros((3, 2), np.float32)}, "Input 'b' is missing, expected 'a', 'b'"),
        ({}, "Input 'a' is missing"),
        ({"a": np.zeros((3, 2), np.float32), "b": STRINGS, "c": STRINGS}, "has no input 'c', expected 'a', 'b'"),
        ({"a": np.zeros((3, 2)), "b": STRINGS}, "'a' has dtype float64, expected float32"),
        ({"a": np.zeros((3, 3), np.float32), "b": STRINGS}, r"'a' has shape \[3, 3\], expected \[-1, 2\]"),
        ({"a": np.zeros((0, 2), np.float32), "b": STRINGS[:0]}, r"'a' has shape \[0, 2\]"),
        ({"a": np.zeros((2, 2), np.float32), "b": STRINGS}, "'b' has 3 rows, expected 2 as input 'a' has"),
        ({"a": np.zeros((3, 2), np.float32), "b": np.array(["p", b"q", "r"], object)}, "position 1, expected strings"),
        ({"a": np.zeros((4, 2), np.float32), "b": STRINGS}, "'b' has 3 elements, expected at most 1"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(feeds: dict[str, Any], says: str) -> None:
    with pytest.raises(Rejected, match=says):
        tensors.check(feeds, SIGNATURE, 9)


def test_a_name_in_a_sentence_is_short() -> None:
    with pytest.raises(Rejected) as no:
        tensors.expected("n" * 10**6, SIGNATURE, {})
    assert len(no.value.message) < 200


def test_a_dtype_that_no_protocol_has_is_the_models_fault() -> None:
    with pytest.raises(Rejected, match="dtype complex64") as no:
        tensors.dtype(spec("complex64", None))
    assert no.value.reason == "model"
