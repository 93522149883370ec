"""What a SavedModel says about itself, read before TensorFlow loads it: loading runs parts of its graph.

A SavedModel is a program. Its operations can run Python, read and write files or print into one; they are found by
walking `saved_model.pb`, functions included. Every SavedModel holds the operations of its own saver, which touch files
by design and run only when variables are restored: they are accepted outside of what the chosen signature runs.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tasks.foundations.errors import InputError
from tasks.foundations.record import Record
from tasks.foundations.words import suggest
from tasks.models.signature import Signature, TensorSpec

FILE = "saved_model.pb"
SERVE_TAG = "serve"
_COUNTED = re.compile(r"keras_tensor(_\d+)?")  # Keras' counter of a process: another name at every export
_INTERNAL = "__saved_model_"  # signatures that TensorFlow keeps for itself
_HOW = (
    "Export one: model.export('export') for a Keras model, or "
    "tf.saved_model.save(module, 'export', signatures={'serving_default': function})."
)

_PYTHON = {"PyFunc", "PyFuncStateless", "EagerPyFunc"}
_READS = {
    *("ReadFile", "MatchingFiles", "WholeFileReader", "WholeFileReaderV2", "TextLineReader", "TextLineReaderV2"),
    *("TFRecordReader", "TFRecordReaderV2", "FixedLengthRecordReader", "FixedLengthRecordReaderV2", "LMDBReader"),
    *("TextLineDataset", "TFRecordDataset", "TFRecordDatasetV2", "FixedLengthRecordDataset", "LMDBDataset"),
    *("FixedLengthRecordDatasetV2", "SqlDataset", "ExperimentalSqlDataset", "CSVDataset", "CSVDatasetV2"),
    *("MatchingFilesDataset", "ExperimentalMatchingFilesDataset", "LoadDataset", "GenerateBigQueryReaderPartitions"),
    *("BigQueryReader", "ImportEvent", "ExperimentalLMDBDataset", "DataServiceDataset", "DataServiceDatasetV2"),
}
_WRITES = {
    *("WriteFile", "Save", "SaveSlices", "SaveDataset", "SaveDatasetV2", "SnapshotDataset", "SnapshotDatasetV2"),
    *("DatasetToTFRecord", "ExperimentalDatasetToTFRecord", "CreateSummaryFileWriter", "CreateSummaryDbWriter"),
    *("CacheDataset", "CacheDatasetV2", "DebugIdentity", "DebugIdentityV2", "DebugIdentityV3", "DistributedSave"),
}
_SAVER = {"SaveV2", "RestoreV2", "Restore", "RestoreSlice", "MergeV2Checkpoints", "CheckpointHasKey"}
_WHAT = {
    **dict.fromkeys(_PYTHON, "runs Python code"),
    **dict.fromkeys(_READS, "reads files"),
    **dict.fromkeys(_WRITES, "writes files"),
    **dict.fromkeys(_SAVER, "reads or writes files"),
}


class SavedModelContent(Record):
    """One signature of a SavedModel.

    Attributes:
        signature: by normalized names, see `read_content`.
        inputs: normalized name -> the file's own name.
        outputs: the same for outputs.
        tags: of the graph that holds the signature.
        unsafe: operation -> what it does, of those that are not harmless.
    """

    signature: Signature
    inputs: dict[str, str]
    outputs: dict[str, str]
    tags: tuple[str, ...]
    unsafe: dict[str, str]


def read_content(folder: Path, name: str) -> SavedModelContent:
    """Read one signature of a SavedModel, and which unsafe operations lie in it.

    Names are kept, except for those that Keras counts through the life of a process (`keras_tensor_9`), which become
    `input`, or `input_0`, `input_1` if there are several. Characters other than letters, digits and `_` become `_`,
    and an output that has the name of an input ends in `_output`, because ONNX forbids the same name twice.

    Args:
        folder: with `saved_model.pb`.
        name: of the signature.

    Raises:
        InputError: damaged, no such signature, or inputs and outputs that cannot be served in batches.
    """
    graph = _choose_graph(folder, _parse(folder))
    definition = _choose_signature(folder, graph, name)
    inputs, outputs = _names(definition.inputs), _names(definition.outputs)
    outputs = {(f"{ours}_output" if ours in inputs else ours): theirs for ours, theirs in outputs.items()}
    signature = Signature(
        inputs={ours: _spec("input", theirs, definition.inputs[theirs]) for ours, theirs in inputs.items()},
        outputs={ours: _spec("output", theirs, definition.outputs[theirs]) for ours, theirs in outputs.items()},
    )
    return SavedModelContent(
        signature=signature,
        inputs=inputs,
        outputs=outputs,
        tags=tuple(graph.meta_info_def.tags),
        unsafe=_unsafe(graph, definition),
    )


def refuse_unsafe(folder: Path, unsafe: dict[str, str], allow: tuple[str, ...]) -> None:
    """Refuse operations that are not accepted knowingly.

    Raises:
        InputError: names every one and what to do.
    """
    refused = {operation: what for operation, what in unsafe.items() if operation not in allow}
    if refused:
        listed = ", ".join(f"{operation} {what}" for operation, what in refused.items())
        raise InputError(
            f"{folder.name} is not loaded, because operations in it reach beyond the model: {listed}. Export it "
            f"without them, or, if you trust whoever made it, write allow: [{', '.join(refused)}]."
        )


def _parse(folder: Path) -> Any:
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    content = (folder / FILE).read_bytes()
    if not content:
        raise InputError(f"{folder / FILE} is empty. Export or copy the model again.")
    try:
        parsed = SavedModel.FromString(content)
    except DecodeError as error:
        raise InputError(f"{folder / FILE} is truncated or no SavedModel. Export or copy the model again.") from error
    if not parsed.meta_graphs:
        raise InputError(f"{folder / FILE} holds no graph. Export or copy the model again.")
    if not (folder / "variables" / "variables.index").is_file() and _has_variables(parsed):
        raise InputError(f"{folder} has no variables/variables.index: its weights are missing. Copy the whole folder.")
    return parsed


def _has_variables(parsed: Any) -> bool:
    return any(
        node.op in ("VarHandleOp", "VariableV2") for graph in parsed.meta_graphs for node in graph.graph_def.node
    )


def _choose_graph(folder: Path, parsed: Any) -> Any:
    serving = [graph for graph in parsed.meta_graphs if SERVE_TAG in graph.meta_info_def.tags]
    if not serving:
        tags = [list(graph.meta_info_def.tags) for graph in parsed.meta_graphs]
        raise InputError(f"{folder} has no graph with the tag {SERVE_TAG!r} (it has: {tags}). {_HOW}")
    return min(serving, key=lambda graph: len(graph.meta_info_def.tags))  # the others are for GPUs and TPUs


def _choose_signature(folder: Path, graph: Any, name: str) -> Any:
    there = sorted(
        key
        for key, found in graph.signature_def.items()
        if not key.startswith(_INTERNAL) and not (key == "NOOP" or not found.outputs)
    )
    if not there:
        raise InputError(f"{folder} has no signature, so it cannot be called by names. {_HOW}")
    if name not in there:
        hint = suggest(name, there) or f" Write signature: {there[0]}."
        raise InputError(f"{folder} has no signature {name!r}. It has: {', '.join(there)}.{hint}")
    definition = graph.signature_def[name]
    if not definition.inputs:
        raise InputError(f"The signature {name!r} of {folder} takes no inputs. Choose another: {', '.join(there)}.")
    return definition


def _names(tensors: Any) -> dict[str, str]:
    """Normalized name -> own name, sorted by own name: the file has no order."""
    names: dict[str, str] = {}
    for theirs in sorted(tensors, key=_natural):
        ours = re.sub(r"\W", "_", theirs)
        if _COUNTED.fullmatch(theirs):
            ours = "input" if len(tensors) == 1 else f"input_{len(names)}"
        if not ours or ours[0].isdigit():
            ours = f"_{ours}"
        while ours in names:
            ours += "_"
        names[ours] = theirs
    return names


def _natural(name: str) -> list[tuple[int, str]]:
    """Sorts `x_9` before `x_10`."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def _spec(side: str, name: str, tensor: Any) -> TensorSpec:
    import numpy as np
    import tensorflow as tf

    called = f"The SavedModel's {side} {name!r}"
    if tensor.WhichOneof("encoding") not in ("name", None):
        raise InputError(f"{called} is a sparse or ragged tensor. Export a signature of dense tensors.")
    dtype = tf.as_dtype(tensor.dtype)
    if tensor.tensor_shape.unknown_rank:
        raise InputError(f"{called} has a shape of unknown rank. Export it with tf.TensorSpec or tf.ensure_shape.")
    shape = tuple(None if size.size < 0 else int(size.size) for size in tensor.tensor_shape.dim)
    if not shape or shape[0] is not None:
        raise InputError(
            f"{called} has shape {shape}. The first dimension is the batch and must be free: export it with "
            f"tf.TensorSpec([None, ...])."
        )
    if dtype == tf.string:
        return TensorSpec(dtype="str", shape=shape)
    if not hasattr(np, dtype.name) and dtype.name != "bool":
        raise InputError(f"{called} is {dtype.name}, which numpy has no name for. Export it as float32 or an integer.")
    return TensorSpec(dtype=dtype.name, shape=shape)


def _unsafe(graph: Any, definition: Any) -> dict[str, str]:
    functions = {function.signature.name: function for function in graph.graph_def.library.function}
    everything = [*graph.graph_def.node, *(node for each in functions.values() for node in each.node_def)]
    found = {node.op: _WHAT[node.op] for node in everything if node.op in _WHAT and node.op not in _SAVER}
    found |= {node.op: "prints into a file" for node in everything if _prints_into_file(node)}
    found |= {node.op: _WHAT[node.op] for node in _reached(graph, functions, definition) if node.op in _SAVER}
    return dict(sorted(found.items()))


def _prints_into_file(node: Any) -> bool:
    return bool(node.op == "PrintV2" and node.attr["output_stream"].s.startswith(b"file:"))


def _reached(graph: Any, functions: dict[str, Any], definition: Any) -> Iterator[Any]:
    """Every node that the signature's outputs depend on, through the functions that are called."""
    nodes = {node.name: node for node in graph.graph_def.node}
    waiting = [_node_name(tensor.name) for tensor in definition.outputs.values()]
    seen: set[str] = set()
    called: list[str] = []
    while waiting:
        name = waiting.pop()
        if name in seen or name not in nodes:
            continue
        seen.add(name)
        yield nodes[name]
        waiting += [_node_name(source) for source in nodes[name].input]
        called += _called(nodes[name])
    seen.clear()
    while called:
        name = called.pop()
        if name in seen or name not in functions:
            continue
        seen.add(name)
        for node in functions[name].node_def:
            yield node
            called += _called(node)


def _called(node: Any) -> Iterator[str]:
    yield node.op  # a function may be called like an operation
    for value in node.attr.values():
        if value.HasField("func"):
            yield value.func.name
        for function in value.list.func:
            yield function.name


def _node_name(tensor: str) -> str:
    return tensor.lstrip("^").partition(":")[0]
