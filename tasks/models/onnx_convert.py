"""A SavedModel's `serving_default` as an ONNX graph, through tf2onnx.

tf2onnx reports success for a graph that still holds TensorFlow operators, gives inputs and outputs names of its own
and numbers nodes with a counter of the process. So unsupported operators are looked for by name here, default GELU's
`Erfc` gets a handler, and the dimensions of inputs and outputs are stamped with the signature's.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tasks.foundations.errors import InputError, StepFailed
from tasks.models import onnx_file
from tasks.models.onnx_graph import walk
from tasks.models.signature import Signature, TensorSpec

ENTRY = "serving_default"
BATCH = "batch"


def convert(saved_model: Path, signature: Signature) -> Any:
    """Convert to a ModelProto at opset 17 with the signature's inputs and outputs in its order; names follow later.

    Raises:
        InputError: the SavedModel has no such signature, or other inputs and outputs than `signature.json` says.
        StepFailed: an operator has no ONNX form, or the weights do not fit into one file.
    """
    weights = sum(file.stat().st_size for file in (saved_model / "variables").glob("variables.data-*"))
    onnx_file.refuse_large(weights, "The SavedModel")
    model = _run_tf2onnx(saved_model, signature)
    _refuse_unsupported(model)
    _stamp(model, signature)
    return model


def _run_tf2onnx(saved_model: Path, signature: Signature) -> Any:
    import tensorflow as tf
    import tf2onnx

    loaded = tf.saved_model.load(str(saved_model))
    infer = _serving(loaded, signature)
    names = list(signature.inputs)

    @tf.function(autograph=False)  # type: ignore[untyped-decorator, unused-ignore]
    def call(*tensors: Any) -> Any:
        outputs = infer(**dict(zip(names, tensors, strict=True)))
        return [tf.identity(outputs[name]) for name in signature.outputs]

    specs = [
        tf.TensorSpec(spec.shape, _tf_dtype(spec), name=_placeholder(index))
        for index, spec in enumerate(signature.inputs.values())
    ]
    with _quiet():
        try:
            model, _ = tf2onnx.convert.from_function(
                call, specs, opset=onnx_file.OPSET, custom_op_handlers={"Erfc": (_erfc, [])}
            )
        except Exception as error:
            raise StepFailed(
                f"tf2onnx cannot convert this model: {type(error).__name__}: {error}. "
                "Replace the layer that it names, or use only targets with `runtime: tensorflow`."
            ) from error
    return model


def _serving(loaded: Any, signature: Signature) -> Any:
    infer = loaded.signatures.get(ENTRY) if hasattr(loaded, "signatures") else None
    if infer is None:
        found = ", ".join(getattr(loaded, "signatures", {})) or "none"
        raise InputError(f"The SavedModel has no signature {ENTRY!r} (it has: {found}). Export it with that signature.")
    inputs, outputs = set(infer.structured_input_signature[1]), set(infer.structured_outputs)
    if inputs != set(signature.inputs) or outputs != set(signature.outputs):
        raise InputError(
            f"The SavedModel maps {sorted(inputs)} to {sorted(outputs)}, signature.json says "
            f"{sorted(signature.inputs)} to {sorted(signature.outputs)}. Save the model again."
        )
    clash = sorted(inputs & outputs)
    if clash:
        raise InputError(
            f"{', '.join(clash)} names both an input and an output, which ONNX forbids. Rename the output."
        )
    return infer


def _erfc(ctx: Any, node: Any, _name: str, _args: Any) -> None:
    """Erfc(x) = 1 - Erf(x); where x = -z * c, as in GELU, 1 + Erf(z / (1 / c)), which ONNX Runtime fuses into Gelu."""
    from tf2onnx import utils

    dtype = utils.map_onnx_to_numpy_type(ctx.get_dtype(node.output[0]))
    typed = {"shapes": node.output_shapes, "dtypes": node.output_dtypes}
    one = ctx.make_const(utils.make_name("one"), np.array(1, dtype=dtype)).output[0]
    negated = _negated(node)
    operand = node.input[0]
    if negated is not None:
        root = ctx.make_const(utils.make_name("root"), np.array(1 / np.float64(negated[1]), dtype=dtype)).output[0]
        operand = ctx.make_node("Div", [negated[0], root], name=f"{node.name}/scale", **typed).output[0]
    ctx.remove_node(node.name)
    erf = ctx.make_node("Erf", [operand], name=f"{node.name}/Erf", **typed).output[0]
    kind, order = ("Sub", [one, erf]) if negated is None else ("Add", [erf, one])
    ctx.make_node(kind, order, outputs=node.output, name=node.name, **typed)


def _negated(node: Any) -> tuple[str, float] | None:
    """(z, c) if the node's input is -z * c with a constant scalar c, else None."""
    product = node.inputs[0]
    if product is None or product.type != "Mul":
        return None
    for minus, factor in ((0, 1), (1, 0)):
        inner, scale = product.inputs[minus], product.inputs[factor]
        if inner is None or inner.type != "Neg" or scale is None or not scale.is_const():
            continue
        value = scale.get_tensor_value(as_list=False)
        if value.size == 1 and value != 0:
            return inner.input[0], float(value.reshape(()))
    return None


def _refuse_unsupported(model: Any) -> None:
    """Name every operator that is not ONNX's own.

    Raises:
        StepFailed: there is at least one.
    """
    import onnx

    unknown: dict[str, str] = {}
    for node in walk(model.graph):
        if node.domain not in onnx_file.STANDARD_DOMAINS or not onnx.defs.has(
            node.op_type, onnx_file.OPSET, node.domain
        ):
            unknown.setdefault(node.op_type, node.name)
    if unknown:
        listed = "; ".join(f"{kind} (node {name!r})" for kind, name in sorted(unknown.items()))
        raise StepFailed(
            f"No ONNX form for the TensorFlow operator {listed}. Replace the layer that uses it by one made of common "
            "operators, or use only targets with `runtime: tensorflow`."
        )


def _stamp(model: Any, signature: Signature) -> None:
    """Put the signature's dimensions on the graph's inputs and outputs; names come with the normal form."""
    import onnx

    graph = model.graph
    found = {value.name: value.type.tensor_type.elem_type for value in graph.input}
    values = []
    for index, (name, spec) in enumerate(signature.inputs.items()):
        kind = found.get(_placeholder(index)) or _kind(spec)
        values.append(onnx.helper.make_tensor_value_info(_placeholder(index), kind, _dims(name, spec)))
    del graph.input[:], graph.value_info[:]
    graph.input.extend(values)
    for value, (name, spec) in zip(graph.output, signature.outputs.items(), strict=True):
        kind = value.type.tensor_type.elem_type
        value.CopyFrom(onnx.helper.make_tensor_value_info(value.name, kind, _dims(name, spec)))


def _placeholder(index: int) -> str:
    return f"input_{index}"


def _kind(spec: TensorSpec) -> int:
    import onnx

    return int(onnx.helper.np_dtype_to_tensor_dtype(np.dtype(object if spec.dtype == "str" else spec.dtype)))


def _dims(name: str, spec: TensorSpec) -> list[int | str]:
    return [_dim(name, axis, size) for axis, size in enumerate(spec.shape)]


def _dim(name: str, index: int, size: int | None) -> int | str:
    if index == 0:
        return BATCH
    return f"{name}_dim{index}" if size is None else size


def _tf_dtype(spec: TensorSpec) -> Any:
    import tensorflow as tf

    return tf.string if spec.dtype == "str" else tf.as_dtype(spec.dtype)


@contextmanager
def _quiet() -> Iterator[None]:
    """tf2onnx logs what the errors above say better."""
    logger = logging.getLogger("tf2onnx")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
