"""Eight-bit weights with activations quantized at run time: for matrix products only.

No calibration is needed and no range can be wrong. Convolutions stay in float: their dynamic form, ConvInteger, is
1.1 to 16 times slower than float on every CPU that was measured.
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
from tasks.techniques import kernels, processor
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
            NotApplicable: there is none.
            InputError: an entry of `exclude` matches nothing.
        """
        model = onnx_file.read(Path(step.source))
        excluded = select(model, self.exclude, "int8_dynamic.exclude")
        _gemm_to_matmul(model)
        found = [kernel.name for kernel in kernels.weighted(model) if kernel.operator == "MatMul"]
        if not set(found) - set(excluded):
            has = ", ".join(sorted({node.op_type for node in model.graph.node})) or "no operators"
            raise NotApplicable(
                f"int8_dynamic needs a MatMul or Gemm with constant weights that is not excluded; the graph has {has}. "
                "Use int8_static for convolutions, or float16."
            )
        onnx_file.write(self._quantize(model, excluded), Path(step.out))

    def prove(self, folder: str, source: str) -> dict[str, Any]:
        """Look for matrix products that still run in float.

        Raises:
            ProofFailed: none runs on integers, or one that was not excluded runs in float.
        """
        found = kernels.inspect(Path(folder))
        before = [kernel.name for kernel in kernels.weighted(onnx_file.read(Path(source)))]
        left = [kernel for kernel in found.floating if kernel.operator in _MATRIX]
        if not found.integer or (left and not self.exclude):
            names = ", ".join(f"{kernel.operator} {kernel.name!r}" for kernel in left[:5]) or "nothing else"
            raise ProofFailed(
                f"int8_dynamic: {len(found.integer)} of {len(before)} operators with weights run on integers in ONNX "
                f"Runtime's optimized graph; matrix products in float: {names}. Use int8_static or float16."
            )
        return found.evidence() | {"activations": "uint8", "weights": "int8", "reduce_range": self._reduced()}

    def _reduced(self) -> bool:
        if self.reduce_range == "auto":
            return processor.is_x86() and not processor.has_vnni()
        return self.reduce_range

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
                reduce_range=self._reduced(),
                weight_type=QuantType.QInt8,
                nodes_to_exclude=excluded,
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
            weights = f"{node.name}/weights"
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
