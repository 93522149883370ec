"""Each ONNX technique does what it says on the models it is for, proves it, and refuses the others by name."""

import os
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from tasks.foundations.errors import InputError, NotApplicable, ProofFailed, StepFailed
from tasks.models.sizes import measure
from tasks.techniques import int8_dynamic, int8_static, processor
from tasks.techniques.apply import CompressRequest
from tests.models.onnx_zoo import write_keras, write_rows
from tests.techniques.onnx_parts import dense, normal_rows, operators, rows, run, write

pytest.importorskip("tensorflow")


def top1(result):
    return min(figures["top1"] or 1.0 for figures in result.evidence["difference"].values())


@pytest.mark.parametrize("calibration", ["minmax", "entropy", "percentile"])
@pytest.mark.parametrize("name", ["digits", "gelu", "transformer", "two_inputs", "free_length"])
def test_static_int8_runs_all_weights_on_integers_and_stays_close(example, tmp_path, name, calibration):
    made = example(name)
    result = run(made.onnx, made.split, tmp_path / "o", kind="int8_static", calibration=calibration)
    proof = result.evidence["proof"]
    assert proof["integer_weight_share"] == 1.0
    assert proof["integer_operators"] >= 2 and proof["float_operators"] == 0
    for figures in result.evidence["difference"].values():
        assert figures["max_abs"] <= 0.15 * figures["scale"]


@pytest.mark.parametrize("name", ["gelu", "transformer", "two_inputs", "free_length", "digits"])
def test_dynamic_int8_runs_all_matrix_products_on_integers(example, tmp_path, name):
    made = example(name)
    result = run(made.onnx, made.split, tmp_path / "o", kind="int8_dynamic")
    assert all(kernel["operator"] == "FusedConv" for kernel in result.evidence["proof"]["float"])
    assert "ConvInteger" not in operators(tmp_path / "o")
    for figures in result.evidence["difference"].values():
        assert figures["max_abs"] <= 0.1 * figures["scale"]


@pytest.mark.parametrize("name", ["digits", "gelu", "transformer", "lstm", "gru", "two_inputs", "embedding"])
def test_float16_halves_every_float_weight_and_keeps_float32_outside(example, tmp_path, name):
    made = example(name)
    result = run(made.onnx, made.split, tmp_path / "o", kind="float16")
    assert result.evidence["proof"]["half_share"] == 1.0
    graph = onnx.load(tmp_path / "o" / "model.onnx").graph
    kinds = [value.type.tensor_type.elem_type for value in (*graph.input, *graph.output)]
    assert TensorProto.FLOAT16 not in kinds
    for figures in result.evidence["difference"].values():
        assert figures["max_abs"] <= 0.01 * figures["scale"]


@pytest.mark.parametrize("kind", ["int8_static", "int8_dynamic", "float16"])
def test_another_process_writes_the_same_bytes(example, tmp_path, kind):
    made = example("transformer")
    run(made.onnx, made.split, tmp_path / "here", kind=kind)
    (tmp_path / "there").mkdir()
    request = CompressRequest(
        source=str(made.onnx), technique={"kind": kind}, calibration=made.split, out=str(tmp_path / "there")
    )
    script = (
        "import sys\nfrom tasks.techniques.apply import CompressRequest, compress\n"
        "compress(CompressRequest.model_validate_json(sys.argv[1]))"
    )
    environment = os.environ | {"PYTHONHASHSEED": "77"}
    subprocess.run([sys.executable, "-c", script, request.model_dump_json()], check=True, env=environment)
    assert (tmp_path / "there" / "model.onnx").read_bytes() == (tmp_path / "here" / "model.onnx").read_bytes()


@pytest.mark.parametrize("kind", ["int8_static", "int8_dynamic", "float16"])
def test_files_need_no_operators_but_onnx_own(example, tmp_path, kind):
    made = example("transformer")
    run(made.onnx, made.split, tmp_path / "o", kind=kind)
    model = onnx.load(tmp_path / "o" / "model.onnx")
    assert {node.domain for node in model.graph.node} == {""}
    assert [(opset.domain, opset.version) for opset in model.opset_import if opset.domain == ""] == [("", 17)]
    assert model.ir_version == 8 and not model.producer_name and not model.metadata_props


def test_batch_norms_are_folded_before_quantizing(example, tmp_path):
    made = example("digits")
    run(made.onnx, made.split, tmp_path / "o", kind="int8_static")
    assert not {"BatchNormalization", "Mul", "Add"} & set(operators(tmp_path / "o"))


def test_batches_of_any_size_run_after_every_technique(example, tmp_path):
    made = example("digits")
    for kind in ("int8_static", "int8_dynamic", "float16"):
        run(made.onnx, made.split, tmp_path / kind, kind=kind)
        session = ort.InferenceSession(tmp_path / kind / "model.onnx", providers=["CPUExecutionProvider"])
        for size in (1, 5):
            feed = {session.get_inputs()[0].name: np.zeros((size, 8, 8, 1), np.float32)}
            assert session.run(None, feed)[0].shape == (size, 4)


def test_a_large_dense_layer_shrinks_to_a_quarter_and_to_half(tmp_path):
    weights = np.random.default_rng(0).normal(size=(4, 3000)).astype(np.float32)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"], name="a"),
        helper.make_node("MatMul", ["h", "v"], ["y"], name="b"),
    ]
    second = np.random.default_rng(1).normal(size=(3000, 3)).astype(np.float32)
    source, split = write(tmp_path / "m", nodes, {"w": weights, "v": second}), normal_rows(tmp_path / "s")
    raw = measure(source / "model.onnx").raw_bytes
    dynamic = run(source, split, tmp_path / "d", kind="int8_dynamic", per_channel=False)
    half = run(source, split, tmp_path / "h", kind="float16")
    assert dynamic.size_bytes < 0.3 * raw and half.size_bytes < 0.52 * raw


def test_excluded_layers_stay_float(example, tmp_path):
    made = example("two_inputs")
    words = [node.name for node in onnx.load(made.onnx / "model.onnx").graph.node if node.op_type == "MatMul"]
    layer = words[-1].split("/")[-2]
    for kind in ("int8_dynamic", "int8_static"):
        result = run(made.onnx, made.split, tmp_path / kind, kind=kind, exclude=[layer])
        assert result.evidence["proof"]["float_operators"] == 1


def test_a_word_of_exclude_that_matches_nothing_names_the_nearest(tmp_path):
    source, split = dense(tmp_path / "m"), normal_rows(tmp_path / "s")
    for kind in ("int8_static", "int8_dynamic", "float16"):
        with pytest.raises(InputError, match=rf"{kind}.exclude: 'dense_2'.*dense_1"):
            run(source, split, tmp_path / kind, kind=kind, exclude=["dense_2"])


def test_excluding_everything_is_not_applicable(tmp_path):
    source, split = dense(tmp_path / "m"), normal_rows(tmp_path / "s")
    for kind in ("int8_static", "int8_dynamic"):
        with pytest.raises(NotApplicable, match=kind):
            run(source, split, tmp_path / kind, kind=kind, exclude=["dense_1"])


def test_an_embedding_has_nothing_for_int8(example, tmp_path):
    made = example("embedding")
    for kind in ("int8_static", "int8_dynamic"):
        with pytest.raises(NotApplicable, match=rf"{kind} needs a .*MatMul.*the graph has .*Gather"):
            run(made.onnx, made.split, tmp_path / kind, kind=kind)


def test_a_net_of_convolutions_only_is_not_for_dynamic_int8(tmp_path):
    import keras

    from tests.models.onnx_zoo import run_export

    model = keras.Sequential([keras.Input((6, 6, 1)), keras.layers.Conv2D(2, 3), keras.layers.GlobalAveragePooling2D()])
    signature = write_keras(model, tmp_path / "m")
    split = write_rows(tmp_path / "s", signature)
    run_export(tmp_path / "m", split, tmp_path / "onnx")
    with pytest.raises(NotApplicable, match="Use int8_static for convolutions"):
        run(tmp_path / "onnx", split, tmp_path / "o", kind="int8_dynamic")


def test_a_recurrent_net_fails_the_proof_of_static_int8_by_name(example, tmp_path):
    made = example("lstm")
    with pytest.raises(ProofFailed, match=r"int8_static: only \d% .*LSTM"):
        run(made.onnx, made.split, tmp_path / "o", kind="int8_static")


@pytest.mark.parametrize("kind", ["int8_static", "int8_dynamic"])
def test_a_file_that_runs_in_float_fails_the_proof(example, kind):
    made = example("digits")
    technique = {"int8_static": int8_static.Int8Static(), "int8_dynamic": int8_dynamic.Int8Dynamic()}[kind]
    with pytest.raises(ProofFailed, match=kind):
        technique.prove(str(made.onnx), str(made.onnx))


@pytest.mark.parametrize("operator", ["MatMul", "Gemm"])
def test_weights_that_are_only_stored_in_8_bits_fail_the_proof(tmp_path, operator):
    """QuantizeLinear on weights alone: a quarter of the size, every product in float."""
    nodes = [
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["w"], name="dequantize"),
        helper.make_node(operator, ["x", "w"], ["y"], name="dense/product"),
    ]
    constants = {
        "q": np.ones((4, 3), np.int8), "scale": np.array(0.1, np.float32), "zero": np.array(0, np.int8),
    }  # fmt: skip
    source = write(tmp_path / "m", nodes, constants)
    with pytest.raises(ProofFailed, match="0% of the weights.*In float: (MatMulNBits|Gemm) '"):
        int8_static.Int8Static().prove(str(source), str(source))


def test_a_float32_file_fails_the_proof_of_float16(example):
    from tasks.techniques.float16 import Float16

    with pytest.raises(ProofFailed, match=r"0% of the weights' bytes"):
        Float16().prove(str(example("digits").onnx), str(example("digits").onnx))


def test_a_weight_beyond_half_precision_is_named(tmp_path):
    weights = np.ones((4, 3), np.float32)
    weights[1, 1] = 70000.0
    source, split = dense(tmp_path / "m", weights), normal_rows(tmp_path / "s")
    with pytest.raises(NotApplicable, match=r"'w' of net/dense_1/MatMul reaches 7e\+04, half precision ends at 65504"):
        run(source, split, tmp_path / "o", kind="float16")


def test_an_activation_beyond_half_precision_fails_the_proof(tmp_path):
    source = dense(tmp_path / "m", np.full((4, 3), 60000.0, np.float32))
    split = rows(tmp_path / "s", np.full((4, 4), 5.0, np.float32))
    with pytest.raises(NotApplicable, match=r"activation 'p' reaches 1\.2e\+06, half precision ends at 65504"):
        run(source, split, tmp_path / "o", kind="float16")


def test_the_large_negative_number_of_a_mask_is_not_an_overflow(tmp_path):
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["p"], name="dense/MatMul"),
        helper.make_node("Less", ["p", "zero"], ["low"], name="less"),
        helper.make_node("Where", ["low", "masked", "p"], ["scores"], name="where"),
        helper.make_node("Softmax", ["scores"], ["y"], name="softmax", axis=-1),
    ]
    constants = {
        "w": np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32), "zero": np.array(0, np.float32),
        "masked": np.array(-1e9, np.float32),
    }  # fmt: skip
    source, split = write(tmp_path / "m", nodes, constants), normal_rows(tmp_path / "s")
    result = run(source, split, tmp_path / "o", kind="float16")
    assert result.evidence["difference"]["y"]["max_abs"] < 0.01


def test_a_layer_excluded_from_float16_may_have_large_weights(tmp_path):
    nodes = [
        helper.make_node("MatMul", ["x", "small"], ["h"], name="first/MatMul"),
        helper.make_node("MatMul", ["h", "large"], ["y"], name="second/MatMul"),
    ]
    constants = {"small": np.full((4, 500), 1e-5, np.float32), "large": np.full((500, 3), 70000.0, np.float32)}
    source, split = write(tmp_path / "m", nodes, constants), normal_rows(tmp_path / "s")
    proof = run(source, split, tmp_path / "o", kind="float16", exclude=["second"]).evidence["proof"]
    assert (proof["half_share"], proof["half_bytes"]) == (1.0, 2 * 4 * 500)


def test_gemm_is_quantized_dynamically_as_well(tmp_path):
    generator = np.random.default_rng(0)
    nodes = [helper.make_node("Gemm", ["x", "w", "b"], ["y"], name="dense/Gemm", transB=1)]
    constants = {"w": generator.normal(size=(3, 4)).astype(np.float32), "b": np.ones(3, np.float32)}
    source, split = write(tmp_path / "m", nodes, constants), normal_rows(tmp_path / "s")
    result = run(source, split, tmp_path / "o", kind="int8_dynamic")
    assert result.evidence["proof"]["integer_operators"] == 1
    assert result.evidence["difference"]["y"]["max_abs"] < 0.1


def test_weights_have_seven_bits_exactly_where_products_would_saturate(tmp_path, monkeypatch):
    source, split = dense(tmp_path / "m"), normal_rows(tmp_path / "s")
    for vnni, largest in ((True, 127), (False, 64)):
        monkeypatch.setattr(processor, "is_x86", lambda: True)
        monkeypatch.setattr(processor, "has_vnni", lambda vnni=vnni: vnni)
        result = run(source, split, tmp_path / str(vnni), kind="int8_static")
        stored = [
            onnx.numpy_helper.to_array(item)
            for item in onnx.load(tmp_path / str(vnni) / "model.onnx").graph.initializer
            if item.data_type == TensorProto.INT8 and len(item.dims) == 2
        ]
        assert max(np.abs(array.astype(int)).max() for array in stored) == largest
        assert result.evidence["proof"]["reduce_range"] is not vnni


def test_arm_gets_signed_activations(tmp_path, monkeypatch):
    source, split = dense(tmp_path / "m"), normal_rows(tmp_path / "s")
    monkeypatch.setattr(processor, "is_x86", lambda: False)
    result = run(source, split, tmp_path / "o", kind="int8_static")
    assert result.evidence["proof"]["activations"] == "int8"


def test_only_as_many_rows_as_asked_for_are_used(tmp_path):
    source = dense(tmp_path / "m")
    values = np.random.default_rng(0).normal(size=(64, 4)).astype(np.float32)
    values[10:] *= 100
    split = rows(tmp_path / "s", values)
    few = run(source, split, tmp_path / "few", kind="int8_static", rows=10)
    many = run(source, split, tmp_path / "many", kind="int8_static")
    worst = [result.evidence["difference"]["y"]["max_abs"] for result in (few, many)]
    assert worst[0] > 10 * worst[1]


def test_whatever_a_quantizer_raises_is_a_step_that_failed_with_its_reason(tmp_path, monkeypatch):
    def broken(*_args, **_kwargs):
        raise KeyError("strange_tensor")

    monkeypatch.setattr("onnxruntime.quantization.quantize_static", broken)
    with pytest.raises(StepFailed, match=r"int8_static broke on this model: KeyError: 'strange_tensor'"):
        run(dense(tmp_path / "m"), normal_rows(tmp_path / "s"), tmp_path / "o", kind="int8_static")
