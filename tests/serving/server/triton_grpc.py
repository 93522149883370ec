"""NVIDIA's client against a server: `python triton_grpc.py ADDRESS`.

A process of its own, because its messages and ours have the same names. Its `grpc` extra asks for protobuf below 7, so
the extra cannot be installed here; the package holds the client anyway, and it does run with a newer protobuf.
"""

import sys

import numpy as np
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException, np_to_triton_dtype


def tensor(name, values):
    made = triton.InferInput(name, values.shape, np_to_triton_dtype(values.dtype))
    made.set_data_from_numpy(values)
    return made


def example(name):
    return np.array([["", "ü"]], object) if name == "str" else np.array([[0, 1]], name)


def refusal(call):
    try:
        call()
    except InferenceServerException as error:
        return error.status()
    return "answered"


client = triton.InferenceServerClient(sys.argv[1])
assert client.is_server_live() and client.is_model_ready("add") and client.is_model_ready("add", "12")
assert client.get_server_metadata().name == "slipway"

values = {each.name: example(each.name) for each in client.get_model_metadata("every").inputs}
answer = client.infer("every", [tensor(name, each) for name, each in values.items()], request_id="seven")
assert answer.get_response().id == "seven" and len(values) == 13
for name, sent in values.items():
    got = answer.as_numpy(f"{name}_out")
    if name == "str":
        got = np.array([[each.decode() for each in got[0]]], object)
    assert got.dtype == sent.dtype and (got == sent).all(), name

rows = np.arange(6, dtype=np.float32).reshape(2, 3)
pair = [tensor("a", rows), tensor("b", rows)]
wanted = [triton.InferRequestedOutput("sum")]
answer = client.infer("add", pair, "3", outputs=wanted, compression_algorithm="gzip", client_timeout=30)
assert (answer.as_numpy("sum") == 2 * rows).all() and answer.as_numpy("difference") is None
assert answer.get_response().model_version == "3"

assert refusal(lambda: client.infer("none", pair)) == "StatusCode.NOT_FOUND"
assert refusal(lambda: client.infer("add", pair[:1])) == "StatusCode.INVALID_ARGUMENT"
assert refusal(lambda: client.get_model_config("add")) == "StatusCode.UNIMPLEMENTED"
print("served")
