"""TensorFlow Serving's messages, without TensorFlow.

A promote or rollback asks servers over gRPC, and nothing else of it needs TensorFlow. But the generated modules of
`tensorflow_serving` import those of `tensorflow.core`, and importing anything below `tensorflow` runs
`tensorflow/__init__`: seconds, and some hundred MB, in the process that moves. The generated modules themselves need
only protobuf and the folder they are found in. So while they are imported a bare package that only knows this folder
stands in TensorFlow's place.

Afterwards it and what was imported below it are taken out of `sys.modules` again: whoever imports TensorFlow later in
the same process gets it whole. Its generated modules then run a second time; protobuf takes a file that it knows
already and gives back the same message classes.
"""

import importlib
import importlib.util
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace

_MODULES = (
    "tensorflow.core.framework.tensor_pb2",
    "tensorflow.core.framework.types_pb2",
    "tensorflow.core.protobuf.error_codes_pb2",
    "tensorflow_serving.apis.get_model_metadata_pb2",
    "tensorflow_serving.apis.get_model_status_pb2",
    "tensorflow_serving.apis.model_service_pb2_grpc",
    "tensorflow_serving.apis.predict_pb2",
    "tensorflow_serving.apis.prediction_service_pb2_grpc",
)
_lock = threading.Lock()
_found = SimpleNamespace()


def protos() -> SimpleNamespace:
    """The generated modules, by the last part of their names: `protos().predict_pb2`.

    Not to be called while another thread may be importing TensorFlow.
    """
    with _lock:
        if not vars(_found):
            importlib.import_module("grpc")  # the generated modules import it; it is no part of what is undone
            with _bare_tensorflow():
                vars(_found).update({name.rpartition(".")[2]: importlib.import_module(name) for name in _MODULES})
    return _found


@contextmanager
def _bare_tensorflow() -> Iterator[None]:
    """A package `tensorflow` that only knows its folder, unless the whole one is there already."""
    spec = None if "tensorflow" in sys.modules else importlib.util.find_spec("tensorflow")
    if spec is None or spec.submodule_search_locations is None:
        yield
        return
    bare = ModuleType("tensorflow")
    bare.__path__ = list(spec.submodule_search_locations)
    sys.modules["tensorflow"] = bare
    try:
        yield
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == "tensorflow"]:
            del sys.modules[name]
