"""The messages come without TensorFlow where it is not there, and from it where it is.

That TensorFlow comes whole afterwards, and that no move imports it, takes processes: see `test_tf_serving_live.py`.
"""

import subprocess
import sys
from types import SimpleNamespace

import pytest

from tasks.serving import _tf_serving_protos
from tasks.serving._tf_serving_protos import protos

ALONE = """
import importlib, importlib.util, sys
from tasks.serving._tf_serving_protos import protos

assert protos().predict_pb2 is protos().predict_pb2
assert [name for name in sys.modules if name.partition(".")[0] == "tensorflow"] == []
assert importlib.util.find_spec("tensorflow").origin.endswith("__init__.py")

from tasks.serving import _tf_serving_protos
vars(_tf_serving_protos._found).clear()
_tf_serving_protos._MODULES = ("tensorflow.core.framework.types_pb2", "tensorflow.no_such_module")
try:
    protos()
except ModuleNotFoundError as error:
    assert error.name == "tensorflow.no_such_module"
assert [name for name in sys.modules if name.partition(".")[0] == "tensorflow"] == []
print("done")
"""


def test_nothing_of_tensorflow_is_left_behind() -> None:
    ran = subprocess.run([sys.executable, "-c", ALONE], capture_output=True, text=True, timeout=120)

    assert (ran.stdout, ran.stderr) == ("done\n", "")


def test_a_tensorflow_that_is_there_already_is_used_and_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    import tensorflow as tf

    before = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "tensorflow"}
    monkeypatch.setattr(_tf_serving_protos, "_found", SimpleNamespace())

    modules = protos()

    assert modules.tensor_pb2.TensorProto is type(tf.make_tensor_proto(1.0))
    assert type(modules.predict_pb2.PredictRequest().inputs["x"]) is modules.tensor_pb2.TensorProto
    assert before.items() <= sys.modules.items()
