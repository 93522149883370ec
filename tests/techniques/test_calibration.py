"""Ranges are what the rows show, whatever the batch size, and memory does not grow with the rows."""

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from tasks.foundations.errors import StepFailed
from tasks.models import rows as model_rows
from tasks.models.signature import Signature
from tasks.techniques import calibration
from tasks.techniques.calibration import Rows, entropy_range, measure_ranges, percentile_range
from tests.techniques.onnx_parts import dense


def ranges(folder, values, method="minmax", percentile=99.99):
    model = onnx.load(folder / "model.onnx")
    return measure_ranges(model, Rows(Signature.read(folder), {"x": values}, len(values)), method, percentile)


def normal(rows, seed=0):
    return np.random.default_rng(seed).normal(size=(rows, 4)).astype(np.float32)


def test_minmax_is_the_extremes_of_every_activation(tmp_path):
    folder, values = dense(tmp_path / "m"), normal(300)
    found = ranges(folder, values)
    graph = onnx.load(folder / "model.onnx").graph
    weights, bias = (numpy_helper.to_array(item) for item in graph.initializer)
    assert set(found) == {"x", "p", "y"}
    assert found["x"] == (values.min(), values.max())
    product = values @ weights
    assert found["p"] == pytest.approx((product.min(), product.max()), rel=1e-5)
    assert found["y"] == pytest.approx(((product + bias).min(), (product + bias).max()), rel=1e-5)


@pytest.mark.parametrize("method", ["minmax", "entropy", "percentile"])
def test_the_batch_size_changes_nothing(tmp_path, monkeypatch, method):
    folder, values = dense(tmp_path / "m"), normal(3000)
    whole = ranges(folder, values, method)
    monkeypatch.setattr(calibration, "MAX_BATCH", 7)
    pieces = ranges(folder, values, method)
    assert {name: pytest.approx(pair, rel=1e-5) for name, pair in whole.items()} == pieces


@pytest.mark.parametrize("method", ["minmax", "entropy", "percentile"])
def test_rows_before_the_largest_do_not_decide(tmp_path, method):
    folder, values = dense(tmp_path / "m"), normal(3000)
    values[0] *= 1e-6
    values[-1] = 50.0
    forwards, backwards = ranges(folder, values, method), ranges(folder, values[::-1].copy(), method)
    assert {name: pytest.approx(pair, rel=1e-5) for name, pair in forwards.items()} == backwards


@pytest.mark.parametrize("method", ["entropy", "percentile"])
def test_one_outlier_is_cut(tmp_path, method):
    folder, values = dense(tmp_path / "m"), normal(20000)
    values[17, 0] = 1000.0
    assert ranges(folder, values, method, 99.9)["x"][1] < 200
    assert ranges(folder, values)["x"][1] == 1000


def test_entropy_never_inverts_a_range_far_from_zero(tmp_path):
    generator = np.random.default_rng(0)
    chances = generator.lognormal(0, 2, 1000)
    uneven = generator.choice(0.5 + 0.002 * np.arange(1000), (20000, 4), p=chances / chances.sum()).astype(np.float32)
    low, high = ranges(dense(tmp_path / "m"), uneven, "entropy")["x"]
    assert low < 1 < high


def test_entropy_keeps_everything_where_there_are_few_values():
    histogram = np.zeros(2048, np.int64)
    histogram[::40] = 3
    assert entropy_range(histogram, (-2.0, 2.0)) == (-2.0, 2.0)


def test_entropy_keeps_an_evenly_used_range():
    assert entropy_range(np.full(2048, 100), (-2.0, 2.0)) == (-2.0, 2.0)


@given(st.floats(50.1, 100), st.integers(0, 100))
def test_a_percentile_cuts_no_more_than_it_says(percentile, seed):
    histogram = np.random.default_rng(seed).integers(0, 50, 256)
    low, high = percentile_range(histogram, (0.0, 256.0), percentile)
    kept = histogram[round(low) : round(high)].sum()
    assert kept >= percentile / 100 * histogram.sum() - 1e-6
    assert low < high


def test_everything_is_kept_at_100_percent():
    histogram = np.array([3, 0, 0, 1])
    assert percentile_range(histogram, (0.0, 4.0), 100.0) == (0.0, 4.0)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_an_activation_that_is_not_finite_is_named(tmp_path, bad):
    folder, values = dense(tmp_path / "m"), normal(300)
    values[200, 2] = bad
    with pytest.raises(StepFailed, match=r"'x' ranges from"):
        ranges(folder, values)


def test_batches_shrink_with_the_size_of_a_row(tmp_path, monkeypatch):
    folder = dense(tmp_path / "m")
    seen = []
    plain = model_rows.take
    monkeypatch.setattr(
        model_rows,
        "take",
        lambda arrays, signature, rows: seen.append(rows.stop - rows.start) or plain(arrays, signature, rows),
    )
    monkeypatch.setattr(calibration, "BUDGET", 400)
    ranges(folder, normal(100))
    # One row has 4 + 3 + 3 floats, 40 bytes.
    assert max(seen) == 10


def test_integer_inputs_are_not_calibrated(tmp_path):
    table = np.random.default_rng(0).normal(size=(9, 3)).astype(np.float32)
    nodes = [helper.make_node("Gather", ["x", "i"], ["y"])]
    graph = helper.make_graph(
        nodes,
        "model",
        [helper.make_tensor_value_info("i", onnx.TensorProto.INT64, ["batch"])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["batch", 3])],
        [numpy_helper.from_array(table, "x")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    signature = Signature.model_validate(
        {
            "inputs": {"i": {"dtype": "int64", "shape": [None]}},
            "outputs": {"y": {"dtype": "float32", "shape": [None, 3]}},
        }
    )
    assert set(measure_ranges(model, Rows(signature, {"i": np.arange(9)}, 9))) == {"y"}


def test_only_what_the_named_operators_touch_is_measured(tmp_path):
    folder = dense(tmp_path / "m")
    rows = Rows(Signature.read(folder), {"x": normal(8)}, 8)
    assert set(measure_ranges(onnx.load(folder / "model.onnx"), rows, operators=["MatMul"])) == {"x", "p"}
