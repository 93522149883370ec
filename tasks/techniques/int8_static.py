"""Eight-bit weights and activations with ranges measured beforehand: the technique for convolution nets on CPUs.

Unsigned activations and signed weights per channel (U8S8, QDQ) on x86: ONNX Runtime's default, S8S8, is 2.3 times
slower there. Elsewhere (ARM) both are signed.
"""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from tasks.foundations.errors import InputError, NotApplicable
from tasks.foundations.record import Record
from tasks.models import onnx_file
from tasks.models.rows import count, match
from tasks.models.signature import Signature
from tasks.techniques import kernels, processor, zero_points
from tasks.techniques.calibration import Method, Ranges, Rows, measure_ranges
from tasks.techniques.nodes import select
from tasks.techniques.step import Place, Step

PERCENTILE = 99.99
QUANTIZABLE = ("Conv", "ConvTranspose", "Gemm", "MatMul")
# They hand 8-bit values on, so that none has to become float between two layers.
_PASSING = (
    *("AveragePool", "Clip", "Concat", "Flatten", "Gather", "GlobalAveragePool", "LeakyRelu", "MaxPool", "Pad", "Relu"),
    *("Reshape", "Resize", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze"),
)
# Residuals and gates of convolution nets. In nets of matrix products they sit beside normalization and GELU, which run
# in float: there they cost 15 % (4 layers of attention, width 128), in MobileNetV3 they gain 10 %.
_ELEMENTWISE = ("Add", "Mul", "Sigmoid")


class Int8Static(Record):
    """Eight-bit weights and activations, calibrated."""

    level: ClassVar[Literal["training", "onnx"]] = "onnx"
    place: ClassVar[Place] = "onnx"
    followed_by: ClassVar[str | None] = None

    kind: Literal["int8_static"] = "int8_static"
    calibration: Method = Field(
        default="minmax",
        description="How ranges of activations are chosen: extremes, least divergence, or a percentile.",
    )
    percentile: float = Field(
        default=PERCENTILE,
        gt=50.0,
        le=100.0,
        description="Share of values kept, in percent; used by calibration: percentile.",
    )
    rows: int = Field(default=512, ge=1, description="Calibration rows used at most.")
    per_channel: bool = Field(default=True, description="One weight scale an output channel instead of one a tensor.")
    reduce_range: bool | Literal["auto"] = Field(
        default="auto",
        description="Seven-bit weights, against saturation on x86 without VNNI; auto: exactly there.",
    )
    exclude: tuple[str, ...] = Field(
        default=(), description="Kept in float: names of nodes or layers (parts of a node's path), or operator types."
    )

    @model_validator(mode="after")
    def _percentile_is_used(self) -> Self:
        # By value: a worker is handed the defaults too.
        if self.calibration != "percentile" and self.percentile != PERCENTILE:
            raise ValueError(f"percentile belongs to calibration: percentile. Got calibration: {self.calibration}")
        return self

    def apply(self, step: Step) -> None:
        """Fold, calibrate, quantize.

        Raises:
            NotApplicable: no convolution or matrix product with constant weights, or float64 ones only.
            InputError: an entry of `exclude` matches nothing, or the rows do not fit the model.
            StepFailed: an activation is not finite.
        """
        source, out = Path(step.source), Path(step.out)
        signature = Signature.read(source)
        kernels.refuse_float64(self.kind, onnx_file.read(source))
        with tempfile.TemporaryDirectory(prefix="slipway-int8-") as scratch:
            prepared = _prepare(source / onnx_file.FILE, Path(scratch))
            excluded = select(prepared, self.exclude, "int8_static.exclude")
            self._refuse_nothing_to_do(prepared, set(excluded))
            found = self._ranges(prepared, signature, step)
            quantized = self._quantize(prepared, found, excluded, Path(scratch))
        onnx_file.write(quantized, out)

    def prove(self, folder: str, source: str) -> dict[str, Any]:
        """Count integer and float operators of ONNX Runtime's optimized graph.

        Raises:
            ProofFailed: most of the weights are still used in float.
        """
        found = kernels.inspect(Path(folder))
        kernels.require_integers(self.kind, found, bool(self.exclude))
        return found.evidence() | {
            "activations": "uint8" if processor.is_x86() else "int8",
            "weights": "int8",
            "reduce_range": processor.reduced(self.reduce_range),
        }

    def _refuse_nothing_to_do(self, model: Any, excluded: set[str]) -> None:
        # The quantizer leaves bodies alone.
        found = [kernel for kernel in _outside(model) if kernel.operator in QUANTIZABLE]
        if not found:
            has = ", ".join(sorted({node.op_type for node in model.graph.node})) or "no operators"
            raise NotApplicable(
                f"int8_static needs a {', '.join(QUANTIZABLE)} with constant weights outside of loops; the graph has "
                f"{has}. Leave int8_static out of this candidate."
            )
        if all(kernel.name in excluded for kernel in found):
            raise NotApplicable("int8_static: `exclude` leaves nothing to quantize. Exclude less.")

    def _ranges(self, model: Any, signature: Signature, step: Step) -> Ranges:
        arrays = match(step.calibration.input_arrays(), signature)
        rows = min(self.rows, count(arrays))
        if rows == 0:
            raise InputError("The calibration split has no rows. Give at least one, better 100 or more.")
        found = Rows(signature, arrays, rows)
        return measure_ranges(model, found, self.calibration, self.percentile, _operators(model))

    def _quantize(self, model: Any, found: Ranges, excluded: list[str], scratch: Path) -> Any:
        import onnx
        from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

        ranges, target = scratch / "ranges.json", scratch / "quantized.onnx"
        ranges.write_text(json.dumps(_as_cache(found)))
        quantize_static(
            model,
            target,
            calibration_cache_path=ranges,
            calibrate_method=CalibrationMethod.MinMax,
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=_operators(model),
            activation_type=QuantType.QUInt8 if processor.is_x86() else QuantType.QInt8,
            weight_type=QuantType.QInt8,
            per_channel=self.per_channel,
            reduce_range=processor.reduced(self.reduce_range),
            nodes_to_exclude=excluded,
        )
        quantized = onnx.load(str(target))
        zero_points.share(quantized.graph)
        return quantized


def _operators(model: Any) -> list[str]:
    """Types of operators that are quantized, by the kind of the net."""
    kinds = [kernel.operator for kernel in _outside(model)]
    convolutional = 2 * sum(kind.startswith("Conv") for kind in kinds) >= len(kinds)
    return [*QUANTIZABLE, *_PASSING, *(_ELEMENTWISE if convolutional else ())]


def _outside(model: Any) -> list[kernels.Kernel]:
    """Operators with weights that are not in the body of a Loop, If or Scan."""
    return [kernel for kernel in kernels.weighted(model) if not kernel.inside]


def _prepare(path: Path, scratch: Path) -> Any:
    """Fold batch norms and constants, fuse matrix products with their biases, infer shapes."""
    import onnx
    from onnxruntime.quantization.shape_inference import quant_pre_process

    prepared = scratch / "prepared.onnx"
    # Symbolic inference needs sympy, which is not installed, and fails on attention; ONNX's own is enough here.
    quant_pre_process(str(path), str(prepared), skip_symbolic_shape=True)
    return onnx.load(str(prepared))


def _as_cache(found: Mapping[str, tuple[float, float]]) -> dict[str, Any]:
    """ONNX Runtime's format for ranges that are known already (quantize_static's `calibration_cache_path`)."""

    def scalar(value: float) -> dict[str, Any]:
        return {"data": float(np.float32(value)), "dtype": "float32", "CLS": "numpy.array"}

    data = {
        name: {"lowest": scalar(low), "highest": scalar(high), "CLS": "TensorData"}
        for name, (low, high) in found.items()
    }
    method = {"CLS": "CalibrationMethod", "value": "CalibrationMethod.MinMax"}
    return {"CLS": "TensorsData", "data": data, "calibration_method": method, "smooth_quant": False}
