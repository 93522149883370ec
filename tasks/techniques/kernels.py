"""What ONNX Runtime makes of a file: the operators that carry weights, and whether they run on integers.

The proof of a quantization looks here, at the optimized graph as it will run, because a file full of QuantizeLinear
nodes can still run every convolution in float (facts/optimizers.md, 4.15). All graphs count, the bodies of a Loop too.
"""

import tempfile
from pathlib import Path
from typing import Any

from tasks.foundations.errors import NotApplicable, ProofFailed
from tasks.foundations.record import Record
from tasks.models import onnx_file
from tasks.techniques.constants import Constant, Use, uses

# A model that keeps more than half of its weights in float is not what was asked for.
MIN_INTEGER_SHARE = 0.5
INTEGER = frozenset(
    {
        "ConvInteger", "DynamicQuantizeLSTM", "DynamicQuantizeMatMul", "MatMulInteger", "MatMulIntegerToFloat",
        "QAttention", "QGemm", "QLinearConv", "QLinearConvTranspose", "QLinearMatMul",
    }
)  # fmt: skip
# MatMulNBits stores its weights in 8 bits and multiplies in float.
FLOAT = frozenset(
    {
        "Attention", "Conv", "ConvTranspose", "Einsum", "FusedConv", "FusedGemm", "FusedMatMul",
        "FusedMatMulActivation", "GRU", "Gemm", "LSTM", "MatMul", "MatMulNBits", "NhwcFusedConv", "RNN",
    }
)  # fmt: skip
_RECURRENT = frozenset({"GRU", "LSTM", "RNN"})


class Kernel(Record):
    """One operator with weights in the optimized graph.

    Attributes:
        name: name of the node, after fusion often that of its last part.
        operator: operator type.
        weights: number of weight elements that it reads.
        inside: operator and name of the Loop, If or Scan whose body it is in, '' at the top level.
    """

    name: str
    operator: str
    weights: int
    inside: str = ""

    def __str__(self) -> str:
        return f"{self.operator} {self.name!r}" + (f" inside {self.inside}" if self.inside else "")


class Kernels(Record):
    """All operators with weights, by the arithmetic that they run in.

    Attributes:
        integer: those that run on integers.
        floating: those that run in float.
        integer_weights: elements of the weights that only integer operators read, each counted once.
        float_weights: elements of the weights that a float operator reads, in whatever precision they are stored.
    """

    integer: tuple[Kernel, ...]
    floating: tuple[Kernel, ...]
    integer_weights: int
    float_weights: int

    @property
    def integer_share(self) -> float:
        """Share of the weight elements that integer operators alone work on, 0 if there are none."""
        return self.integer_weights / max(1, self.integer_weights + self.float_weights)

    def evidence(self) -> dict[str, Any]:
        """Counts and lists for `evidence.json`."""
        return {
            "integer_operators": len(self.integer),
            "float_operators": len(self.floating),
            "integer_weights": self.integer_weights,
            "float_weights": self.float_weights,
            "integer_weight_share": round(self.integer_share, 6),
            "integer": [kernel.model_dump(mode="json") for kernel in self.integer],
            "float": [kernel.model_dump(mode="json") for kernel in self.floating],
        }


def inspect(folder: Path) -> Kernels:
    """Optimize `model.onnx` of a folder as a session would, but for the layout of weights, and look at the result."""
    found = uses(_optimized(folder / onnx_file.FILE))
    integer, floating = (_constants(found, kinds) for kinds in (INTEGER, FLOAT))
    return Kernels(
        integer=tuple(_weighted(found, INTEGER)),
        floating=tuple(_weighted(found, FLOAT)),
        # Weights that are read as integers once and in a Loop, dequantized, all the other times: float.
        integer_weights=sum(constant.elements for constant in integer - floating),
        float_weights=sum(constant.elements for constant in floating),
    )


def _optimized(path: Path) -> Any:
    import onnx
    import onnxruntime as ort

    options = ort.SessionOptions()
    # All that decides between integers and floats. The level above pads convolutions for the registers of this CPU, and
    # the same file would have another number of weights on the next one.
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    with tempfile.TemporaryDirectory(prefix="slipway-kernels-") as scratch:
        options.optimized_model_filepath = str(Path(scratch) / "optimized.onnx")
        ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        return onnx.load(options.optimized_model_filepath).graph


def weighted(model: Any) -> list[Kernel]:
    """Operators with weights of a model as it is written, in all its graphs, before any optimization."""
    return _weighted(uses(model.graph), FLOAT)


def refuse_float64(technique: str, model: Any) -> None:
    """Refuse a model whose weights are all in double precision.

    Raises:
        NotApplicable: they are; quantizers take float32 only and leave or break on anything else.
    """
    import onnx

    found = uses(model.graph)
    if {constant.kind for constant in _constants(found, FLOAT)} == {onnx.TensorProto.DOUBLE}:
        raise NotApplicable(
            f"{technique}: float64 weights cannot be quantized, and all of this model are: "
            f"{_few(_weighted(found, FLOAT))}. Build the model in float32, or leave {technique} out of this candidate."
        )


def require_integers(technique: str, found: Kernels, excluded: bool) -> None:
    """Refuse a file that works on too few of its weights in integers.

    Args:
        technique: kind of the technique, for the message.
        found: what the file's optimized graph has.
        excluded: whether the config keeps layers in float.

    Raises:
        ProofFailed: more than half of the weights are used in float; they are named, with what can be done.
    """
    if found.integer_share >= MIN_INTEGER_SHARE:
        return
    largest = sorted(found.floating, key=lambda kernel: -kernel.weights)
    whole = found.integer_weights + found.float_weights
    looped = technique != "int8_dynamic" and any(kernel.inside for kernel in found.floating)
    raise ProofFailed(
        f"{technique}: only {_share(found.integer_share)} of the weights ({found.integer_weights} of {whole}) are used "
        f"by integer operators in ONNX Runtime's optimized graph, expected at least {MIN_INTEGER_SHARE:.0%}. In float: "
        f"{_few(largest)}. {_reason(technique, found.floating)}Leave {technique} out of this candidate, or "
        f"use {'int8_dynamic' if looped else 'float16'}{', or exclude less' if excluded else ''}."
    )


def _share(share: float) -> str:
    if 0 < share < 0.01:
        return f"{share:.1%}" if share >= 0.001 else "under 0.1%"
    return f"{share:.0%}"


def _few(kernels: list[Kernel]) -> str:
    """The first three, and how many more."""
    more = f" and {len(kernels) - 3} more" if len(kernels) > 3 else ""
    return (", ".join(str(kernel) for kernel in kernels[:3]) or "nothing that has weights") + more


def _reason(technique: str, floating: tuple[Kernel, ...]) -> str:
    """What the float operators have in common that no setting changes."""
    dynamic, looped = technique == "int8_dynamic", any(kernel.inside for kernel in floating)
    convolutional = any("Conv" in kernel.operator for kernel in floating)
    reasons = (
        (
            looped and not dynamic,
            "Inside a Loop only int8_dynamic quantizes; a GRU or LSTM with a mask, and SimpleRNN, become a Loop. ",
        ),
        (
            looped and dynamic,
            "Inside a Loop only products with a whole initializer are quantized, which Keras' `reset_after=False` and "
            "`recurrent_dropout` prevent. ",
        ),
        (convolutional and dynamic, "Convolutions are quantized by int8_static only. "),
        (any(kernel.operator in _RECURRENT for kernel in floating), "ONNX has no 8-bit LSTM, GRU or RNN. "),
    )
    return "".join(text for holds, text in reasons if holds)


def _weighted(found: list[Use], kinds: frozenset[str]) -> list[Kernel]:
    kernels = []
    for use in found:
        weights = sum(constant.elements for constant in _constants([use], kinds))
        if weights:
            kernels.append(Kernel(name=use.node.name, operator=use.node.op_type, weights=weights, inside=use.inside))
    return kernels


def _constants(found: list[Use], kinds: frozenset[str]) -> set[Constant]:
    """Weights of the operators of some kinds: matrices and larger, neither vectors nor indices and shapes."""
    import onnx

    types = onnx.TensorProto
    no_weights = (types.BOOL, types.INT32, types.INT64, types.STRING)
    read = {constant for use in found if use.node.op_type in kinds for constant in use.constants}
    return {constant for constant in read if len(constant.dims) >= 2 and constant.kind not in no_weights}
