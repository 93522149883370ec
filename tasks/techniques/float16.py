"""Half-precision weights: half the size, no calibration, hardly any loss of accuracy.

Inputs and outputs stay float32. On CPUs without half-precision arithmetic it is not faster; the gates decide.
"""

from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from tasks.foundations.errors import NotApplicable, ProofFailed
from tasks.foundations.record import Record
from tasks.models import onnx_file
from tasks.models.onnx_graph import bodies, elements, walk
from tasks.models.rows import count, match
from tasks.models.signature import Signature
from tasks.techniques import constants
from tasks.techniques.calibration import Rows, measure_ranges
from tasks.techniques.nodes import select
from tasks.techniques.step import Place, Step

LARGEST = float(np.finfo(np.float16).max)
MIN_HALF_SHARE = 0.9
# Rows whose activations are looked at, and the value from which on a large negative one is a mask before a softmax.
ROWS = 128
MASK = -1e8


class Float16(Record):
    """Half-precision weights and arithmetic, float32 inputs and outputs."""

    level: ClassVar[Literal["training", "onnx"]] = "onnx"
    place: ClassVar[Place] = "onnx"
    followed_by: ClassVar[str | None] = None

    kind: Literal["float16"] = "float16"
    exclude: tuple[str, ...] = Field(
        default=(), description="Kept in float32: names of nodes or layers (parts of a node's path), or operator types."
    )

    def apply(self, step: Step) -> None:
        """Convert weights and operators that can run in half precision.

        Raises:
            NotApplicable: no float32 weights, or a weight or an activation on the calibration rows is outside the range
                of half precision; it is named.
            InputError: an entry of `exclude` matches nothing.
        """
        from onnxruntime.transformers.float16 import convert_float_to_float16

        model = onnx_file.read(Path(step.source))
        excluded = select(model, self.exclude, "float16.exclude")
        _refuse_large_weights(model, set(excluded))
        _refuse_large_activations(model, step)
        half = convert_float_to_float16(model, keep_io_types=True, node_block_list=excluded)
        _sort(half.graph)
        onnx_file.write(half, Path(step.out))

    def prove(self, folder: str, source: str) -> dict[str, Any]:
        """Weigh the float constants by precision, those in bodies of Loops included, excluded ones not.

        Raises:
            ProofFailed: less than nine tenths of their bytes are in half precision.
        """
        import onnx

        model = onnx_file.read(Path(folder))
        kept = _read_by(model, set(select(model, self.exclude, "float16.exclude")))
        size = dict.fromkeys((onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE), 0)
        left = []
        for item in constants.tensors(model.graph):
            if item.data_type in size and item.name not in kept:
                size[item.data_type] += elements(item) * onnx.helper.tensor_dtype_to_np_dtype(item.data_type).itemsize
                left += [item.name] if item.data_type != onnx.TensorProto.FLOAT16 else []
        share = size[onnx.TensorProto.FLOAT16] / max(1, sum(size.values()))
        if share < MIN_HALF_SHARE:
            raise ProofFailed(
                f"float16: {share:.0%} of the weights' bytes are in half precision, expected at least "
                f"{MIN_HALF_SHARE:.0%}. Still wider: {', '.join(left[:5])}. "
                f"{'Exclude less' if self.exclude else 'Leave float16 out of this candidate'}."
            )
        return {"half_share": round(share, 6), "half_bytes": size[onnx.TensorProto.FLOAT16], "float32": left}


def _refuse_large_weights(model: Any, excluded: set[str]) -> None:
    import onnx

    read, kept = _reads(model), _read_by(model, excluded)
    weights = [item for item in constants.tensors(model.graph) if item.data_type == onnx.TensorProto.FLOAT]
    if not weights:
        raise NotApplicable("float16: the model has no float32 weights. Leave float16 out of this candidate.")
    for item in weights:
        largest = float(np.max(np.abs(onnx.numpy_helper.to_array(item)), initial=0.0))
        # A lone number, as in a mask, is cut to the largest half by the converter.
        if largest > LARGEST and elements(item) > 1 and item.name not in kept:
            users = [node for node, names in read if item.name in names]
            raise NotApplicable(
                f"float16: weight {item.name!r} of {', '.join(users)} reaches {largest:.4g}, half precision ends at "
                f"{LARGEST:.0f}. {_advice(model, users)}."
            )


def _reads(model: Any) -> list[tuple[str, set[str]]]:
    """(node of the top level, which `exclude` names; the constants that it works on)."""
    return [(node.name, _names(node)) for node in model.graph.node if node.op_type != "Constant"]


def _read_by(model: Any, nodes: set[str]) -> set[str]:
    return {name for node, names in _reads(model) if node in nodes for name in names}


def _advice(model: Any, users: list[str]) -> str:
    # A Loop whose inputs stay float32 beside a body in half precision is no valid file.
    closed = {node.name for node in model.graph.node if bodies(node)}
    if not users or closed & set(users):
        return "Leave float16 out of this candidate"
    return f"Put {users[0]!r} into `exclude`, or leave float16 out"


def _names(node: Any) -> set[str]:
    """What a node and its bodies read, and the constants that the bodies make."""
    import onnx

    around = onnx.GraphProto(node=[node])
    return {name for inner in walk(around) for name in (*inner.input, *inner.output)}


def _refuse_large_activations(model: Any, step: Step) -> None:
    """A CPU computes in float32 all the same and would not show what half-precision arithmetic does."""
    signature = Signature.read(Path(step.source))
    arrays = match(step.calibration.input_arrays(), signature)
    rows = min(ROWS, count(arrays))
    for name, (low, high) in measure_ranges(model, Rows(signature, arrays, rows)).items():
        if high > LARGEST or MASK < low < -LARGEST:
            raise NotApplicable(
                f"float16: activation {name!r} reaches {max(high, -low):.4g}, half precision ends at {LARGEST:.0f}. "
                "Scale the model's inputs, or leave float16 out."
            )


def _sort(graph: Any) -> None:
    """ONNX wants nodes in order; the converter appends its casts at the end."""
    from tasks.models.onnx_normal import order

    order(graph)
