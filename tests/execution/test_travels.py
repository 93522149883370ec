"""Which steps of a candidate another machine may carry out."""

from pathlib import Path

import pytest

from tasks.bridge import bridge
from tasks.convert import convert
from tasks.data.dataset import Split
from tasks.evaluation.task import Regression
from tasks.predict import predict
from tasks.rehearse import rehearse
from tasks.runtimes.onnxruntime import OnnxRuntime
from tasks.store.artifact import Artifact

MODEL = Artifact(uri="", format="onnx", digest="0" * 64, size_bytes=0)
ROWS = Split(folder="/rows", inputs=("x",), rows=1)
CPU = OnnxRuntime(runtime="onnxruntime")
GPU = OnnxRuntime(runtime="onnxruntime", provider="cuda")
TASK = Regression(kind="regression")


class Noting:
    """An executor that only notes whether a step travels."""

    seed = 0

    def produce(self, step, request):
        return step.travels


def predicts(target, **given):
    return predict.fn(Noting(), "int8", "cpu", target, MODEL, MODEL, **given)


def rehearses(target, **given):
    return rehearse.fn(Noting(), "int8", "cpu", target, MODEL, MODEL, "digits", TASK, **given)


def test_what_the_store_alone_decides_travels():
    assert bridge.fn(Noting(), "int8", MODEL, MODEL) and convert.fn(Noting(), "int8", MODEL, MODEL)
    assert predicts(CPU) and rehearses(CPU)


@pytest.mark.parametrize("given", [{"folder": Path("/bundle/champion")}, {"rows": ROWS}])
def test_what_lies_on_this_machine_keeps_a_step_here(given):
    assert not predicts(CPU, **given)


def test_an_accelerator_of_this_machine_keeps_a_step_here():
    assert not predicts(GPU) and not rehearses(GPU)
