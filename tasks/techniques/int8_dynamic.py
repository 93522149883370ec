"""Eight-bit weights with activations quantized at run time: for matrix products only.

No calibration is needed and no range can be wrong, so products inside a Loop, those of a GRU, are quantized as well.
Convolutions stay in float: their dynamic form, ConvInteger, is 1.1 to 16 times slower than float on every CPU that was
measured.
"""

import tempfile
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from tasks.foundations.errors import NotApplicable, ProofFailed
from tasks.foundations.record import Record
from tasks.models import onnx_file
from tasks.models.onnx_graph import attribute, initializers
from tasks.techniques import kernels, loops, processor
from tasks.techniques.nodes import select
from tasks.techniques.step import Place, Step

_MATRIX = frozenset({"FusedGemm", "FusedMatMul", "FusedMatMulActivation", "Gemm", "MatMul"})


class Int8Dynamic(Record):
    """Eight-bit weights of matrix products, activations quantized at run time."""

    level: ClassVar[Literal["training", "onnx"]] = "onnx"
    place: ClassVar[Place] = "onnx"
    followed_by: ClassVar[str | None] = None

    kind: Literal["int8_dynamic"] = "int8_dynamic"
    per_channel: bool = Field(default=True, description="One weight scale an output channel instead of one a tensor.")
    reduce_range: bool | Literal["auto"] = Field(
        default="auto",
        description="Seven-bit weights, against saturation on x86 without VNNI; auto: exactly there.",
    )
    exclude: tuple[str, ...] = Field(
        default=(), description="Kept in float: names of nodes or layers (parts of a node's path), or operator types."
    )

    def apply(self, step: Step) -> None:
        """Quantize the matrix products with constant weights.

        Raises:
            NotApplicable: there is none, or float64 ones only.
            InputError: an entry of `exclude` matches nothing.
        """
        model = onnx_file.read(Path(step.source))
        excluded = select(model, self.exclude, "int8_dynamic.exclude")
        excluded += loops.inner_names(model.graph, excluded)
        _gemm_to_matmul(model)
        loops.read_from_outside(model.graph)
        kernels.refuse_float64(self.kind, model)
        self._refuse_nothing_to_do(model, set(excluded))
        onnx_file.write(self._quantize(model, excluded), Path(step.out))

    def prove(self, folder: str, source: str) -> dict[str, Any]:
        """Look for matrix products that still run in float.

        Raises:
            ProofFailed: most of the weights are still used in float, or a matrix product that was not excluded is.
        """
        found = kernels.inspect(Path(folder))
        kernels.require_integers(self.kind, found, bool(self.exclude))
        left = [kernel for kernel in found.floating if kernel.operator in _MATRIX and not kernel.inside]
        if left and not self.exclude:
            raise ProofFailed(
                "int8_dynamic: matrix products still in float in ONNX Runtime's optimized graph: "
                f"{', '.join(str(kernel) for kernel in left[:5])}. Put them into `exclude` if they may stay so, or use "
                "float16."
            )
        return found.evidence() | {
            "activations": "uint8",
            "weights": "int8",
            "reduce_range": processor.reduced(self.reduce_range),
        }

    def _refuse_nothing_to_do(self, model: Any, excluded: set[str]) -> None:
        found = kernels.weighted(model)
        products = {kernel.name for kernel in found if kernel.operator == "MatMul"}
        if products - excluded:
            return
        if products:
            raise NotApplicable("int8_dynamic: `exclude` leaves nothing to quantize. Exclude less.")
        has = ", ".join(sorted({node.op_type for node in model.graph.node})) or "no operators"
        convolutional = any(kernel.operator.startswith("Conv") for kernel in found)
        advice = "Use int8_static for convolutions" if convolutional else "Leave int8_dynamic out of this candidate"
        raise NotApplicable(
            f"int8_dynamic needs a MatMul or Gemm with constant weights; the graph has {has}. {advice}, or use float16."
        )

    def _quantize(self, model: Any, excluded: list[str]) -> Any:
        import onnx
        from onnxruntime.quantization import QuantType, quantize_dynamic
        from onnxruntime.quantization.quant_utils import add_pre_process_metadata

        # Nothing is left to prepare: the graph is clean. Without the mark ONNX Runtime warns on every call.
        add_pre_process_metadata(model)
        with tempfile.TemporaryDirectory(prefix="slipway-int8-") as scratch:
            target = Path(scratch) / "quantized.onnx"
            quantize_dynamic(
                model,
                target,
                op_types_to_quantize=["MatMul"],
                per_channel=self.per_channel,
                reduce_range=processor.reduced(self.reduce_range),
                weight_type=QuantType.QInt8,
                nodes_to_exclude=excluded,
                extra_options={"EnableSubgraph": True},
            )
            return onnx.load(str(target))


def _gemm_to_matmul(model: Any) -> None:
    """Write plain Gemms as MatMul and Add, the only form that ONNX Runtime's dynamic quantizer knows."""
    import onnx

    constants = initializers(model.graph)
    nodes = []
    for node in model.graph.node:
        plain = attribute(node, "alpha", 1.0) == 1.0 and attribute(node, "beta", 1.0) == 1.0
        if node.op_type != "Gemm" or not plain or attribute(node, "transA", 0) or node.input[1] not in constants:
            nodes.append(node)
            continue
        weights = node.input[1]
        if attribute(node, "transB", 0):
            array = onnx.numpy_helper.to_array(constants[weights])
            weights = f"{node.output[0]}/weights"
            model.graph.initializer.append(onnx.numpy_helper.from_array(np.ascontiguousarray(array.T), weights))
        biased = len(node.input) == 3
        product = f"{node.output[0]}/product" if biased else node.output[0]
        nodes.append(onnx.helper.make_node("MatMul", [node.input[0], weights], [product], name=node.name))
        if biased:
            nodes.append(
                onnx.helper.make_node("Add", [product, node.input[2]], [node.output[0]], name=f"{node.name}/bias")
            )
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    _drop_unused_constants(model.graph)


def _drop_unused_constants(graph: Any) -> None:
    from tasks.models.onnx_graph import reads

    used = {name for node in graph.node for name in reads(node)} | {value.name for value in graph.output}
    for item in [item for item in graph.initializer if item.name not in used]:
        graph.initializer.remove(item)
