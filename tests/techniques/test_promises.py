"""Arithmetic of promises and of the projection that keeps them."""

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from onnx import helper, numpy_helper

from tasks.foundations.errors import ProofFailed
from tasks.techniques import promises
from tasks.techniques.projection import Constraint, apply, constraints
from tasks.techniques.promises import Promise
from tasks.techniques.weights import of_layers
from tests.techniques.onnx_parts import dense, write

WEIGHT = arrays(np.float32, (6, 8), elements=st.floats(-4, 4, width=16))


def promise(what, asked, **layers):
    layers = layers or {"dense_1": (0,)}
    return Promise(what=what, asked=asked, layers=layers, elements={name: (12,) for name in layers})


def few(weight, number):
    """The weight in at most so many values."""
    levels = np.quantile(weight, np.linspace(0, 1, number)).astype(np.float32)
    return levels[np.abs(weight[..., None] - levels).argmin(-1)]


@given(WEIGHT, WEIGHT)
def test_projected_weights_keep_their_zeros_and_a_second_projection_changes_nothing(start, moved):
    start = np.where(np.abs(start) > 1, start, 0).astype(np.float32)
    constraint = Constraint(start, True, None)
    once = constraint.project(moved)

    assert (once[start == 0] == 0).all()
    np.testing.assert_array_equal(constraint.project(once), once)


@given(WEIGHT, WEIGHT)
def test_projected_weights_keep_their_ties_and_nothing_nearer_does(start, moved):
    start = few(start, 4)
    once = Constraint(start, False, 4).project(moved)

    assert len(np.unique(once)) <= 4
    for value in np.unique(start):  # the nearest point of a tied group is its mean
        members = moved[start == value]
        np.testing.assert_allclose(once[start == value], members.astype(np.float64).mean(), rtol=1e-5, atol=1e-5)


@settings(deadline=None)  # imports scikit-learn
@given(WEIGHT, st.integers(3, 6))
def test_zeros_that_come_later_count_among_the_values(weight, clusters):
    constraint = Constraint(few(weight, clusters), True, clusters)
    pruned = np.where(np.abs(weight) > np.median(np.abs(weight)), weight, 0).astype(np.float32)
    constraint.regroup(pruned)
    found = constraint.project(pruned)

    assert len(np.unique(found)) <= clusters or (pruned != 0).all()
    assert (found[pruned == 0] == 0).all()


def test_constraints_are_put_on_variables_by_place():
    class Variable:
        def __init__(self, value):
            self.value = value

        def numpy(self):
            return self.value

        def assign(self, value):
            self.value = value

    class Layer:
        weights = (Variable(np.array([[0.0, 1.0]], np.float32)), Variable(np.array([5.0], np.float32)))

    class Model:
        def get_layer(self, name):
            return Layer()

    found = constraints(Model(), [promise("sparsity", 0.5, a=(0,))])
    moved = {("a", 0): Variable(np.array([[3.0, 4.0]], np.float32)), ("a", 1): Variable(np.array([6.0], np.float32))}
    apply(moved, found)

    np.testing.assert_array_equal(moved["a", 0].value, [[0.0, 4.0]])
    np.testing.assert_array_equal(moved["a", 1].value, [6.0])


@given(WEIGHT)
def test_sparsity_is_the_share_of_zeros(weight):
    assert promises.measure(promise("sparsity", 0.5), weight) == np.count_nonzero(weight == 0) / weight.size


@given(WEIGHT)
def test_clusters_are_counted_in_the_richest_output_channel(weight):
    counted = max(len(set(column.tolist())) for column in weight.T)
    assert promises.measure(promise("clusters", 4), weight) == counted


@pytest.mark.parametrize(
    ("column", "most"), [([1, 1, 0, 0], 2), ([1, 1, 1, 0], 3), ([0, 0, 1, 1, 1, 1], 2), ([0, 1, 1, 1, 1], 3), ([0], 0)]
)
def test_fours_are_counted_along_the_input_channels(column, most):
    kernel = np.array(column, np.float32)[:, None]  # (inputs, 1)
    assert promises.measure(promise("two_of_four", 2), kernel) == most
    assert promises.measure(promise("two_of_four", 2), kernel[None, None]) == most  # a convolution's


@pytest.mark.parametrize(
    ("made", "match"),
    [
        (promise("sparsity", 0.5), r"50\.0% zeros were promised, but not kept by dense_1 \(0\.0% zeros\)"),
        (promise("clusters", 2), r"2 distinct values were promised, but not kept by dense_1 \(4 distinct values\)"),
        (promise("two_of_four", 2), r"not kept by dense_1 \(4 of 4 non-zero weights\)"),
        (
            promise("sparsity", 0.5, dense_1=(0,), lost=(0,)),
            "The weights of layer 'lost' are not to be found in the ONNX file",
        ),
    ],
)
def test_a_file_that_breaks_a_promise_is_refused_with_layer_and_figure(tmp_path, made, match):
    folder = dense(tmp_path / "m")
    with pytest.raises(ProofFailed, match=match):
        promises.prove([made], folder)


def test_of_a_layer_of_several_weights_the_promised_one_is_looked_at(tmp_path):
    """A separable convolution has few taps beside its clustered kernel, and they prove nothing."""
    nodes = [
        helper.make_node("MatMul", ["x", "taps"], ["p"], name="net/separable/depthwise/MatMul"),
        helper.make_node("MatMul", ["p", "kernel"], ["y"], name="net/separable/MatMul"),
    ]
    kernel = np.arange(9, dtype=np.float32).reshape(3, 3)
    folder = write(tmp_path / "m", nodes, {"taps": np.ones((4, 3), np.float32), "kernel": kernel})
    made = Promise(what="clusters", asked=2, layers={"separable": (1,)}, elements={"separable": (9,)})

    with pytest.raises(ProofFailed, match=r"not kept by separable \(3 distinct values\)"):
        promises.prove([made], folder)


def test_a_file_that_keeps_its_promises_tells_the_figures(tmp_path):
    weight = np.array([[0, 1, 0], [0, 0, 2], [1, 0, 0], [0, 1, 0]], np.float32)
    folder = dense(tmp_path / "m", weights=weight)

    proof = promises.prove([promise("sparsity", 0.6), promise("clusters", 2)], folder)

    assert proof["sparsity"] == {
        "asked": 0.6,
        "achieved": {"dense_1": 8 / 12},
        "whole": pytest.approx(8 / 12, abs=1e-6),
    }
    assert proof["clusters"]["achieved"] == {"dense_1": 2.0}


def test_promises_travel_with_the_folder_and_their_absence_is_no_promise(tmp_path):
    made = (promise("sparsity", 0.5), promise("clusters", 8))
    promises.write(made, tmp_path)

    assert promises.read(tmp_path) == made
    assert promises.read(tmp_path / "nothing") == () and promises.prove((), tmp_path) == {}


def test_a_convolution_is_brought_into_the_order_of_keras(tmp_path):
    kernel = np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5)  # (outputs, inputs, height, width)
    node = helper.make_node("Conv", ["x", "w"], ["y"], name="net/conv/Conv2D")
    graph = helper.make_graph([node], "g", [], [], [numpy_helper.from_array(kernel, "w")])

    (found,) = of_layers(helper.make_model(graph), {"conv": ()})[0]["conv"]

    assert found.values.shape == (4, 5, 3, 2)
    assert found.values[1, 2, 0, 1] == kernel[1, 0, 1, 2]


def test_integer_weights_are_read_less_their_zero_point(tmp_path):
    weight = np.array([[128, 130], [128, 128]], np.uint8)
    node = helper.make_node("MatMulInteger", ["x", "w", "xz", "z"], ["y"], name="net/dense_1/MatMul_quant")
    constants = {"w": weight, "z": np.array(128, np.uint8), "xz": np.array(0, np.uint8)}
    graph = helper.make_graph([node], "g", [], [], [numpy_helper.from_array(a, n) for n, a in constants.items()])

    (found,) = of_layers(helper.make_model(graph), {"dense_1": ()})[0]["dense_1"]

    np.testing.assert_array_equal(found.values, [[0, 2], [0, 0]])


def test_a_layer_is_found_by_its_whole_name(tmp_path):
    folder = write(
        tmp_path / "m",
        [helper.make_node("MatMul", ["x", "w"], ["y"], name="net/dense_10/MatMul")],
        {"w": np.ones((4, 3), np.float32)},
    )
    found, rest = of_layers(onnx.load(folder / "model.onnx"), {"dense_1": (), "dense_10": ()})

    assert [len(found[layer]) for layer in ("dense_1", "dense_10")] == [0, 1] and not rest


def test_a_layer_that_lost_its_name_is_found_by_the_number_of_its_weights(tmp_path):
    """Once for each of its weights: one constant cannot prove two."""
    weight = np.array([[0, 1, 0], [0, 0, 2], [1, 0, 0], [0, 1, 0]], np.float32)
    folder = dense(tmp_path / "m", weights=weight)
    once = promise("sparsity", 0.6, attention=(0,))

    assert promises.prove([once], folder)["sparsity"]["achieved"] == {"attention": pytest.approx(8 / 12)}
    with pytest.raises(ProofFailed, match="'attention' are not to be found"):
        promises.prove([once.model_copy(update={"elements": {"attention": (12, 12)}})], folder)
