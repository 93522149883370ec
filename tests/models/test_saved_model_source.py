"""SavedModels of whatever made them: one signature, by normalized names, with all that it needs; refused in words."""

import shutil

import numpy as np
import pytest

from tasks.foundations.errors import InputError, StepFailed
from tasks.models.load import InspectRequest, LoadRequest, inspect, load
from tasks.models.output import Meaning
from tasks.models.signature import Signature
from tasks.models.sources.saved_model import SavedModel

keras = pytest.importorskip("keras")
tf = pytest.importorskip("tensorflow")
tf_keras = pytest.importorskip("tf_keras")
ROWS = np.random.default_rng(0).random((5, 4), "float32")


def source(path, **more):
    return SavedModel(kind="saved_model", path=str(path), **more)


def meaning(output):
    return Meaning(kind="classification" if output else "regression", output=output)


def written(path, output=None, **more):
    """Look at a folder and write its model folder; the original is gone by then, so nothing may refer to it."""
    out = path.parent / "out"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    found = inspect(InspectRequest(source=source(path, **more), folder=str(path.parent)))
    given = {"source": source(path, **more), "folder": str(path.parent), "meaning": meaning(output), "out": str(out)}
    load(LoadRequest(digest=found.digest, **given))
    assert found.format == "saved_model"
    return out


def served(out):
    return tf.saved_model.load(str(out / "saved_model")).signatures["serving_default"]


def linear(units=3, *, shape=(None, 4)):
    """A module without Keras, and its function."""
    root = tf.Module()
    root.weights = tf.Variable(np.random.default_rng(1).random((4, units)).astype("float32"))
    function = tf.function(lambda rows: {"scores": rows @ root.weights}, autograph=False)
    return root, function.get_concrete_function(rows=tf.TensorSpec(shape, tf.float32, name="rows"))


def export_linear(folder, name="serving_default"):
    root, function = linear()
    tf.saved_model.save(root, str(folder), signatures={name: function})
    return ROWS @ root.weights.numpy()


def test_a_model_without_keras_keeps_its_names_and_answers_the_same(tmp_path):
    wanted = export_linear(tmp_path / "export")

    out = written(tmp_path / "export")
    shutil.rmtree(tmp_path / "export")

    signature = Signature.read(out)
    assert (list(signature.inputs), list(signature.outputs)) == (["rows"], ["scores"])
    assert signature.inputs["rows"].shape == (None, 4)
    np.testing.assert_allclose(served(out)(rows=tf.constant(ROWS))["scores"], wanted, atol=1e-6)
    assert sorted(path.name for path in out.iterdir()) == ["saved_model", "signature.json"]


@pytest.mark.parametrize("library", [keras, tf_keras])
def test_an_export_of_keras_gets_stable_names(tmp_path, library):
    layers = library.layers
    layers.Dense(1)(library.Input((2,)))  # advances the counter of made-up names
    model = library.Sequential([library.Input((4,)), layers.Dense(3), layers.BatchNormalization()])
    model.export(str(tmp_path / "export"))

    out = written(tmp_path / "export")

    (name,) = Signature.read(out).inputs
    assert name == "input" or library is tf_keras
    (answer,) = served(out)(**{name: tf.constant(ROWS)}).values()
    np.testing.assert_allclose(answer, np.asarray(model(ROWS)), atol=1e-6)


def test_several_inputs_and_outputs_free_dimensions_and_dtypes_are_kept(tmp_path):
    root = tf.Module()
    root.table = tf.Variable(np.arange(30, dtype="float32").reshape(10, 3))

    def call(words, **others):
        pooled = tf.reduce_mean(tf.gather(root.table, words), axis=1)
        return {
            "class/scores": pooled + others["more"],
            "words": tf.cast(tf.shape(words)[:1], tf.float32) * 0 + pooled[:, 0],
        }

    function = tf.function(call, autograph=False).get_concrete_function(
        words=tf.TensorSpec((None, None), tf.int64), more=tf.TensorSpec((None, 3), tf.float32)
    )
    tf.saved_model.save(root, str(tmp_path / "export"), signatures={"rank": function})

    out = written(tmp_path / "export", signature="rank")

    signature = Signature.read(out)
    assert {name: (spec.dtype, spec.shape) for name, spec in signature.inputs.items()} == {
        "more": ("float32", (None, 3)),
        "words": ("int64", (None, None)),
    }
    assert list(signature.outputs) == ["class_scores", "words_output"]  # ONNX has no two tensors of one name
    for length in (2, 7):
        answers = served(out)(words=tf.ones((5, length), tf.int64), more=tf.ones((5, 3)))
        np.testing.assert_allclose(answers["class_scores"], np.tile([4, 5, 6], (5, 1)))
        assert set(answers) == {"class_scores", "words_output"}


def test_strings_and_their_vocabulary_go_with_the_model(tmp_path):
    (tmp_path / "words.txt").write_text("a\nb\n")
    root = tf.Module()
    initializer = tf.lookup.TextFileInitializer(
        str(tmp_path / "words.txt"),
        tf.string,
        tf.lookup.TextFileIndex.WHOLE_LINE,
        tf.int64,
        tf.lookup.TextFileIndex.LINE_NUMBER,
    )
    root.lookup = tf.lookup.StaticVocabularyTable(initializer, 1)
    root.table = tf.Variable([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    function = tf.function(lambda text: {"y": tf.gather(root.table, root.lookup.lookup(text))}, autograph=False)
    function = function.get_concrete_function(text=tf.TensorSpec((None,), tf.string))
    tf.saved_model.save(root, str(tmp_path / "export"), signatures={"serving_default": function})

    out = written(tmp_path / "export")
    shutil.rmtree(tmp_path / "export")
    (tmp_path / "words.txt").unlink()

    assert Signature.read(out).inputs["text"].dtype == "str"
    answers = served(out)(text=tf.constant(["b", "zzz", "a"]))["y"]
    np.testing.assert_array_equal(answers, [[3, 4], [5, 6], [1, 2]])


def test_a_keras_lookup_goes_with_the_model(tmp_path):
    words = keras.Input((1,), dtype="string", name="words")
    indexes = keras.layers.StringLookup(vocabulary=["a", "b"])(words)
    model = keras.Model(words, keras.layers.Dense(2)(keras.layers.Flatten()(keras.layers.Embedding(3, 2)(indexes))))
    model.export(str(tmp_path / "export"), verbose=False)
    rows = tf.constant([["a"], ["b"], ["c"]])

    out = written(tmp_path / "export")

    (answer,) = served(out)(words=rows).values()
    np.testing.assert_allclose(answer, np.asarray(model(rows)), atol=1e-6)


def test_only_the_chosen_signature_and_its_weights_are_written(tmp_path):
    root, small = linear()
    root.other = tf.Variable(tf.ones((4, 500)))
    other = tf.function(lambda rows: rows @ root.other).get_concrete_function(rows=tf.TensorSpec((None, 4)))
    tf.saved_model.save(root, str(tmp_path / "export"), signatures={"serving_default": small, "other": other})

    out = written(tmp_path / "export")

    listed = tf.train.list_variables(str(out / "saved_model" / "variables" / "variables"))
    assert [shape for name, shape in listed if name != "_CHECKPOINTABLE_OBJECT_GRAPH"] == [[4, 3]]
    assert list(tf.saved_model.load(str(out / "saved_model")).signatures) == ["serving_default"]


def test_the_digest_is_that_of_the_content(tmp_path):
    export_linear(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    (tmp_path / "b" / "fingerprint.pb").write_bytes(b"another")
    first, second = (source(tmp_path / name).inspect(tmp_path).digest for name in ("a", "b"))
    data = next((tmp_path / "b" / "variables").glob("variables.data*"))
    data.write_bytes(data.read_bytes()[:-1] + b"x")

    assert first == second
    assert source(tmp_path / "b").inspect(tmp_path).digest != first


def test_answers_that_contradict_the_task_are_refused(tmp_path):
    for name, last in (("logits", tf.identity), ("probabilities", tf.nn.softmax)):
        root, _ = linear()
        function = tf.function(lambda rows, root=root, last=last: {"y": last(rows @ root.weights + [1.0, 2.0, 3.0])})
        function = function.get_concrete_function(rows=tf.TensorSpec((None, 4)))
        tf.saved_model.save(root, str(tmp_path / name), signatures={"serving_default": function})
        written(tmp_path / name, name)

    with pytest.raises(InputError, match="output: logits, but the rows that the model answers.*sum to 1"):
        written(tmp_path / "probabilities", "logits")
    with pytest.raises(InputError, match="output: probabilities, but the rows.*do not sum to 1"):
        written(tmp_path / "logits", "probabilities")


def save_with(tmp_path, body, spec=None):
    """A SavedModel whose function does something beside computing."""
    root, _ = linear()
    spec = spec or tf.TensorSpec((None, 4), tf.float32)
    function = tf.function(lambda rows: {"y": body(rows)}, autograph=False).get_concrete_function(rows=spec)
    tf.saved_model.save(root, str(tmp_path / "export"), signatures={"serving_default": function})
    return tmp_path / "export"


def python(rows):
    result = tf.py_function(lambda x: x, [rows], tf.float32)
    result.set_shape((None, 4))
    return result


def reading(rows):
    return rows + tf.strings.to_number(tf.io.read_file("/tmp/number"))


def writing(rows):
    with tf.control_dependencies([tf.io.write_file("/tmp/never-written", "x")]):
        return tf.identity(rows)


def printing(rows):
    with tf.control_dependencies([tf.print("x", output_stream="file:///tmp/never-printed")]):
        return tf.identity(rows)


def in_a_branch(rows):
    return tf.cond(tf.reduce_sum(rows) > 1e9, lambda: reading(rows), lambda: rows)


def restoring(rows):
    (read,) = tf.raw_ops.RestoreV2(prefix="/tmp/p", tensor_names=["a"], shape_and_slices=[""], dtypes=[tf.float32])
    return rows + tf.ensure_shape(read, ())


UNSAFE = {
    "Python": (python, "EagerPyFunc runs Python code"),
    "a file that is read": (reading, "ReadFile reads files"),
    "a file that is written": (writing, "WriteFile writes files"),
    "a print into a file": (printing, "PrintV2 prints into a file"),
    "inside a branch": (in_a_branch, "ReadFile reads files"),
    "a checkpoint that is read while serving": (restoring, "RestoreV2 reads or writes files"),
}


@pytest.mark.parametrize("case", UNSAFE)
def test_an_operation_that_reaches_beyond_the_model_is_refused_before_loading(tmp_path, case):
    body, sentence = UNSAFE[case]
    path = save_with(tmp_path, body)

    with pytest.raises(InputError, match=rf"not loaded.*{sentence}.*write allow: \["):
        source(path).inspect(tmp_path)


def test_an_operation_that_is_allowed_is_taken_and_prints_to_the_screen_need_not_be(tmp_path):
    def body(rows):
        with tf.control_dependencies([tf.print("x")]):
            return tf.identity(rows)

    written(save_with(tmp_path, body))
    (tmp_path / "number").write_text("2")
    shutil.rmtree(tmp_path / "export")
    path = save_with(tmp_path, lambda rows: rows + tf.strings.to_number(tf.io.read_file(str(tmp_path / "number"))))

    out = written(path, allow=("ReadFile",))

    np.testing.assert_allclose(served(out)(rows=tf.constant(ROWS))["y"], ROWS + 2)


def export_without_signature(folder):
    root, _ = linear()
    tf.saved_model.save(root, str(folder / "export"))


def damage(folder, name, change):
    export_linear(folder / "export")
    path = folder / "export" / name
    path.write_bytes(change(path.read_bytes()))


def lose(folder, name):
    export_linear(folder / "export")
    path = folder / "export" / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()


BROKEN = {
    "no signature": (
        export_without_signature,
        "has no signature, so it cannot be called by names. Export one: model.exp",
    ),
    "another signature": (
        lambda t: export_linear(t / "export", "serving_defalt"),
        "no signature 'serving_default'. It has: serving_defalt. Did you mean serving_defalt?",
    ),
    "a signature of quite another name": (
        lambda t: export_linear(t / "export", "rank"),
        "It has: rank. Write signature: rank.",
    ),
    "truncated graph": (
        lambda t: damage(t, "saved_model.pb", lambda b: b[: len(b) // 2]),
        "truncated or no SavedModel",
    ),
    "empty graph": (lambda t: damage(t, "saved_model.pb", lambda b: b""), "is empty. Export or copy"),
    "no graph": (lambda t: lose(t, "saved_model.pb"), "has no saved_model.pb, so it is no SavedModel"),
    "no weights": (lambda t: lose(t, "variables"), "its weights are missing. Copy the whole folder"),
    "fixed batch": (
        lambda t: save_with(t, lambda rows: rows, tf.TensorSpec((8, 4))),
        r"input 'rows' has shape \(8, 4\). The first dimension is the batch and must be free",
    ),
    "no dimension": (lambda t: save_with(t, lambda rows: rows, tf.TensorSpec(())), "must be free"),
    "unknown rank": (lambda t: save_with(t, lambda rows: rows, tf.TensorSpec(None)), "unknown rank"),
    "bfloat16": (
        lambda t: save_with(t, lambda rows: rows, tf.TensorSpec((None, 4), tf.bfloat16)),
        "is bfloat16, which",
    ),
    "a sequence": (
        lambda t: save_with(t, lambda rows: rows, tf.TensorSpec((None, 4, 2))),
        r"its output 'y' has shape \(4, 2\) a row",
    ),
    "an answer without rows": (lambda t: save_with(t, tf.reduce_sum), r"output 'y' has shape \(\)"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_folder_that_gives_no_usable_model_is_refused_in_words(tmp_path, case):
    make, sentence = BROKEN[case]
    make(tmp_path)

    with pytest.raises(InputError, match=sentence):
        written(tmp_path / "export")


def test_truncated_weights_are_told(tmp_path):
    export_linear(tmp_path / "export")
    data = next((tmp_path / "export" / "variables").glob("variables.data*"))
    data.write_bytes(data.read_bytes()[:20])

    with pytest.raises((InputError, StepFailed), match=r"cannot load .*Check that the whole folder was copied"):
        written(tmp_path / "export")


def test_check_tells_of_paths_without_opening_anything(tmp_path):
    export_linear(tmp_path / "export" / "1")
    (tmp_path / "model.keras").touch()
    (tmp_path / "empty").mkdir()

    def said(path):
        return dict(SavedModel(kind="saved_model", path=path).problems(tmp_path)).get("path", "")

    assert said("export/1") == ""
    assert said("export").endswith("The SavedModel lies in it: write export/1.")
    assert "kind: keras_file" in said("model.keras")
    assert "so it is no SavedModel" in said("empty")
    assert "there is no folder" in said("nowhere")
