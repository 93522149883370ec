"""What a user's model code may return, and the names that its inputs and outputs get."""

import numpy as np
import pytest

from tasks.foundations.errors import InputError
from tasks.models.build import BuildRequest, build
from tasks.models.interface import describe
from tasks.models.output import Meaning
from tasks.models.sources.keras_builder import KerasBuilder

keras = pytest.importorskip("keras")
HEAD = "import keras\nfrom keras import layers as L\n"
SEQUENTIAL = "def build():\n    return keras.Sequential([keras.Input((4,)), L.Dense(3)])\n"
counter = iter(range(1000))


def request(tmp_path, code, **more):
    """A file of its own for every case: modules are known by name for the life of a process."""
    name = f"model_{next(counter)}_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(HEAD + code)
    source = KerasBuilder(kind="keras_builder", entrypoint=f"{name}.py:build")
    return BuildRequest(source=source, folder=str(tmp_path), seed=more.pop("seed", 0), **more)


def test_the_same_code_and_seed_give_the_same_fingerprint_whatever_ran_before(tmp_path):
    wanted = request(tmp_path, SEQUENTIAL)
    first = build(wanted)
    keras.layers.Dense(2)(keras.Input((3,)))  # advances Keras' counters
    second = build(wanted)
    assert first == second
    assert first.parameters == 15
    assert build(wanted.model_copy(update={"seed": 1})).fingerprint != first.fingerprint


def test_another_architecture_of_the_same_weights_has_another_fingerprint(tmp_path):
    first = build(request(tmp_path, SEQUENTIAL))
    second = build(request(tmp_path, SEQUENTIAL.replace("L.Dense(3)", "L.Dense(3, activation='relu')")))
    assert first.fingerprint != second.fingerprint


def test_the_users_code_is_part_of_the_digest_but_not_of_the_fingerprint(tmp_path):
    first = build(request(tmp_path, SEQUENTIAL))
    second = build(request(tmp_path, SEQUENTIAL + "# a note\n"))
    assert first.fingerprint == second.fingerprint
    assert first.digest != second.digest


BROKEN = {
    "none": ("def build():\n    keras.Sequential()\n", "returned None.*is a return missing"),
    "raises": ("def build():\n    raise RuntimeError('no disk')\n", r"raised RuntimeError: no disk \(model_.*line 4\)"),
    "number": ("def build():\n    return 3\n", "returned int. Expected a keras.Model"),
    "layer": ("def build():\n    return L.Dense(3)\n", "returned Dense. Expected a keras.Model"),
    "unbuilt": ("def build():\n    return keras.Sequential([L.Dense(3)])\n", r"not built.*keras.Input\(shape"),
    "subclass": (
        "class Net(keras.Model):\n    def call(self, x):\n        return x\ndef build():\n    return Net()\n",
        "not built.*Call it once",
    ),
    "legacy": (
        "import tf_keras\ndef build():\n    return tf_keras.Sequential([tf_keras.layers.Dense(2, input_shape=(3,))])\n",
        "returned a tf_keras .Keras 2. model",
    ),
    "no weights": ("def build():\n    return keras.Sequential([keras.Input((4,)), L.Flatten()])\n", "without weights"),
    "fixed batch": (
        "def build():\n    return keras.Sequential([keras.Input(batch_shape=(2, 4)), L.Dense(3)])\n",
        "The batch size must be free",
    ),
    "a vector a time step": (
        "def build():\n    return keras.Sequential([keras.Input((4, 2)), L.Dense(3)])\n",
        r"its output 'output' has shape \(4, 3\) a row. A regression task expects one vector a row.*kind: custom",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_builder_that_gives_no_usable_model_is_refused(tmp_path, name):
    code, sentence = BROKEN[name]
    with pytest.raises(InputError, match=sentence):
        build(request(tmp_path, code))


def test_a_last_activation_that_contradicts_the_task_is_refused(tmp_path):
    softmax = SEQUENTIAL.replace("L.Dense(3)", "L.Dense(3, activation='softmax')")
    with pytest.raises(InputError, match="output: logits, but the model ends in softmax"):
        build(request(tmp_path, softmax, meaning=Meaning(kind="classification", output="logits")))
    with pytest.raises(InputError, match="output: probabilities, but the model's last layer has no activation"):
        build(request(tmp_path, SEQUENTIAL, meaning=Meaning(kind="classification", output="probabilities")))
    build(request(tmp_path, softmax, meaning=Meaning(kind="classification", output="probabilities")))
    build(request(tmp_path, SEQUENTIAL, meaning=Meaning(kind="classification", output="logits")))


HEADS = """
    x = keras.Input((4,))
    steps = L.Dense(3, name="steps")(L.Reshape((2, 2))(x))
    return keras.Model(x, {"likely": L.Dense(3, activation="softmax", name="likely")(x), "steps": steps})
"""


@pytest.mark.parametrize(
    ("meaning", "sentence"),
    [
        (
            {"kind": "multilabel", "output": "probabilities"},
            "ends in softmax, which shares one whole out.*with sigmoid",
        ),
        ({"kind": "classification", "output": "logits"}, "output: logits, but the model ends in softmax"),
        (
            {"kind": "classification", "output": "logits", "judged": "steps"},
            r"'steps' has shape \(2, 3\) a row.*custom",
        ),
        (
            {"kind": "regression", "judged": "setps"},
            "has no output 'setps'. Did you mean steps.*outputs are likely, steps",
        ),
    ],
)
def test_the_judged_output_is_the_one_that_must_fit_the_task(tmp_path, meaning, sentence):
    with pytest.raises(InputError, match=sentence):
        build(request(tmp_path, f"def build():{HEADS}", meaning=Meaning(**meaning)))


@pytest.mark.parametrize(
    "meaning", [{"kind": "custom"}, {"kind": "custom", "output": "logits"}, {"kind": "regression", "judged": "likely"}]
)
def test_outputs_of_any_rank_are_taken_where_no_task_reads_them(tmp_path, meaning):
    found = build(request(tmp_path, f"def build():{HEADS}", meaning=Meaning(**meaning)))
    assert {name: spec.shape for name, spec in found.signature.outputs.items()} == {
        "likely": (None, 3), "steps": (None, 2, 3)
    }  # fmt: skip


def test_probabilities_of_labels_come_from_a_sigmoid(tmp_path):
    sigmoid = SEQUENTIAL.replace("L.Dense(3)", "L.Dense(3, activation='sigmoid')")
    build(request(tmp_path, sigmoid, meaning=Meaning(kind="multilabel", output="probabilities")))
    with pytest.raises(InputError, match="end it with sigmoid"):
        build(request(tmp_path, SEQUENTIAL, meaning=Meaning(kind="multilabel", output="probabilities")))
    with pytest.raises(InputError, match="output: logits, but the model ends in sigmoid"):
        build(request(tmp_path, sigmoid, meaning=Meaning(kind="multilabel", output="logits")))


def names(model):
    signature = describe(model).signature
    return list(signature.inputs), list(signature.outputs)


def test_names_that_keras_made_up_become_input_and_output():
    layers = keras.layers
    keras.Input((1,))  # advances the counter
    assert names(keras.Sequential([keras.Input((4,)), layers.Conv1D, layers.Dense(3)][::2])) == (["input"], ["output"])
    a, b = keras.Input((4,)), keras.Input((2,))
    both = keras.Model([a, b], [layers.Dense(1)(a), layers.Dense(2)(b)])
    assert names(both) == (["input_0", "input_1"], ["output_0", "output_1"])
    image = keras.Input((8, 8, 1))
    assert names(keras.Model(image, layers.Conv2D(2, 3)(image))) == (["input"], ["output"])


def test_names_and_keys_of_the_user_are_kept():
    layers = keras.layers
    image, age = keras.Input((4,), name="image"), keras.Input((1,))
    logits = layers.Dense(3, name="logits")(layers.Concatenate()([image, age]))
    assert names(keras.Model([image, age], logits)) == (["image", "input_1"], ["logits"])
    keyed = keras.Model({"b": image, "a": age}, {"class/id": logits, "age": layers.Dense(1)(age)})
    assert sorted(names(keyed)[0]) == ["a", "b"]
    assert sorted(names(keyed)[1]) == ["age", "class_id"]


def test_an_output_never_has_the_name_of_an_input():
    x = keras.Input((4,), name="x")
    assert names(keras.Model({"x": x}, {"x": keras.layers.Dense(3)(x)})) == (["x"], ["x_output"])


def test_a_model_called_by_name_gives_what_it_gives_when_called_by_position():
    layers = keras.layers
    a, b = keras.Input((4,), name="a"), keras.Input((2,), name="b")
    model = keras.Model([b, a], {"wide": layers.Dense(5)(a), "sum": layers.Dense(1)(layers.Concatenate()([a, b]))})
    rows_a, rows_b = np.ones((3, 4), "float32"), np.full((3, 2), 2, "float32")
    direct = model([rows_b, rows_a])
    interface = describe(model)
    named = interface.call(model, {"a": rows_a, "b": rows_b})
    assert list(interface.signature.inputs) == ["b", "a"]
    for name, spec in interface.signature.outputs.items():
        np.testing.assert_allclose(named[name], direct[name])
        assert spec.shape == (None, direct[name].shape[1])


def test_a_model_of_the_users_own_class_needs_no_training_argument():
    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.drop, self.out = keras.layers.Dropout(0.5), keras.layers.Dense(3)

        def call(self, x):
            return self.out(self.drop(x))

    model = Net()
    rows = np.ones((2, 4), "float32")
    wanted = np.asarray(model(rows))

    found = describe(model)

    assert found.signature.outputs["output"].shape == (None, 3)
    assert np.array_equal(np.asarray(found.call(model, {"input": rows})["output"]), wanted)
