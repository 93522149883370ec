"""Models that come trained in a Keras file: opened by the library that wrote it, looked at before, refused in words."""

import json
import shutil
import zipfile

import numpy as np
import pytest

from tasks.foundations.errors import InputError
from tasks.models.load import InspectRequest, LoadRequest, inspect, load
from tasks.models.output import Meaning
from tasks.models.saved_model import open_keras
from tasks.models.signature import Signature
from tasks.models.sources.keras_file import KerasFile

keras = pytest.importorskip("keras")
tf = pytest.importorskip("tensorflow")
tf_keras = pytest.importorskip("tf_keras")
ROWS = np.random.default_rng(0).random((5, 4), "float32")
LAYERS = """
import keras

@keras.saving.register_keras_serializable("mine")
class Twice(keras.layers.Layer):
    def call(self, x):
        return 2 * x

class Thrice(keras.layers.Layer):
    def call(self, x):
        return 3 * x
"""


@pytest.fixture(autouse=True)
def as_registered_before():
    """What a test registers is not there for the next one."""
    known = {library: dict(library.saving.get_custom_objects()) for library in (keras, tf_keras)}
    yield
    for library, objects in known.items():
        library.saving.get_custom_objects().clear()
        library.saving.get_custom_objects().update(objects)


def small(library, *more):
    return library.Sequential([library.layers.Input((4,)), library.layers.Dense(3), *more])


def fitted(library):
    model = small(library)
    model.compile("adam", "mse")
    model.fit(ROWS, np.zeros((5, 3)), verbose=0)
    return model


def source(path, **more):
    return KerasFile(kind="keras_file", path=path.name, **more)


def meaning(output):
    return Meaning(kind="classification" if output else "regression", output=output)


def written(path, output=None, **more):
    """Look at a file and write its model folder."""
    out = path.parent / "out"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    found = inspect(InspectRequest(source=source(path, **more), folder=str(path.parent)))
    given = {"source": source(path, **more), "folder": str(path.parent), "meaning": meaning(output), "out": str(out)}
    load(LoadRequest(digest=found.digest, **given))
    return found, out


def answers(out, rows=ROWS):
    signature = Signature.read(out)
    served = tf.saved_model.load(str(out / "saved_model")).signatures["serving_default"]
    (name,), (answer,) = signature.inputs, signature.outputs
    return served(**{name: tf.constant(rows)})[answer].numpy()


@pytest.mark.parametrize("name", ["m.keras", "m.h5", "m.hdf5"])
@pytest.mark.parametrize(
    ("library", "form", "file"), [(keras, "keras", "model.keras"), (tf_keras, "tf_keras", "twin.keras")]
)
def test_a_file_of_either_library_becomes_a_model_folder_that_answers_the_same(tmp_path, library, form, file, name):
    model = fitted(library)
    if name == "m.hdf5" and library is keras:
        model.save(tmp_path / "m.h5")
        (tmp_path / "m.h5").rename(tmp_path / name)
    else:
        model.save(tmp_path / name)

    found, out = written(tmp_path / name, "logits")

    assert found.format == form
    assert sorted(path.name for path in out.iterdir()) == sorted([file, "saved_model", "signature.json"])
    assert (list(Signature.read(out).inputs), list(Signature.read(out).outputs)) == (["input"], ["output"])
    np.testing.assert_allclose(answers(out), np.asarray(model(ROWS)), atol=1e-6)


def test_the_digest_is_that_of_the_content_and_of_the_users_code(tmp_path):
    small(keras).save(tmp_path / "a.keras")
    shutil.copy(tmp_path / "a.keras", tmp_path / "b.keras")
    (tmp_path / "layers_a.py").write_text(LAYERS)

    one, same = (source(tmp_path / name).inspect(tmp_path).digest for name in ("a.keras", "b.keras"))
    with_code = source(tmp_path / "a.keras", custom_objects="layers_a.py").inspect(tmp_path).digest
    (tmp_path / "layers_a.py").write_text(LAYERS + "# changed\n")

    assert one == same
    assert (
        len({one, with_code, source(tmp_path / "a.keras", custom_objects="layers_a.py").inspect(tmp_path).digest}) == 3
    )


def test_a_last_layer_that_contradicts_the_task_is_refused(tmp_path):
    for library, name in ((keras, "a.keras"), (tf_keras, "b.keras")):
        small(library, library.layers.Softmax()).save(tmp_path / name)
        with pytest.raises(InputError, match="output: logits, but the model ends in softmax"):
            written(tmp_path / name, "logits")
        written(tmp_path / name, "probabilities")


def custom_file(tmp_path, library=keras):
    """A file with two layers of the user's own, one registered and one not, and the module that defines them."""

    @library.saving.register_keras_serializable("mine")
    class Twice(library.layers.Layer):
        def call(self, x):
            return 2 * x

    class Thrice(library.layers.Layer):
        def call(self, x):
            return 3 * x

    model = small(library, Twice(), Thrice())
    model.save(tmp_path / "own.keras")
    wanted = np.asarray(model(ROWS))
    library.saving.get_custom_objects().pop("mine>Twice")  # as in a process that has not seen the class
    return tmp_path / "own.keras", wanted


@pytest.mark.parametrize("library", [keras, tf_keras])
def test_layers_of_the_users_own_come_from_the_file_that_the_config_names(tmp_path, library):
    path, wanted = custom_file(tmp_path, library)
    module = f"own_{library.__name__}"
    (tmp_path / f"{module}.py").write_text(
        LAYERS.replace("keras", library.__name__).replace("register_tf_", "register_")
    )

    with pytest.raises(InputError, match=r"needs 2 class.*mine>Twice.*custom_objects: layers.py"):
        written(path)
    _, out = written(path, custom_objects=f"{module}.py")

    np.testing.assert_allclose(answers(out), wanted, atol=1e-5)


def test_a_class_that_the_users_code_does_not_define_is_named(tmp_path):
    path, _ = custom_file(tmp_path)
    (tmp_path / "half.py").write_text(LAYERS[: LAYERS.index("class Thrice")])

    with pytest.raises(InputError, match=r"needs 1 class.*not known here: Thrice\. Define them, or register"):
        written(path, custom_objects="half.py")


@pytest.mark.parametrize("library", [keras, tf_keras])
def test_a_function_of_the_users_own_is_named_and_taken(tmp_path, library):
    def leaky(x):
        return x * 0.5

    model = library.Sequential([library.layers.Input((4,)), library.layers.Dense(3, activation=leaky)])
    model.save(tmp_path / "f.keras")
    (tmp_path / f"functions_{library.__name__}.py").write_text("def leaky(x):\n    return x * 0.5\n")

    with pytest.raises(InputError, match="not known here: leaky"):
        written(tmp_path / "f.keras")
    _, out = written(tmp_path / "f.keras", custom_objects=f"functions_{library.__name__}.py")

    np.testing.assert_allclose(answers(out), np.asarray(model(ROWS)), atol=1e-6)


def test_a_file_that_changes_while_it_is_read_is_not_remembered_as_what_it_was(tmp_path):
    small(keras).save(tmp_path / "m.keras")
    (tmp_path / "out").mkdir()

    with pytest.raises(InputError, match="changed while it was read. Run the same command again"):
        given = {"source": source(tmp_path / "m.keras"), "folder": str(tmp_path), "out": str(tmp_path / "out")}
        load(LoadRequest(digest="another", **given))


def with_lambda(library):
    """Deep inside: a Lambda in a nested model."""
    inner = small(library, library.layers.Lambda(lambda x: x * 2, name="doubled"))
    whole = library.layers.Input((4,))
    return library.Model(whole, inner(whole))


@pytest.mark.parametrize("name", ["m.keras", "m.h5"])
@pytest.mark.parametrize("library", [keras, tf_keras])
def test_python_code_in_a_file_is_refused_before_it_could_run_and_opened_where_it_is_allowed(tmp_path, library, name):
    model = with_lambda(library)
    model.save(tmp_path / name)

    with pytest.raises(InputError, match=r"Lambda in layer 'doubled' holds Python code.*allow: \[Lambda\]"):
        source(tmp_path / name).inspect(tmp_path)
    _, out = written(tmp_path / name, allow=("Lambda",))

    np.testing.assert_allclose(answers(out), np.asarray(model(ROWS)), atol=1e-6)


def edited(tmp_path, change, name="edited.keras", library=keras):
    """A file whose configuration was written by somebody else than Keras."""
    small(library).save(tmp_path / "good.keras")
    with zipfile.ZipFile(tmp_path / "good.keras") as old, zipfile.ZipFile(tmp_path / name, "w") as new:
        for member in old.namelist():
            content = old.read(member)
            if member == "config.json":
                config = json.loads(content)
                change(config["config"]["layers"][1])
                content = json.dumps(config).encode()
            new.writestr(member, content)
    return tmp_path / name


UNSAFE = {
    "a marshalled activation": (
        keras,
        {"config": {"name": "d", "activation": {"class_name": "__lambda__", "config": {"code": "4wE="}}}},
        "Lambda in layer 'd' holds Python code",
    ),
    "another SavedModel": (
        keras,
        {"class_name": "TFSMLayer", "config": {"name": "t", "filepath": "/somewhere"}},
        "TFSMLayer in layer 't' holds the path of another SavedModel",
    ),
    "a pickled torch module": (
        keras,
        {"class_name": "TorchModuleWrapper", "config": {"name": "t", "module": "x"}},
        "TorchModuleWrapper in layer 't' holds a pickle",
    ),
    "a vocabulary read from a file": (
        keras,
        {"class_name": "StringLookup", "config": {"name": "s", "vocabulary": "/etc/passwd"}},
        r"StringLookup in layer 's' holds the path of a file to read \(/etc/passwd\)",
    ),
    "a TensorFlow function that writes": (
        tf_keras,
        {"class_name": "TFOpLambda", "config": {"name": "w", "function": "io.write_file"}},
        "TFOpLambda in layer 'w' holds a call of tf.io.write_file",
    ),
}


@pytest.mark.parametrize("case", UNSAFE)
def test_every_way_to_run_or_read_something_is_named(tmp_path, case):
    library, changes, sentence = UNSAFE[case]
    path = edited(tmp_path, lambda layer: layer.update(changes), library=library)

    with pytest.raises(InputError, match=sentence):
        source(path).inspect(tmp_path)


@pytest.mark.parametrize("library", [keras, tf_keras])
@pytest.mark.parametrize(
    ("module", "name"),
    [("os", "system"), ("keras.utils", "get_file"), ("keras.src.utils.file_utils", "get_file"), ("keras", "config")],
)
def test_what_is_no_part_of_a_model_is_an_unknown_class(tmp_path, library, module, name):
    called = {"module": module, "class_name": "function", "config": name, "registered_name": name}
    path = edited(tmp_path, lambda layer: layer["config"].update(activation=called), library=library)

    with pytest.raises(InputError, match=rf"not known here: {name}"):
        written(path)


def without(tmp_path, member):
    small(keras).save(tmp_path / "whole.keras")
    with zipfile.ZipFile(tmp_path / "whole.keras") as old, zipfile.ZipFile(tmp_path / "part.keras", "w") as new:
        for name in old.namelist():
            if name != member:
                new.writestr(name, old.read(name))
    return tmp_path / "part.keras"


def damaged(tmp_path, name, change):
    small(keras).save(tmp_path / name)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(change(content))
    return tmp_path / name


def unbuilt(tmp_path):
    model = keras.Sequential([keras.layers.Dense(3)])
    model.save(tmp_path / "m.keras")
    return tmp_path / "m.keras"


def weightless(tmp_path):
    keras.Sequential([keras.Input((4,)), keras.layers.ReLU()]).save(tmp_path / "m.keras")
    return tmp_path / "m.keras"


def own_class_of_tf_keras(tmp_path):
    @tf_keras.saving.register_keras_serializable("test_keras_file")
    class Own(tf_keras.Model):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.dense = tf_keras.layers.Dense(3)

        def call(self, x):
            return self.dense(x)

        def get_config(self):
            return {}

    model = Own()
    model(ROWS)
    model.save(tmp_path / "m.keras")
    return tmp_path / "m.keras"


def other_shape(tmp_path):
    def change(layer):
        layer["config"]["units"] = 7

    return edited(tmp_path, change)


def renamed(tmp_path, before, after):
    small(keras).save(tmp_path / before)
    (tmp_path / before).rename(tmp_path / after)
    return tmp_path / after


def weights_only(tmp_path):
    import h5py

    with h5py.File(tmp_path / "m.h5", "w") as file:
        file["kernel"] = ROWS
    return tmp_path / "m.h5"


BROKEN = {
    "truncated archive": (
        lambda t: damaged(t, "m.keras", lambda b: b[: len(b) // 2]),
        "truncated or damaged.*copy the",
    ),
    "truncated hdf5": (lambda t: damaged(t, "m.h5", lambda b: b[: len(b) // 2]), "truncated or damaged"),
    "a flipped byte": (
        lambda t: damaged(t, "m.keras", lambda b: b.replace(b"\x89HDF", b"\x89HDG", 1)),
        "the checksum of its model.weights.h5 is wrong",
    ),
    "empty": (lambda t: damaged(t, "m.keras", lambda b: b""), "is empty. Save or copy"),
    "text": (lambda t: damaged(t, "m.keras", lambda b: b"no model"), "is not a zip archive, as Keras writes it"),
    "hdf5 called keras": (lambda t: renamed(t, "m.h5", "m.keras"), "is an HDF5 file.*Rename it, like model.h5"),
    "keras called hdf5": (lambda t: renamed(t, "m.keras", "m.h5"), "is a zip archive.*Rename it, like model.keras"),
    "no config": (lambda t: without(t, "config.json"), "has no config.json, so it is no Keras file"),
    "no weights": (lambda t: without(t, "model.weights.h5"), "has no weights .no model.weights.h5 in it"),
    "weights only": (weights_only, "holds weights only, not the model that they belong to"),
    "weights of another shape": (other_shape, r"written by Keras 3, .*\) cannot be opened"),
    "not built": (unbuilt, "not built.*Input.shape=...., and save it again"),
    "nothing to serve": (weightless, "without weights"),
    "own class of tf_keras": (own_class_of_tf_keras, "tf_keras model of your own class.*kind: saved_model"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_file_that_gives_no_usable_model_is_refused_in_words(tmp_path, case):
    make, sentence = BROKEN[case]
    path = make(tmp_path)

    with pytest.raises(InputError, match=sentence):
        written(path)


def test_check_tells_of_paths_without_opening_anything(tmp_path):
    (tmp_path / "model.keras").touch()
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "saved_model.pb").touch()

    def said(path):
        return dict(KerasFile(kind="keras_file", path=path).problems(tmp_path)).get("path", "")

    assert said("model.keras") == ""
    assert "Did you mean model.keras? Keras files there: model.keras." in said("modle.keras")
    assert said("export").endswith("Write kind: saved_model.")
    assert "does not end in .keras, .h5, .hdf5" in said("model.onnx")
    assert "holds weights only" in said("m.weights.h5")


def test_a_model_of_the_users_own_class_of_keras_3_is_taken(tmp_path):
    (tmp_path / "own_net.py").write_text(
        "import keras\n\n@keras.saving.register_keras_serializable('own_net')\nclass Net(keras.Model):\n"
        "    def __init__(self, **kwargs):\n        super().__init__(**kwargs)\n"
        "        self.dense = keras.layers.Dense(3)\n\n    def call(self, x):\n        return self.dense(x)\n"
    )
    net = KerasFile(kind="keras_file", path="net.keras", custom_objects="own_net.py").import_code(tmp_path).Net()
    wanted = np.asarray(net(ROWS))
    net.save(tmp_path / "net.keras")

    _, out = written(tmp_path / "net.keras", custom_objects="own_net.py")

    np.testing.assert_allclose(answers(out), wanted, atol=1e-6)
    assert open_keras(out).trainable_weights
