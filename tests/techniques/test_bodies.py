"""Weights in the bodies of Loop, If and Scan: proofs count them, and no technique claims what it did not reach."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from tasks.data.dataset import Split
from tasks.foundations.errors import NotApplicable, ProofFailed
from tasks.models.onnx_graph import bodies, walk
from tasks.techniques import kernels, loops
from tasks.techniques.constants import uses
from tasks.techniques.float16 import Float16
from tests.models.onnx_zoo import ROWS, run_export, write_keras, write_rows
from tests.techniques.onnx_parts import normal_rows, run, write

INT8 = ("int8_static", "int8_dynamic")
WAYS = ("carried", "outside", "initializer", "constant")


def value(name, kind=TensorProto.FLOAT, shape=("batch", 4)):
    return helper.make_tensor_value_info(name, kind, list(shape))


def square(seed=1, dtype=np.float32, scale=0.5):
    return (scale * np.random.default_rng(seed).normal(size=(4, 4))).astype(dtype)


def turn(weights, way, state="state"):
    """Nodes and initializers of a body that multiplies a state with (4, 4) weights, which reach it in one of WAYS."""
    name = {"carried": "inner", "outside": "w"}.get(way, "own")
    nodes = [helper.make_node("MatMul", [state, name], ["next"], name="cell/MatMul")]
    tensor = numpy_helper.from_array(weights, "own")
    if way == "constant":
        nodes.insert(0, helper.make_node("Constant", [], ["own"], value=tensor))
    return nodes, [tensor] if way == "initializer" else []


def loop_body(weights, way):
    nodes, own = turn(weights, way)
    nodes.append(helper.make_node("Identity", ["going"], ["still"], name="cell/going"))
    entering = [value("turn", TensorProto.INT64, ()), value("going", TensorProto.BOOL, ()), value("state")]
    leaving = [value("still", TensorProto.BOOL, ()), value("next")]
    if way == "carried":
        nodes.append(helper.make_node("Identity", ["inner"], ["handed_on"], name="cell/inner"))
        entering.append(value("inner", shape=(4, 4)))
        leaving.append(value("handed_on", shape=(4, 4)))
    return helper.make_graph(nodes, "body", entering, leaving, own)


def looped(folder, way, weights=None, start="x", head=True):
    """A Loop of three turns with (4, 4) weights, then a dense layer with (4, 3) ones."""
    weights = square() if weights is None else weights
    body = loop_body(weights, way)
    carried = ["w"] if way == "carried" else []
    outputs = ["s", "unused"] if carried else ["s"]
    constants = {"three": np.array(3), "yes": np.array(True), "v": np.ones((4, 3), np.float32) / 3}
    if way in ("carried", "outside"):
        constants["w"] = weights
    if start == "zeros":
        constants["zeros"] = np.zeros((1, 4), np.float32)
    nodes = [
        helper.make_node("Loop", ["three", "yes", start, *carried], outputs, name="net/loop", body=body),
        helper.make_node("MatMul", ["s", "v"], ["h"], name="net/head"),
        helper.make_node("Add", ["h", "h"], ["y"], name="net/twice"),
    ]  # fmt: skip
    return write(folder, nodes, constants)


def branch(way, name="then"):
    nodes, own = turn(square(), way, state="x")
    nodes[-1].output[0] = name
    return helper.make_graph(nodes, name, [], [value(name)], own)


def conditional(folder, way):
    nodes = [
        helper.make_node("If", ["yes"], ["s"], name="net/if", then_branch=branch(way), else_branch=branch(way, "else")),
        helper.make_node("MatMul", ["s", "v"], ["y"], name="net/head"),
    ]
    # What ONNX Runtime knows beforehand it decides beforehand, and the If is gone.
    nodes.insert(0, helper.make_node("ReduceSum", ["x"], ["sum"], name="net/sum", keepdims=0))
    nodes.insert(1, helper.make_node("Greater", ["sum", "zero"], ["yes"], name="net/greater"))
    constants = {"zero": np.array(0, np.float32), "w": square(), "v": np.ones((4, 3), np.float32)}
    return write(folder, nodes, constants)


def scanned(folder):
    """A Scan over the columns of the input that carries its (4, 4) weights along."""
    nodes, _ = turn(square(), "carried")
    nodes.append(helper.make_node("Identity", ["inner"], ["handed_on"], name="cell/inner"))
    nodes.append(helper.make_node("Identity", ["column"], ["seen"], name="cell/column"))
    entering = [value("state"), value("inner", shape=(4, 4)), value("column", shape=("batch",))]
    leaving = [value("next"), value("handed_on", shape=(4, 4)), value("seen", shape=("batch",))]
    body = helper.make_graph(nodes, "body", entering, leaving)
    nodes = [
        helper.make_node(
            "Scan", ["x", "w", "x"], ["s", "unused", "columns"], name="net/scan", body=body, num_scan_inputs=1,
            scan_input_axes=[1],
        ),
        helper.make_node("MatMul", ["s", "v"], ["y"], name="net/head"),
    ]  # fmt: skip
    return write(folder, nodes, {"w": square(), "v": np.ones((4, 3), np.float32)})


def recurrent(home, units, dense=2, **settings):
    """A GRU and a dense layer, exported, with rows beside it."""
    import keras

    keras.utils.set_random_seed(0)
    layers = keras.layers
    model = keras.Sequential([keras.Input((5, 6)), layers.GRU(units, **settings), layers.Dense(dense)])
    signature = write_keras(model, home / "source")
    run_export(home / "source", write_rows(home / "rows", signature), home / "onnx")
    return home / "onnx"


@pytest.fixture(scope="module")
def wide_gru(tmp_path_factory):
    """A GRU of many weights below a dense layer of more: (folder, rows)."""
    home = tmp_path_factory.mktemp("wide")
    return recurrent(home, units=64, dense=512), split_of(home)


def split_of(home):
    return Split(folder=str(home / "rows"), inputs=("input",), rows=ROWS)


def matrices(folder):
    """Elements of the initializers with two dimensions or more in all graphs of a file, by element type."""
    graph = onnx.load(folder / "model.onnx").graph
    graphs = [graph, *(body for node in walk(graph) for body in bodies(node))]
    counted = {}
    for item in (item for graph in graphs for item in graph.initializer if len(item.dims) >= 2):
        counted[item.data_type] = counted.get(item.data_type, 0) + int(np.prod(item.dims))
    return counted


@pytest.mark.parametrize("way", WAYS)
def test_weights_of_a_loop_are_counted_however_they_enter_it(tmp_path, way):
    source = looped(tmp_path / "m", way)
    written = {kernel.name: kernel for kernel in kernels.weighted(onnx.load(source / "model.onnx"))}
    assert written["cell/MatMul"].weights == 16 and written["cell/MatMul"].inside == "Loop 'net/loop'"
    assert written["net/head"].weights == 12 and written["net/head"].inside == ""
    assert kernels.inspect(source).float_weights == 28


@pytest.mark.parametrize("way", ["outside", "initializer", "constant"])
def test_weights_of_both_branches_are_counted(tmp_path, way):
    source = conditional(tmp_path / "m", way)
    found = kernels.inspect(source)
    assert [kernel.inside for kernel in found.floating].count("If 'net/if'") == 2
    # One matrix outside, which both read, or one in each branch.
    assert found.float_weights == 12 + (16 if way == "outside" else 32)


def test_weights_that_a_scan_carries_are_counted(tmp_path):
    assert kernels.inspect(scanned(tmp_path / "m")).float_weights == 28


def test_a_state_that_starts_from_a_constant_is_no_weight(tmp_path):
    model = onnx.load(looped(tmp_path / "m", "carried", start="zeros") / "model.onnx")
    assert [kernel.weights for kernel in kernels.weighted(model) if kernel.inside] == [16]


def test_parts_of_a_matrix_are_that_matrix_once():
    nodes = [
        helper.make_node("Split", ["w"], ["a", "b"], axis=1, name="split"),
        helper.make_node("MatMul", ["x", "a"], ["p"], name="first"),
        helper.make_node("MatMul", ["x", "b"], ["q"], name="second"),
        helper.make_node("MatMul", ["p", "q"], ["r"], name="activations"),
    ]
    graph = helper.make_graph(nodes, "g", [value("x")], [value("r")], [numpy_helper.from_array(square(), "w")])
    read = {use.node.name: {constant.name for constant in use.constants} for use in uses(graph)}
    assert read == {"split": {"w"}, "first": {"w"}, "second": {"w"}, "activations": set()}
    assert len({constant for use in uses(graph) for constant in use.constants}) == 1


def test_a_gru_whose_weights_stay_float_in_a_loop_is_not_certified(example, tmp_path):
    made = example("gru")
    wanted = r"int8_static: only 5% of the weights \(8 of 152\) .*inside Loop '.*Inside a Loop only int8_dynamic .*GRU"
    with pytest.raises(ProofFailed, match=wanted) as raised:
        run(made.onnx, made.split, tmp_path / "o", kind="int8_static")
    assert str(raised.value).endswith("use int8_dynamic.") and "xclude" not in str(raised.value)


def test_dynamic_int8_runs_a_gru_on_integers_inside_its_loop(wide_gru, tmp_path):
    made, split = wide_gru
    result = run(made, split, tmp_path / "o", kind="int8_dynamic")
    proof = result.evidence["proof"]
    assert proof["integer_weight_share"] == 1.0 and not proof["float"]
    assert [kernel["inside"][:4] for kernel in proof["integer"]] == ["Loop", "Loop", ""]
    assert matrices(tmp_path / "o")[TensorProto.INT8] == proof["integer_weights"] == (6 + 64) * 192 + 64 * 512
    assert result.size_bytes < 0.6 * (made / "model.onnx").stat().st_size
    assert all(figures["max_abs"] <= 0.05 * figures["scale"] for figures in result.evidence["difference"].values())
    assert {node.domain for node in walk(onnx.load(tmp_path / "o" / "model.onnx").graph)} == {""}
    run(made, split, tmp_path / "again", kind="int8_dynamic")
    assert (tmp_path / "again" / "model.onnx").read_bytes() == (tmp_path / "o" / "model.onnx").read_bytes()


def test_a_gru_that_multiplies_with_parts_of_its_weights_is_not_certified(tmp_path):
    made = recurrent(tmp_path, units=32, reset_after=False)
    with pytest.raises(ProofFailed, match=r"int8_dynamic: only \d+% .*inside Loop .*`reset_after=False`"):
        run(made, split_of(tmp_path), tmp_path / "o", kind="int8_dynamic")


def test_an_excluded_loop_stays_float_with_its_body(wide_gru, tmp_path):
    made, split = wide_gru
    layer = next(node.name for node in onnx.load(made / "model.onnx").graph.node if node.op_type == "Loop").split("/")[
        1
    ]
    proof = run(made, split, tmp_path / "o", kind="int8_dynamic", exclude=[layer]).evidence["proof"]
    assert [kernel["inside"][:4] for kernel in proof["float"]] == ["Loop", "Loop"]
    assert [kernel["inside"] for kernel in proof["integer"]] == [""]


@pytest.mark.parametrize("way", WAYS)
def test_a_loop_with_most_of_the_weights_is_not_certified_by_static_int8(tmp_path, way):
    source, split = looped(tmp_path / "m", way), normal_rows(tmp_path / "s")
    with pytest.raises(ProofFailed, match=r"int8_static: only 43% .*'cell/MatMul' inside Loop 'net/loop'"):
        run(source, split, tmp_path / "o", kind="int8_static")


@pytest.mark.parametrize("way", ["carried", "outside", "initializer"])
def test_dynamic_int8_reaches_the_weights_of_a_loop_however_they_enter_it(tmp_path, way):
    source, split = looped(tmp_path / "m", way), normal_rows(tmp_path / "s")
    result = run(source, split, tmp_path / "o", kind="int8_dynamic")
    assert (result.evidence["proof"]["integer_weights"], result.evidence["proof"]["float_weights"]) == (28, 0)
    assert result.evidence["difference"]["y"]["max_abs"] <= 0.05 * result.evidence["difference"]["y"]["scale"]


def test_a_weight_that_the_quantizer_does_not_see_is_not_certified(tmp_path):
    source, split = looped(tmp_path / "m", "constant"), normal_rows(tmp_path / "s")
    with pytest.raises(ProofFailed, match=r"int8_dynamic: only 43% .*'cell/MatMul' inside Loop 'net/loop'"):
        run(source, split, tmp_path / "o", kind="int8_dynamic")


@pytest.mark.parametrize("start", ["x", "zeros"])
def test_weights_read_from_outside_give_the_same_numbers_as_carried_ones(tmp_path, start):
    source = looped(tmp_path / "m", "carried", start=start)
    model = onnx.load(source / "model.onnx")
    loops.read_from_outside(model.graph)
    onnx.checker.check_model(model, full_check=True)
    loop = model.graph.node[0]
    assert list(loop.input) == ["three", "yes", start] and list(loop.output) == ["s"]
    feed = {"x": np.random.default_rng(0).normal(size=(1, 4)).astype(np.float32)}
    before, after = (
        ort.InferenceSession(content, providers=["CPUExecutionProvider"]).run(None, feed)[0]
        for content in ((source / "model.onnx").read_bytes(), model.SerializeToString())
    )
    np.testing.assert_allclose(before, after, rtol=1e-5)


def test_what_a_loop_changes_or_someone_reads_behind_it_stays_carried(tmp_path):
    model = onnx.load(looped(tmp_path / "m", "carried") / "model.onnx")
    read = onnx.ModelProto()
    read.CopyFrom(model)
    read.graph.node[2].input[1] = "unused"
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    body = bodies(changed.graph.node[0])[0]
    next(node for node in body.node if node.name == "cell/inner").op_type = "Neg"
    twice = onnx.ModelProto()
    twice.CopyFrom(model)
    bodies(twice.graph.node[0])[0].output.append(value("inner", shape=(4, 4)))
    for case in (read, changed, twice):
        loops.read_from_outside(case.graph)
        assert list(case.graph.node[0].input) == ["three", "yes", "x", "w"]


@pytest.mark.parametrize("kind", INT8)
@pytest.mark.parametrize("name", ["digits", "gelu", "transformer", "lstm", "gru"])
def test_the_recorded_share_is_that_of_the_files_own_initializers(example, tmp_path, monkeypatch, name, kind):
    monkeypatch.setattr(kernels, "MIN_INTEGER_SHARE", 0.0)
    made = example(name)
    proof = run(made.onnx, made.split, tmp_path / "o", kind=kind).evidence["proof"]
    counted = matrices(tmp_path / "o")
    # Scale and offset of the batch norm, (1, 8, 1, 1) each, which int8_static folds, and the bias of the GRU, (2, 12),
    # which float products take in: they are no weights of an operator.
    beside = {("digits", "int8_dynamic"): 16, ("gru", "int8_dynamic"): 24}.get((name, kind), 0)
    whole, floats = counted[TensorProto.INT8], counted.get(TensorProto.FLOAT, 0) - beside
    assert (proof["integer_weights"], proof["float_weights"]) == (whole, floats)
    assert proof["integer_weight_share"] == round(whole / (whole + floats), 6)


def test_int8_weights_that_a_loop_turns_back_into_floats_count_as_float(tmp_path):
    """A masked LSTM does its first step outside of the Loop, with the same weights: only that one is on integers."""
    source, split = looped(tmp_path / "m", "carried"), normal_rows(tmp_path / "s")
    model = onnx.load(source / "model.onnx")
    model.graph.node.insert(0, helper.make_node("MatMul", ["x", "w"], ["first"], name="net/first"))
    next(node for node in model.graph.node if node.op_type == "Loop").input[2] = "first"
    onnx.save(model, source / "model.onnx")
    with pytest.raises(ProofFailed, match=r"int8_static: only 43% of the weights \(12 of 28\)"):
        run(source, split, tmp_path / "o", kind="int8_static")
    assert matrices(tmp_path / "o")[TensorProto.INT8] == 28
    assert run(source, split, tmp_path / "d", kind="int8_dynamic").evidence["proof"]["integer_weight_share"] == 1.0


def test_a_model_whose_products_are_all_in_a_loop_has_nothing_for_static_int8(tmp_path):
    source, split = looped(tmp_path / "m", "carried"), normal_rows(tmp_path / "s")
    model = onnx.load(source / "model.onnx")
    model.graph.node[1].CopyFrom(helper.make_node("Slice", ["s", "from", "to", "axis"], ["h"], name="net/slice"))
    for name, number in (("from", 0), ("to", 3), ("axis", 1)):
        model.graph.initializer.append(numpy_helper.from_array(np.array([number]), name))
    onnx.save(model, source / "model.onnx")
    with pytest.raises(NotApplicable, match=r"int8_static needs a .* outside of loops; the graph has .*Loop"):
        run(source, split, tmp_path / "o", kind="int8_static")
    assert run(source, split, tmp_path / "d", kind="int8_dynamic").evidence["proof"]["integer_weights"] == 16


def test_a_recurrent_net_fails_the_proof_of_dynamic_int8_too(example, tmp_path):
    made = example("lstm")
    with pytest.raises(ProofFailed, match=r"int8_dynamic: only \d% .*LSTM.*no 8-bit LSTM") as raised:
        run(made.onnx, made.split, tmp_path / "o", kind="int8_dynamic")
    assert "xclude" not in str(raised.value)


def test_dynamic_int8_of_a_net_that_is_mostly_convolutions_names_static_int8(tmp_path):
    import keras

    layers = keras.layers
    model = keras.Sequential([
        keras.Input((6, 6, 1)), layers.Conv2D(8, 3), layers.GlobalAveragePooling2D(), layers.Dense(2),
    ])  # fmt: skip
    signature = write_keras(model, tmp_path / "m")
    split = write_rows(tmp_path / "s", signature)
    run_export(tmp_path / "m", split, tmp_path / "onnx")
    with pytest.raises(ProofFailed, match=r"only 18% .*Conv.*Convolutions are quantized by int8_static only"):
        run(tmp_path / "onnx", split, tmp_path / "o", kind="int8_dynamic")


@pytest.mark.parametrize("kind", INT8)
def test_excluding_less_is_advised_only_to_who_excludes(tmp_path, kind):
    generator = np.random.default_rng(0)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"], name="net/large"),
        helper.make_node("MatMul", ["h", "v"], ["y"], name="net/small"),
    ]
    constants = {name: generator.normal(size=size).astype(np.float32) for name, size in (("w", (4, 9)), ("v", (9, 3)))}
    source, split = write(tmp_path / "m", nodes, constants), normal_rows(tmp_path / "s")
    with pytest.raises(ProofFailed, match=r"In float: .*'net/large'.*or exclude less"):
        run(source, split, tmp_path / "o", kind=kind, exclude=["large"])


@pytest.mark.parametrize("kind", INT8)
def test_float64_weights_are_refused_by_name(tmp_path, kind):
    import keras

    layers = keras.layers
    model = keras.Sequential([
        keras.Input((4,), dtype="float64"), layers.Dense(8, activation="relu", dtype="float64"),
        layers.Dense(2, dtype="float64"),
    ])  # fmt: skip
    signature = write_keras(model, tmp_path / "m")
    split = write_rows(tmp_path / "s", signature)
    run_export(tmp_path / "m", split, tmp_path / "onnx")
    with pytest.raises(NotApplicable, match=rf"{kind}: float64 weights cannot be quantized.*dense.*float32"):
        run(tmp_path / "onnx", split, tmp_path / "o", kind=kind)


@pytest.mark.parametrize("way", WAYS)
def test_float16_halves_the_weights_of_a_loop(tmp_path, way):
    source, split = looped(tmp_path / "m", way), normal_rows(tmp_path / "s")
    result = run(source, split, tmp_path / "o", kind="float16")
    assert result.evidence["proof"]["half_bytes"] == 2 * 28 and result.evidence["proof"]["half_share"] == 1.0


@pytest.mark.parametrize("way", ["initializer", "constant"])
def test_floats_left_in_a_body_fail_the_proof_of_float16(tmp_path, way):
    source = looped(tmp_path / "m", way)
    model = onnx.load(source / "model.onnx")
    for item in model.graph.initializer:
        if item.data_type == TensorProto.FLOAT:
            item.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(item).astype(np.float16), item.name))
    onnx.save(model, source / "model.onnx")
    with pytest.raises(ProofFailed, match=r"float16: 27% of .*Still wider: own\. Leave float16 out"):
        Float16().prove(str(source), str(source))
    assert Float16(exclude=("loop",)).prove(str(source), str(source))["half_share"] == 1.0
    with pytest.raises(ProofFailed, match=r"Exclude less"):
        Float16(exclude=("head", "loop")).prove(str(source), str(source))


@pytest.mark.parametrize("way", WAYS)
def test_a_weight_of_a_loop_beyond_half_precision_is_named_with_its_loop(tmp_path, way):
    weights = square()
    weights[0, 0] = 70000.0
    source, split = looped(tmp_path / "m", way, weights), normal_rows(tmp_path / "s")
    with pytest.raises(NotApplicable, match=r"weight '(w|own)' of net/loop reaches 7e\+04.*65504\. Leave float16 out"):
        run(source, split, tmp_path / "o", kind="float16")
