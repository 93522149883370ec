"""The fit loop and the training job, on real tiny models."""

import json

import numpy as np
import pytest

from tasks.data.dataset import open_dataset
from tasks.foundations.errors import InputError, StepFailed
from tasks.models.build import BuildRequest, build
from tasks.models.output import Meaning
from tasks.models.saved_model import open_keras
from tasks.models.sources.keras_builder import KerasBuilder
from tasks.training import feed
from tasks.training.config import TrainingConfig
from tasks.training.fit import FitSettings, fit
from tasks.training.train import TrainRequest, train

keras = pytest.importorskip("keras")
L = keras.layers
ROWS = 75  # the last batch is shorter
SPARSE = "sparse_categorical_crossentropy"


def write(folder, split, inputs, labels):
    (folder / split / "inputs").mkdir(parents=True)
    for name, array in inputs.items():
        np.save(folder / split / "inputs" / f"{name}.npy", array)
    np.save(folder / split / "labels.npy", labels)
    return {"rows": len(labels), "inputs": dict.fromkeys(inputs), "slices": {}}


def dataset(folder, inputs, labels):
    """Train and validation of the same rows."""
    splits = {split: write(folder, split, inputs, labels) for split in ("train", "validation")}
    (folder / "dataset.json").write_text(json.dumps({"splits": splits}))
    return open_dataset(folder)


@pytest.fixture
def blobs(tmp_path):
    rng = np.random.default_rng(0)
    labels = np.arange(ROWS) % 3
    rows = (np.eye(3)[labels] * 3 + rng.normal(size=(ROWS, 3))).astype("float32")
    return dataset(tmp_path / "data", {"input": rows}, labels)


def plan(output="logits", seed=0, folder="", **settings):
    base = {"loss": SPARSE, "epochs": 5, "batch_size": 16, "optimizer": {"kind": "adam", "learning_rate": 0.03}}
    meaning = Meaning(kind="classification" if output else "regression", output=output)
    return FitSettings(
        training=TrainingConfig.model_validate(base | settings), meaning=meaning, seed=seed, folder=str(folder)
    )


def net(units=3, activation=None):
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input((3,)), L.Dense(8, activation="relu"), L.Dense(units, activation=activation)])


def test_a_model_learns_and_tells_every_epoch(blobs):
    told = []
    history = fit(net(), blobs, plan(epochs=8), lambda *what: told.append(what))
    assert history.epochs == history.best_epoch == 8
    assert set(history.metrics) == {"loss", "accuracy", "val_loss", "val_accuracy"}
    assert history.metrics["val_accuracy"][-1] > 0.9
    assert [(epoch, epochs) for epoch, epochs, *_ in told] == [(epoch, 8) for epoch in range(1, 9)]
    assert told[-1][2:] == (history.metrics["loss"][-1], history.metrics["accuracy"][-1])


def test_probabilities_and_logits_of_the_same_model_are_judged_alike(blobs):
    logits = fit(net(), blobs, plan("logits", epochs=1))
    probabilities = fit(net(activation="softmax"), blobs, plan("probabilities", epochs=1))
    np.testing.assert_allclose(logits.metrics["loss"], probabilities.metrics["loss"], rtol=1e-4)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(blobs):
    models = [net() for _ in range(3)]
    for model, seed in zip(models, (0, 0, 1), strict=True):
        fit(model, blobs, plan(epochs=2, seed=seed))
    first, second, third = (model.get_weights()[0] for model in models)
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, third)


def test_mapped_arrays_are_fed_exactly_as_small_ones_are(blobs, monkeypatch):
    small, large = net(), net()
    fit(small, blobs, plan(epochs=2))
    monkeypatch.setattr(feed, "IN_MEMORY_BYTES", 0)
    fit(large, blobs, plan(epochs=2))
    for one, other in zip(small.get_weights(), large.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_every_epoch_holds_each_row_once_in_a_new_order():
    rows = np.arange(10, dtype="int64")
    batches = feed.batches({"x": rows}, (rows * 2,), 4, lambda named: named["x"], seed=7)
    epochs = [[(inputs.numpy(), labels.numpy()) for inputs, labels in batches] for _ in range(2)]
    orders = [np.concatenate([inputs for inputs, _ in epoch]) for epoch in epochs]
    assert [len(inputs) for inputs, _ in epochs[0]] == [4, 4, 2]
    assert sorted(orders[0]) == sorted(orders[1]) == rows.tolist()
    assert orders[0].tolist() != orders[1].tolist()
    np.testing.assert_array_equal(np.concatenate([labels for _, labels in epochs[1]]), orders[1] * 2)


@pytest.mark.slow
def test_several_inputs_reach_the_model_by_name(tmp_path):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(ROWS, 2)).astype("float32"), rng.normal(size=(ROWS, 2)).astype("float32")
    data = dataset(tmp_path / "data", {"a": a, "b": b}, (a - b).sum(1))  # only right if a and b are not swapped
    left, right = keras.Input((2,), name="b"), keras.Input((2,), name="a")
    model = keras.Model([left, right], L.Subtract()([L.Dense(1)(right), L.Dense(1)(left)]))
    settings = {"loss": "mse", "epochs": 30, "optimizer": {"kind": "adam", "learning_rate": 0.1}}
    history = fit(model, data, plan(None, **settings))
    assert history.metrics["val_mae"][-1] < 0.1
    keyed = keras.Model({"a": right, "b": left}, model([left, right]))
    assert fit(keyed, data, plan(None, **settings | {"epochs": 1})).metrics["val_mae"][-1] < 0.3


def test_a_single_output_classifier_is_judged_at_the_right_threshold(tmp_path):
    rows = np.linspace(-1, 1, 40, dtype="float32")[:, None]
    data = dataset(tmp_path / "data", {"input": rows}, (rows[:, 0] > 0).astype("int64"))
    for output, activation in (("logits", None), ("probabilities", "sigmoid")):
        model = keras.Sequential([keras.Input((1,)), L.Dense(1, activation=activation, kernel_initializer="ones")])
        history = fit(model, data, plan(output, loss="binary_crossentropy", epochs=1, optimizer={"kind": "sgd"}))
        assert history.metrics["val_accuracy"][-1] > 0.9


def test_early_stopping_goes_back_to_the_best_epoch(blobs):
    model = net()
    stopping = {"patience": 2, "min_delta": 0.0}
    wild = {"optimizer": {"kind": "sgd", "learning_rate": 3.0}, "epochs": 30, "early_stopping": stopping}
    history = fit(model, blobs, plan(**wild))
    losses = history.metrics["val_loss"]
    assert history.epochs < 30
    assert history.best_epoch == int(np.argmin(losses)) + 1
    rows, labels = blobs["validation"].input_arrays()["input"], blobs["validation"].labels()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(labels, model(rows))
    assert float(loss) == pytest.approx(min(losses), rel=1e-4)


def test_a_training_that_diverges_says_when_and_what_to_try(blobs):
    settings = {"loss": "mse", "optimizer": {"kind": "sgd", "learning_rate": 1e6}}
    with pytest.raises(StepFailed, match=r"became (nan|inf) in epoch \d of 5.*smaller learning rate \(now 1000000.0\)"):
        fit(net(1), blobs, plan(None, **settings))


def test_the_users_own_loss_is_used(blobs, tmp_path):
    (tmp_path / "own_loss.py").write_text("def zero(labels, outputs):\n    return outputs[:, 0] * 0.0 + 7.0\n")
    history = fit(net(), blobs, plan(loss="own_loss.py:zero", epochs=1, folder=tmp_path))
    assert history.metrics["loss"] == (7.0,)


def test_what_the_users_loss_raises_is_one_sentence_with_its_place(blobs, tmp_path):
    (tmp_path / "sad_loss.py").write_text("def sad(labels, outputs):\n    raise KeyError('kaput')\n")

    with pytest.raises(InputError, match=r"training: your code raised KeyError: 'kaput' \(sad_loss.py, line 2\)"):
        fit(net(), blobs, plan(loss="sad_loss.py:sad", epochs=1, folder=tmp_path))


@pytest.mark.parametrize(
    ("units", "output", "settings", "sentence"),
    [
        (3, None, {}, "does not fit the task regression"),
        (3, "logits", {"loss": "mse"}, "does not fit the task classification"),
        (1, "logits", {}, "needs binary_crossentropy"),
        (3, "logits", {"loss": "binary_crossentropy"}, "3 outputs, which need sparse_categorical_crossentropy"),
        (3, "logits", {"early_stopping": {"monitor": "val_mae"}}, "Use val_loss or val_accuracy"),
    ],
)
def test_settings_that_do_not_fit_the_model_are_refused(blobs, units, output, settings, sentence):
    with pytest.raises(InputError, match=sentence):
        fit(net(units), blobs, plan(output, **settings))


def heads(library=keras):
    """Two heads on one body, in a dict."""
    library.utils.set_random_seed(0)
    x = library.Input((3,), name="input")
    body = library.layers.Dense(8, activation="relu", name="body")(x)
    outputs = {name: library.layers.Dense(units, name=name)(body) for name, units in (("blob", 3), ("first", 1))}
    return library.Model(x, outputs)


def custom(loss, **settings):
    return plan(loss=loss, **settings).model_copy(update={"meaning": Meaning(kind="custom", output="logits")})


@pytest.mark.parametrize("name", ["keras", "tf_keras"])
def test_the_labels_of_a_model_of_two_outputs_fit_the_judged_one_and_leave_the_other(blobs, name):
    model = heads(pytest.importorskip(name))
    before = {layer.name: layer.get_weights() for layer in model.layers}
    settings = plan(epochs=8).model_copy(
        update={"meaning": Meaning(kind="classification", output="logits", judged="blob")}
    )
    history = fit(model, blobs, settings)
    assert history.metrics["val_accuracy"][-1] > 0.9
    np.testing.assert_array_equal(model.get_layer("first").get_weights()[0], before["first"][0])
    assert not np.array_equal(model.get_layer("blob").get_weights()[0], before["blob"][0])


@pytest.fixture
def named(tmp_path, blobs):
    """The blobs with labels by output: which one, and whether it is the first."""
    folder = tmp_path / "data"
    for split in ("train", "validation"):
        labels = blobs[split].labels()
        (folder / split / "labels").mkdir()
        np.save(folder / split / "labels" / "blob.npy", labels)
        np.save(folder / split / "labels" / "first.npy", (labels == 0).astype("float32")[:, None])
    return {split: each.model_copy(update={"targets": ("blob", "first")}) for split, each in blobs.items()}


@pytest.mark.parametrize("name", ["keras", "tf_keras"])
def test_every_output_with_labels_has_its_own_loss(named, name):
    model = heads(pytest.importorskip(name))
    history = fit(model, named, custom({"first": "binary_crossentropy", "blob": SPARSE}, epochs=8))
    said = model.predict(np.array(named["validation"].input_arrays()["input"]), verbose=0)
    assert np.mean(said["blob"].argmax(1) == named["validation"].labels()["blob"]) > 0.9
    assert np.mean((said["first"][:, 0] > 0) == (named["validation"].labels()["first"][:, 0] == 1)) > 0.9
    assert history.metrics["loss"][-1] < history.metrics["loss"][0] / 2


def test_a_model_of_a_class_of_the_users_own_with_two_outputs_is_fitted(named):
    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.body, self.blob, self.first = L.Dense(8, activation="relu"), L.Dense(3), L.Dense(1)

        def call(self, inputs):
            x = self.body(inputs)
            return {"blob": self.blob(x), "first": self.first(x)}

    model = Net()
    model(np.zeros((1, 3), "float32"))
    history = fit(model, named, custom({"first": "binary_crossentropy", "blob": SPARSE}, epochs=8))
    assert history.metrics["loss"][-1] < history.metrics["loss"][0] / 2


def test_a_class_a_time_step_is_learnt(tmp_path):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(ROWS, 5, 3)).astype("float32")
    data = dataset(tmp_path / "steps", {"input": rows}, rows.argmax(-1))
    keras.utils.set_random_seed(0)
    history = fit(keras.Sequential([keras.Input((5, 3)), L.Dense(3)]), data, custom(SPARSE, epochs=8))
    assert history.metrics["loss"][-1] < history.metrics["loss"][0] / 2
    assert set(history.metrics) == {"loss", "val_loss"}


def test_labels_that_a_loss_would_stretch_to_the_outputs_are_refused(tmp_path):
    rows = np.zeros((ROWS, 5, 3), "float32")
    data = dataset(tmp_path / "steps", {"input": rows}, np.zeros((ROWS, 5), "float32"))
    model = keras.Sequential([keras.Input((5, 3)), L.Dense(3)])
    with pytest.raises(InputError, match=r"labels of 'output' has shape \(5,\), the.* \(5, 3\); mse needs"):
        fit(model, data, custom("mse"))


@pytest.mark.parametrize(
    ("loss", "sentence"),
    [
        ({"blob": SPARSE}, "there are labels for first, and no loss"),
        ({"blob": SPARSE, "frist": "mse"}, "no labels for 'frist'. Did you mean first?"),
    ],
)
def test_losses_and_labels_of_several_outputs_must_have_the_same_names(named, loss, sentence):
    with pytest.raises(InputError, match=sentence):
        fit(heads(), named, custom(loss))


def test_one_array_of_labels_for_several_outputs_of_a_custom_task_is_refused(blobs):
    with pytest.raises(InputError, match=r"outputs blob, first, and the labels are one array.*by output name"):
        fit(heads(), blobs, custom(SPARSE))


def test_a_softmax_where_the_custom_task_says_logits_is_refused(blobs):
    with pytest.raises(InputError, match="output: logits, but the model ends in softmax"):
        fit(net(activation="softmax"), blobs, custom(SPARSE))


@pytest.mark.slow
@pytest.mark.parametrize(("output", "activation"), [("logits", None), ("probabilities", "sigmoid")])
def test_labels_that_are_each_yes_or_no_are_learnt(tmp_path, output, activation):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(ROWS, 3)).astype("float32")
    data = dataset(tmp_path / "sets", {"input": rows}, (rows > 0).astype("float32"))
    settings = plan(loss="binary_crossentropy", epochs=20).model_copy(
        update={"meaning": Meaning(kind="multilabel", output=output)}
    )
    history = fit(net(activation=activation), data, settings)
    assert history.metrics["val_accuracy"][-1] > 0.9


def job(tmp_path, code, name):
    (tmp_path / f"{name}.py").write_text(f"import keras\nfrom keras import layers as L\n{code}")
    source = KerasBuilder(kind="keras_builder", entrypoint=f"{name}.py:build")
    built = build(BuildRequest(source=source, folder=str(tmp_path), seed=3))
    (tmp_path / "out").mkdir()
    return TrainRequest(source=source, fingerprint=built.fingerprint, dataset=str(tmp_path / "data"),
                        settings=plan(seed=3, folder=tmp_path, epochs=2), out=str(tmp_path / "out"))  # fmt: skip


def test_the_job_leaves_a_model_folder_that_answers_as_it_was_trained(blobs, tmp_path):
    code = "def build():\n    return keras.Sequential([keras.Input((3,)), L.Dropout(0.1), L.Dense(3)])\n"
    request = job(tmp_path, code, "trained_by_job")
    result = train(request)
    out = tmp_path / "out"
    assert sorted(path.name for path in out.iterdir()) == [
        "model.keras", "saved_model", "signature.json", "training.json"]  # fmt: skip
    written = json.loads((out / "training.json").read_text())
    assert written["epochs"] == result.epochs == 2
    assert written["metrics"]["val_loss"][-1] == result.final["val_loss"]
    assert list(result.signature.outputs) == ["output"]
    rows, labels = blobs["validation"].input_arrays()["input"], blobs["validation"].labels()
    accuracy = np.mean(np.argmax(open_keras(out)(rows), axis=1) == labels)
    assert accuracy == pytest.approx(result.final["val_accuracy"])


def test_a_builder_with_randomness_of_its_own_is_refused(blobs, tmp_path):
    code = (
        "import numpy as np\nrng = np.random.default_rng()\ndef build():\n"
        "    m = keras.Sequential([keras.Input((3,)), L.Dense(3)])\n"
        "    m.set_weights([rng.normal(size=(3, 3)), np.zeros(3)])\n    return m\n"
    )
    with pytest.raises(InputError, match="gave two different models"):
        train(job(tmp_path, code, "random_builder"))


@pytest.mark.slow
def test_a_tf_keras_model_is_trained_by_the_same_loop(blobs):
    tf_keras = pytest.importorskip("tf_keras")
    tf_keras.utils.set_random_seed(0)
    model = tf_keras.Sequential(
        [tf_keras.layers.Dense(8, activation="relu", input_shape=(3,)), tf_keras.layers.Dense(3)]
    )
    history = fit(model, blobs, plan(epochs=8, optimizer={"kind": "adam", "learning_rate": 0.03}))
    assert history.metrics["val_accuracy"][-1] > 0.9
