"""What every runtime of the menu must do; a new file in tasks/runtimes is tested by being there."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pytest

from tasks.foundations.errors import InputError
from tasks.foundations.menu import choices
from tasks.models.signature import Signature, TensorSpec
from tasks.runtimes.session import Runtime, as_runtime
from tasks.runtimes.target import parse_target

WEIGHTS = np.arange(12, dtype=np.float32).reshape(4, 3) / 10
ROWS = np.random.default_rng(0).random((5, 4)).astype(np.float32)


def _write_onnx(folder: Path) -> None:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"]), helper.make_node("ReduceSum", ["x"], ["total"], keepdims=1)],
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 4])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("y", "total")],
        [numpy_helper.from_array(WEIGHTS, "w")],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), folder / "model.onnx"
    )


def _write_saved_model(folder: Path) -> None:
    import tensorflow as tf

    module = tf.Module()
    module.w = tf.Variable(WEIGHTS)

    @tf.function(input_signature=[tf.TensorSpec((None, 4), tf.float32, name="x")])
    def serve(x: Any) -> Any:
        return {"total": tf.reduce_sum(x, keepdims=True), "y": x @ module.w}

    module.serve = serve
    tf.saved_model.save(module, str(folder / "saved_model"), signatures=serve)


def _write_litert(folder: Path) -> None:
    import tensorflow as tf

    _write_saved_model(folder)
    converter = tf.lite.TFLiteConverter.from_saved_model(str(folder / "saved_model"))
    (folder / "model.tflite").write_bytes(converter.convert())


WRITERS = {"onnx": _write_onnx, "savedmodel": _write_saved_model, "litert": _write_litert}


@pytest.fixture(params=sorted(choices("tasks.runtimes", "runtime")))
def runtime(request: pytest.FixtureRequest) -> Runtime:
    return as_runtime(parse_target({"runtime": request.param}))


@pytest.fixture
def model(runtime: Runtime, tmp_path: Path) -> Path:
    WRITERS[runtime.form](tmp_path)
    _signature("x", "y", "total").write(tmp_path)
    return tmp_path


def _signature(feed: str, *outputs: str) -> Signature:
    return Signature(
        inputs={feed: TensorSpec(dtype="float32", shape=(None, 4))},
        outputs={name: TensorSpec(dtype="float32", shape=(None, None)) for name in outputs},
    )


def test_a_session_gives_the_outputs_by_name_in_the_order_of_the_signature(runtime: Runtime, model: Path) -> None:
    outputs = runtime.open(model).run({"x": ROWS})

    assert list(outputs) == ["y", "total"]
    np.testing.assert_allclose(outputs["y"], ROWS @ WEIGHTS, rtol=1e-6)
    np.testing.assert_allclose(outputs["total"], [[ROWS.sum()]], rtol=1e-6)


def test_any_batch_size_runs_on_a_model_with_a_free_batch(runtime: Runtime, model: Path) -> None:
    session = runtime.open(model)

    assert session.fixed_batch is None
    np.testing.assert_allclose(session.run({"x": ROWS[:1]})["y"], ROWS[:1] @ WEIGHTS, rtol=1e-6)


def test_a_folder_without_the_form_is_refused_with_the_name_of_what_is_missing(
    runtime: Runtime, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="There is no (model.onnx|model.tflite|saved_model) in"):
        runtime.open(tmp_path)


@pytest.mark.parametrize("names", [("z", "y", "total"), ("x", "y")])
def test_a_signature_that_speaks_of_other_tensors_is_refused(
    runtime: Runtime, model: Path, names: tuple[str, ...]
) -> None:
    _signature(*names).write(model)

    with pytest.raises(InputError, match="its signature says"):
        runtime.open(model)


def test_options_survive_json_and_name_the_threads(runtime: Runtime) -> None:
    two = type(runtime).model_validate({**runtime.model_dump(), "threads": 2})  # type: ignore[attr-defined]

    assert json.loads(json.dumps(two.options())) == two.options() != runtime.options()


def test_a_target_survives_json_as_its_own_class(runtime: Runtime) -> None:
    assert parse_target(json.loads(runtime.model_dump_json())) == runtime  # type: ignore[attr-defined]


@pytest.mark.parametrize("field", ["threads", "batch_size"])
def test_a_target_needs_at_least_one_thread_and_one_row(runtime: Runtime, field: str) -> None:
    with pytest.raises(ValueError, match="greater than or equal to 1"):
        type(runtime).model_validate({**runtime.model_dump(), field: 0})  # type: ignore[attr-defined]


def test_importing_the_library_lean_starts_no_thread_so_that_measuring_processes_can_be_forked(
    runtime: Runtime,
) -> None:
    code = (
        "import os, sys; from tasks.runtimes._child import import_lean; from tasks.runtimes.target import parse_target;"
        f"import_lean(parse_target({{'runtime': {runtime.runtime!r}}}));"  # type: ignore[attr-defined]
        f"print(len(os.listdir('/proc/self/task')), {runtime.library!r} in sys.modules,"
        f"sorted(set({runtime.needless!r}) & set(sys.modules)))"
    )

    found = subprocess.run(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env=os.environ | runtime.environment(),
    )

    assert found.stdout.split("\n")[-2] == "1 True []"
