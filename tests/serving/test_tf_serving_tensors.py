"""Conversions hold against TensorFlow's own, in both directions."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tasks.serving._tf_serving_protos import protos
from tasks.serving.tf_serving_status import CallFailed, Server
from tasks.serving.tf_serving_tensors import to_array, to_proto

NUMBERS = ("bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64")
NUMBERS += ("float16", "float32", "float64")
SHAPES = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
WORDS = st.one_of(st.text(max_size=4), st.binary(max_size=4))

numbers = st.sampled_from(NUMBERS).flatmap(lambda dtype: hnp.arrays(dtype, SHAPES))
words = hnp.arrays(np.object_, SHAPES, elements=WORDS)
quick = settings(max_examples=60, deadline=None, derandomize=True, database=None)


def is_same(got: Any, wanted: Any) -> bool:
    if wanted.dtype == object:
        return got.dtype == object and got.shape == wanted.shape and got.tolist() == wanted.tolist()
    return (got.dtype, got.shape, got.tobytes()) == (wanted.dtype, wanted.shape, wanted.tobytes())


def as_bytes(values: Any) -> Any:
    """Strings as TensorFlow has them."""
    plain = [word.encode() if isinstance(word, str) else word for word in values.ravel().tolist()]
    return np.array([*plain, None], dtype=object)[:-1].reshape(values.shape)


@quick
@given(values=numbers)
def test_numbers_go_both_ways(values: Any) -> None:
    assert is_same(tf.make_ndarray(to_proto(values)), values)
    assert is_same(to_array(tf.make_tensor_proto(values)), values)
    assert is_same(to_array(to_proto(values.T)), values.T)


@quick
@given(values=words)
def test_strings_go_both_ways(values: Any) -> None:
    assert is_same(tf.make_ndarray(to_proto(values)), as_bytes(values))
    assert is_same(to_array(tf.make_tensor_proto(values, tf.string)), as_bytes(values))


@quick
@given(data=st.data(), dtype=st.sampled_from((*NUMBERS, "str")))
def test_values_one_by_one_are_read_and_the_last_repeated(data: st.DataObject, dtype: str) -> None:
    elements = WORDS if dtype == "str" else hnp.from_dtype(np.dtype(dtype))
    least = 1 if dtype == "str" else 0  # TensorFlow's own gives `str` instead of bytes for no strings at all
    values = data.draw(st.lists(elements, min_size=least, max_size=4))
    tensor = tf.make_tensor_proto(np.zeros(0, dtype)) if dtype != "str" else tf.make_tensor_proto([], tf.string)
    for value in values:  # of one value it makes no `tensor_content`
        tensor.MergeFrom(tf.make_tensor_proto(np.array([value], object if dtype == "str" else dtype)))
    tensor.tensor_shape.Clear()
    for size in (1, len(values) + data.draw(st.integers(0, 3))):
        tensor.tensor_shape.dim.add(size=size)

    assert tensor.tensor_content == b""
    assert is_same(to_array(tensor), tf.make_ndarray(tensor))


def test_no_values_are_zeros_or_empty_words_and_foreign_byte_orders_and_fixed_strings_are_sent_right() -> None:
    nothing = tf.make_tensor_proto([], tf.string)
    nothing.tensor_shape.dim[0].size = 2

    assert to_array(nothing).tolist() == [b"", b""]
    assert tf.make_ndarray(to_proto(np.array([1, -2], ">i4"))).tolist() == [1, -2]
    assert tf.make_ndarray(to_proto(np.array(["yes", "nö"]))).tolist() == [b"yes", "nö".encode()]
    assert tf.make_ndarray(to_proto(np.array([b"yes"]))).tolist() == [b"yes"]


def test_what_cannot_be_converted_is_said() -> None:
    with pytest.raises(ValueError, match="an array of complex64 cannot be sent; expected str or one of bool, uint8"):
        to_proto(np.zeros(2, np.complex64))
    for values in (np.zeros(1, np.complex64), tf.zeros(2, tf.bfloat16)):
        with pytest.raises(ValueError, match="a tensor of DT_(COMPLEX64|BFLOAT16) cannot be read; expected one of DT_"):
            to_array(tf.make_tensor_proto(values))
    short, long = tf.make_tensor_proto(np.zeros(3, np.float32)), tf.make_tensor_proto(["a", "b", "c"])
    short.tensor_shape.dim[0].size, long.tensor_shape.dim[0].size = 4, 2
    for tensor in (short, long):
        with pytest.raises(ValueError, match="cannot reshape array of size 3"):
            to_array(tensor)


def test_an_answer_that_cannot_be_read_is_an_error_of_that_server(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server("127.0.0.1:9")
    answer = protos().predict_pb2.PredictResponse()
    answer.outputs["scores"].CopyFrom(tf.make_tensor_proto(np.zeros(1, np.complex64)))
    monkeypatch.setattr(server, "_predictions", SimpleNamespace(Predict=lambda request, timeout: answer))

    with pytest.raises(CallFailed, match="Predict is not possible: a tensor of DT_COMPLEX64"):
        server.predict("digits", "", {"image": np.zeros(1, np.float32)})
    server.channel.close()
