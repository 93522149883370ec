"""An exported file is the SavedModel: its names, its numbers, free batch, no leftovers, always the same bytes."""

import os
import subprocess
import sys
from collections import Counter

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from tasks.foundations.errors import InputError, StepFailed
from tasks.models import onnx_file, onnx_parity
from tasks.models.signature import Signature
from tests.models.onnx_zoo import MODELS, run_export, write_keras, write_module, write_rows

tf = pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")


def operators(folder):
    return Counter(node.op_type for node in onnx.load(folder / "model.onnx").graph.node)


def optimized_operators(folder, scratch):
    onnx_file.session(folder / "model.onnx", outputs=scratch / "optimized.onnx")
    return Counter(node.op_type for node in onnx.load(scratch / "optimized.onnx").graph.node)


def dims(value):
    return [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]


@pytest.mark.parametrize("name", MODELS)
def test_every_architecture_gives_the_numbers_of_its_saved_model(example, name):
    made = example(name)
    for figures in made.result.parity.values():
        assert figures.rows == 48
        assert figures.max_abs <= 1e-5 * figures.scale
        assert figures.top1 in (1.0, None)


@pytest.mark.parametrize("name", MODELS)
def test_inputs_and_outputs_have_the_names_and_order_of_the_signature_and_a_free_batch(example, name):
    made = example(name)
    signature = Signature.read(made.source)
    graph = onnx.load(made.onnx / "model.onnx").graph
    assert [value.name for value in graph.input] == list(signature.inputs)
    assert [value.name for value in graph.output] == list(signature.outputs)
    assert all(dims(value)[0] == "batch" for value in (*graph.input, *graph.output))
    assert Signature.read(made.onnx) == signature


def test_dict_inputs_are_not_swapped(example):
    made = example("two_inputs")
    graph = onnx.load(made.onnx / "model.onnx").graph
    assert [(value.name, dims(value)) for value in graph.input] == [("b", ["batch", 3]), ("a", ["batch", 4])] or [
        (value.name, dims(value)) for value in graph.input
    ] == [("a", ["batch", 4]), ("b", ["batch", 3])]


def test_other_free_dimensions_are_named_after_their_tensor(example):
    graph = onnx.load(example("free_length").onnx / "model.onnx").graph
    assert dims(graph.input[0]) == ["batch", f"{graph.input[0].name}_dim1", 8]
    assert dims(graph.output[0]) == ["batch", f"{graph.output[0].name}_dim1", 3]


def test_a_free_length_stays_free(example):
    made = example("free_length")
    session = ort.InferenceSession(made.onnx / "model.onnx", providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    for shape in ((1, 3, 8), (5, 11, 8)):
        assert session.run(None, {name: np.ones(shape, np.float32)})[0].shape == (*shape[:2], 3)


@pytest.mark.parametrize("name", ["digits", "transformer", "lstm"])
def test_no_shape_is_computed_at_run_time(example, name):
    found = operators(example(name).onnx)
    assert not {"Shape", "Gather", "Concat", "Expand", "Cast", "ReduceProd"} & set(found), found


def test_default_gelu_becomes_the_runtimes_own_gelu(example, tmp_path):
    made = example("gelu")
    assert operators(made.onnx)["Erf"] == 1
    assert optimized_operators(made.onnx, tmp_path)["Gelu"] == 1


def test_layer_normalization_is_one_operator(example):
    assert operators(example("transformer").onnx)["LayerNormalization"] == 2


def test_opset_and_ir_are_portable_and_nothing_says_when_it_was_made(example):
    model = onnx.load(example("digits").onnx / "model.onnx")
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 17)]
    assert model.ir_version == 8
    assert not model.producer_name and not model.doc_string and not model.metadata_props


@pytest.mark.parametrize("name", ["digits", "transformer"])
def test_the_same_saved_model_gives_the_same_bytes_again(example, tmp_path, name):
    made = example(name)
    run_export(made.source, made.split, tmp_path / "again")
    assert (tmp_path / "again" / "model.onnx").read_bytes() == (made.onnx / "model.onnx").read_bytes()


def test_another_process_gives_the_same_bytes(example, tmp_path):
    made = example("transformer")
    (tmp_path / "other").mkdir()
    script = (
        "import sys\nfrom tasks.models.onnx_export import ExportRequest, export\n"
        "export(ExportRequest.model_validate_json(sys.argv[1]))"
    )
    from tasks.models.onnx_export import ExportRequest

    request = ExportRequest(source=str(made.source), inputs=made.split.input_files(), out=str(tmp_path / "other"))
    environment = os.environ | {"PYTHONHASHSEED": "77", "CUDA_VISIBLE_DEVICES": "-1"}
    subprocess.run([sys.executable, "-c", script, request.model_dump_json()], check=True, env=environment)
    assert (tmp_path / "other" / "model.onnx").read_bytes() == (made.onnx / "model.onnx").read_bytes()


def test_plain_erfc_is_converted_too(tmp_path):
    signature = write_module(tmp_path / "m", lambda x: {"y": tf.math.erfc(x)}, x=(None, 5))
    result = run_export(tmp_path / "m", write_rows(tmp_path / "s", signature), tmp_path / "o")
    assert result.parity["y"].max_abs < 1e-6


def test_an_output_that_is_an_input_or_given_twice_keeps_its_name(tmp_path):
    signature = write_module(tmp_path / "m", lambda x: {"same": x, "one": x + 1.0, "two": x + 1.0}, x=(None, 5))
    result = run_export(tmp_path / "m", write_rows(tmp_path / "s", signature), tmp_path / "o")
    assert {name: figures.max_abs for name, figures in result.parity.items()} == {"same": 0, "one": 0, "two": 0}


def test_an_input_that_the_model_ignores_can_still_be_fed(tmp_path):
    signature = write_module(tmp_path / "m", lambda x, unused: {"y": x * 2.0}, x=(None, 5), unused=(None, 2))
    result = run_export(tmp_path / "m", write_rows(tmp_path / "s", signature), tmp_path / "o")
    assert result.parity["y"].max_abs == 0


def test_an_operator_without_onnx_form_is_named_with_what_to_do(tmp_path):
    signature = write_module(tmp_path / "m", lambda x: {"y": tf.linalg.inv(x)}, x=(None, 3, 3))
    split = write_rows(tmp_path / "s", signature)
    with pytest.raises(StepFailed, match=r"MatrixInverse.*runtime: tensorflow"):
        run_export(tmp_path / "m", split, tmp_path / "o")


def test_a_string_operator_is_named(tmp_path):
    def serve(x):
        return {"y": tf.cast(tf.strings.length(tf.strings.as_string(x)), tf.float32)}

    signature = write_module(tmp_path / "m", serve, x=(None, 3))
    with pytest.raises(StepFailed, match="StringLength"):
        run_export(tmp_path / "m", write_rows(tmp_path / "s", signature), tmp_path / "o")


def test_numbers_that_are_off_fail_with_the_figures(example, tmp_path, monkeypatch):
    made = example("gelu")

    def spoil(model):
        for item in model.graph.initializer:
            array = onnx.numpy_helper.to_array(item)
            if array.size > 4:
                item.CopyFrom(onnx.numpy_helper.from_array(array * 1.5, item.name))

    monkeypatch.setattr("tasks.models.onnx_clean.clean", spoil)
    with pytest.raises(StepFailed, match=r"differs from the reference by \d.* on 48 rows; allowed is"):
        run_export(made.source, made.split, tmp_path / "o")


def test_a_model_that_computes_in_half_precision_differs_by_its_own_rounding(tmp_path):
    keras.utils.set_random_seed(0)
    hidden = [keras.layers.Dense(256, activation="relu", dtype="mixed_float16") for _ in range(3)]
    model = keras.Sequential([keras.Input((16,)), *hidden, keras.layers.Dense(4, dtype="float32")])
    signature = write_keras(model, tmp_path / "m")
    result = run_export(tmp_path / "m", write_rows(tmp_path / "s", signature, scale=8.0), tmp_path / "o")
    (figures,) = result.parity.values()
    assert onnx_parity.TOLERANCE * figures.scale < figures.max_abs < 1e-3 * figures.scale


def test_rows_of_another_shape_are_refused(example, tmp_path):
    made = example("gelu")
    (tmp_path / "bad" / "inputs").mkdir(parents=True)
    np.save(tmp_path / "bad" / "inputs" / "input.npy", np.zeros((4, 15), np.float32))
    split = made.split.model_copy(update={"folder": str(tmp_path / "bad"), "inputs": ("input",)})
    with pytest.raises(InputError, match=r"shape \(15\), the model takes \(16\)"):
        run_export(made.source, split, tmp_path / "o")


def test_a_missing_input_is_named(example, tmp_path):
    made = example("two_inputs")
    split = made.split.model_copy(update={"inputs": ("a",)})
    with pytest.raises(InputError, match=r"takes the inputs \[.a., .b.\], the data has \[.a.\]"):
        run_export(made.source, split, tmp_path / "o")


def test_one_data_input_feeds_one_model_input_whatever_its_name(example, tmp_path):
    made = example("gelu")
    (name,) = made.split.inputs
    (tmp_path / "s" / "inputs").mkdir(parents=True)
    np.save(tmp_path / "s" / "inputs" / "pixels.npy", np.load(made.split.input_files()[name]))
    split = made.split.model_copy(update={"folder": str(tmp_path / "s"), "inputs": ("pixels",)})
    assert run_export(made.source, split, tmp_path / "o").parity


def test_a_signature_that_is_not_the_saved_models_is_refused(tmp_path):
    signature = write_module(tmp_path / "m", lambda x: {"y": x * 2.0}, x=(None, 5))
    split = write_rows(tmp_path / "s", signature)
    signature.model_copy(update={"outputs": {"other": signature.outputs["y"]}}).write(tmp_path / "m")
    with pytest.raises(InputError, match="other"):
        run_export(tmp_path / "m", split, tmp_path / "o")


def test_more_than_two_gigabytes_are_refused_before_anything_is_loaded(tmp_path):
    signature = write_module(tmp_path / "m", lambda x: {"y": x * 2.0}, x=(None, 5))
    split = write_rows(tmp_path / "s", signature)
    weights = tmp_path / "m" / "saved_model" / "variables" / "variables.data-00000-of-00001"
    with weights.open("wb") as stream:
        stream.truncate(2_500_000_000)
    with pytest.raises(StepFailed, match=r"2\.5 GB"):
        run_export(tmp_path / "m", split, tmp_path / "o")


def test_a_keras_3_net_has_the_graph_of_its_tf_keras_twin(example, tmp_path):
    tf_keras = pytest.importorskip("tf_keras")
    layers = tf_keras.layers
    twin = tf_keras.Sequential([
        layers.InputLayer((8, 8, 1)), layers.Conv2D(8, 3, padding="same", bias_initializer="random_normal"),
        layers.BatchNormalization(), layers.ReLU(), layers.MaxPooling2D(), layers.Flatten(),
        layers.Dense(16, activation="relu", bias_initializer="random_normal"), layers.Dense(4),
    ])  # fmt: skip
    signature = write_module(tmp_path / "m", lambda x: {"output": twin(x, training=False)}, twin, x=(None, 8, 8, 1))
    run_export(tmp_path / "m", write_rows(tmp_path / "s", signature), tmp_path / "o")
    assert optimized_operators(example("digits").onnx, tmp_path) == optimized_operators(tmp_path / "o", tmp_path)
