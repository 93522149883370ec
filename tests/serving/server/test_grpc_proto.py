"""What the protocol's messages are on the wire, and that the generated files are those of the `.proto`."""

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto

from tasks.serving.server.grpc_v2 import open_inference_pb2

ROOT = Path(open_inference_pb2.__file__).parents[4]
PROTO = Path(open_inference_pb2.__file__).parent.relative_to(ROOT) / "open_inference.proto"


def ours():
    made = FileDescriptorProto()
    open_inference_pb2.DESCRIPTOR.CopyToProto(made)
    return made


def theirs():
    """NVIDIA's, read from their client without importing it: two files with one package do not go into one process."""
    (folder,) = importlib.util.find_spec("tritonclient").submodule_search_locations
    for node in ast.walk(ast.parse((Path(folder) / "grpc" / "service_pb2.py").read_text())):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == "AddSerializedFile"
        ):
            return FileDescriptorProto.FromString(ast.literal_eval(node.args[0]))
    raise AssertionError("no descriptor in tritonclient's service_pb2.py")


def wire(messages, prefix=""):
    """Message -> {field: everything that matters on the wire}, nested ones by their full names."""
    told = {}
    for message in messages:
        told[prefix + message.name] = {
            field.name: (field.number, field.type, field.label, field.type_name, field.HasField("oneof_index"))
            for field in message.field
        }
        told |= wire(message.nested_type, f"{prefix}{message.name}.")
    return told


def calls(file):
    (service,) = (each for each in file.service if each.name == "GRPCInferenceService")
    return {
        call.name: (call.input_type, call.output_type, call.client_streaming, call.server_streaming)
        for call in service.method
    }


def test_messages_are_those_that_another_client_sends():
    mine, other = wire(ours().message_type), wire(theirs().message_type)
    assert len(mine) == 23
    assert mine == {name: other[name] for name in mine}


def test_calls_are_those_that_another_client_makes():
    mine, other = calls(ours()), calls(theirs())
    assert list(mine) == ["ServerLive", "ServerReady", "ModelReady", "ServerMetadata", "ModelMetadata", "ModelInfer"]
    assert ours().package == theirs().package and mine == {name: other[name] for name in mine}


@pytest.mark.parametrize("name", ["open_inference_pb2.py", "open_inference_pb2_grpc.py"])
def test_generated_files_are_what_make_proto_gives(tmp_path, name):
    command = ["-m", "grpc_tools.protoc", "--proto_path=.", f"--python_out={tmp_path}", f"--grpc_python_out={tmp_path}"]
    subprocess.run([sys.executable, *command, str(PROTO)], cwd=ROOT, check=True)
    kept = (ROOT / PROTO).parent / name
    assert (tmp_path / PROTO.parent / name).read_bytes() == kept.read_bytes(), "run `make proto`"
