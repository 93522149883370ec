"""Fake quantization starts at the ranges of the data: whatever their scale, the net computes what it did before."""

import numpy as np
import pytest

from tasks.models.interface import describe
from tasks.techniques import projection, ranges, trainable
from tasks.techniques.ranges import Range
from tests.techniques.training_world import write

tf_keras = pytest.importorskip("tf_keras")
L = tf_keras.layers


@pytest.fixture(scope="module")
def net():
    """A function of the scale of all activations: (model, its layers with weights)."""

    def make(scale):
        tf_keras.utils.set_random_seed(0)
        image = L.Input((8, 8, 1), name="x")
        x = L.Rescaling(scale, name="rescaling")(image)
        x = L.Conv2D(4, 3, use_bias=False, activation="relu", name="conv")(x)
        x = L.Dense(8, use_bias=False, activation="tanh", name="squashed")(L.Flatten(name="flat")(x))
        return tf_keras.Model(image, L.Dense(3, name="scores")(x))

    return make


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    images = np.random.default_rng(0).uniform(0, 1, (300, 8, 8, 1)).astype(np.float32)
    return write(tmp_path_factory.mktemp("rows") / "split", images, np.zeros(300))


def observed(model, split):
    layers = [layer.name for layer in model.layers if layer.weights]
    return layers, ranges.observe(model, layers, describe(model).signature, split)


def test_ranges_are_those_of_the_first_rows_and_hold_zero(net, split):
    model = net(100.0)
    _, found = observed(model, split)
    rows = split.input_arrays()["x"][: ranges.ROWS]
    scores = model(rows).numpy()
    assert found["scores"][1] == pytest.approx((min(0, scores.min()), max(0, scores.max())), rel=1e-5)
    before, after = found["squashed"]
    assert before.high > 1 >= after.high > 0.99 and before.low < -1 <= after.low
    assert found["conv"][1].low == 0 > found["conv"][0].low
    assert all(type(layer.activation).__name__ == "function" for layer in model.layers if layer.weights)


@pytest.mark.parametrize("scale", [1 / 255, 1.0, 100.0])
def test_a_net_computes_the_same_when_its_fake_quantization_starts(net, split, scale):
    from tensorflow_model_optimization.quantization.keras import quantize_annotate_layer, quantize_apply

    model, rows = net(scale), split.input_arrays()["x"][:64]
    layers, found = observed(model, split)
    wanted = model(rows).numpy()
    quantized = quantize_apply(trainable.wrap(model, layers, quantize_annotate_layer))
    ranges.start(quantized, found)
    for place, variable in projection.variables(quantized, net(scale)).items():
        variable.assign(model.get_layer(place[0]).weights[place[1]])
    computed = quantized(rows, training=True).numpy()  # ranges of weights are taken in training only
    assert np.abs(computed - wanted).max() < 0.1 * np.abs(wanted).max()


def test_a_layer_that_puts_out_nothing_keeps_the_librarys_range(net, split):
    from tensorflow_model_optimization.quantization.keras import quantize_annotate_layer, quantize_apply

    model = net(1.0)
    quantized = quantize_apply(trainable.wrap(model, ["scores"], quantize_annotate_layer))
    ranges.start(quantized, {"scores": (Range(), Range())})
    found = {
        variable.name.rpartition("/")[2]: float(variable) for variable in quantized.weights if variable.shape.rank == 0
    }
    assert (found["post_activation_min:0"], found["post_activation_max:0"]) == (-6, 6)


def test_batch_norms_go_by_the_batch_as_in_training_and_keep_what_they_have_averaged(split):
    tf_keras.utils.set_random_seed(0)
    image = L.Input((8, 8, 1), name="x")
    x = L.BatchNormalization(name="norm")(L.Rescaling(1 / 255)(image))
    model = tf_keras.Model(image, L.Dense(3, name="scores")(x))
    before = model.get_weights()
    found = ranges.observe(model, ["scores"], describe(model).signature, split)
    assert max(found["scores"][1]) > 0.01 > np.abs(model(split.input_arrays()["x"][:64]).numpy()).max()
    assert all(np.array_equal(one, other) for one, other in zip(before, model.get_weights(), strict=True))
