"""What ONNX Runtime makes of a file: the operators that carry weights, and whether they run on integers.

The proof of a quantization looks here, at the optimized graph as it will run, because a file full of QuantizeLinear
nodes can still run every convolution in float (facts/optimizers.md, 4.15).
"""

import tempfile
from pathlib import Path
from typing import Any

from tasks.foundations.record import Record
from tasks.models import onnx_file
from tasks.models.onnx_graph import elements, initializers, producers

INTEGER = frozenset(
    {
        "ConvInteger", "DynamicQuantizeLSTM", "DynamicQuantizeMatMul", "MatMulInteger", "MatMulIntegerToFloat",
        "QAttention", "QGemm", "QLinearConv", "QLinearConvTranspose", "QLinearMatMul",
    }
)  # fmt: skip
# MatMulNBits stores its weights in 8 bits and multiplies in float.
FLOAT = frozenset(
    {
        "Attention", "Conv", "ConvTranspose", "FusedConv", "FusedGemm", "FusedMatMul", "FusedMatMulActivation", "GRU",
        "Gemm", "LSTM", "MatMul", "MatMulNBits", "NhwcFusedConv", "RNN",
    }
)  # fmt: skip
# Operators that hand a constant on unchanged in size.
_PASS = frozenset({"DequantizeLinear", "QuantizeLinear", "Transpose", "Reshape", "Cast", "Identity"})


class Kernel(Record):
    """One operator with weights in the optimized graph.

    Attributes:
        name: name of the node, after fusion often that of its last part.
        operator: operator type.
        weights: number of weight elements.
    """

    name: str
    operator: str
    weights: int


class Kernels(Record):
    """All operators with weights, by the arithmetic that they run in."""

    integer: tuple[Kernel, ...]
    floating: tuple[Kernel, ...]

    @property
    def integer_share(self) -> float:
        """Share of the weight elements that integer operators work on, 0 if there are none."""
        whole = sum(kernel.weights for kernel in self.integer + self.floating)
        return sum(kernel.weights for kernel in self.integer) / whole if whole else 0.0

    def evidence(self) -> dict[str, Any]:
        """Counts and lists for `evidence.json`."""
        return {
            "integer_operators": len(self.integer),
            "float_operators": len(self.floating),
            "integer_weight_share": round(self.integer_share, 6),
            "integer": [kernel.model_dump(mode="json") for kernel in self.integer],
            "float": [kernel.model_dump(mode="json") for kernel in self.floating],
        }


def inspect(folder: Path) -> Kernels:
    """Optimize `model.onnx` of a folder as a session would, and look at the result."""
    import onnx

    with tempfile.TemporaryDirectory(prefix="slipway-kernels-") as scratch:
        optimized = Path(scratch) / "optimized.onnx"
        onnx_file.session(folder / onnx_file.FILE, outputs=optimized)
        graph = onnx.load(str(optimized)).graph
    integer, floating = (tuple(_weighted(graph, kinds)) for kinds in (INTEGER, FLOAT))
    return Kernels(integer=integer, floating=floating)


def weighted(model: Any) -> list[Kernel]:
    """Operators with weights of a graph as it is written, before any optimization."""
    return _weighted(model.graph, FLOAT)


def _weighted(graph: Any, kinds: frozenset[str]) -> list[Kernel]:
    constants, made = initializers(graph), producers(graph)
    found = []
    for node in graph.node:
        if node.op_type in kinds:
            weights = sum(_constant_elements(name, constants, made) for name in set(node.input) if name)
            if weights:
                found.append(Kernel(name=node.name, operator=node.op_type, weights=weights))
    return found


def _constant_elements(name: str, constants: dict[str, Any], made: dict[str, Any]) -> int:
    """Elements of the matrix behind a tensor, 0 for activations, vectors and scalars."""
    while name not in constants:
        node = made.get(name)
        if node is None or node.op_type not in _PASS or not node.input:
            return 0
        name = node.input[0]
    tensor = constants[name]
    return elements(tensor) if len(tensor.dims) >= 2 else 0
