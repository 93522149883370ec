"""The tf_keras twin of a sequential Keras 3 model as plain tf2onnx exports it: the yardstick of our own export.

Run with TF_USE_LEGACY_KERAS=1: `python -m tests.benchmarks.twin REFERENCE OUT`, where REFERENCE is a model folder.
"""

import sys
from pathlib import Path
from typing import Any

from tasks.models.signature import Signature


def main(reference: str, out: str) -> None:
    """Write `model.onnx` and `signature.json` into the empty folder OUT."""
    import keras
    import onnx
    import tensorflow as tf
    import tf2onnx

    signature = Signature.read(Path(reference))
    model = build(keras.saving.load_model(Path(reference) / "model.keras"))
    (name, spec), (output,) = next(iter(signature.inputs.items())), signature.outputs
    inputs = [tf.TensorSpec((None, *spec.shape[1:]), spec.dtype, name=name)]
    proto, _ = tf2onnx.convert.from_keras(model, input_signature=inputs, opset=17)
    rename(proto.graph, proto.graph.output[0].name, output)
    onnx.checker.check_model(proto)
    onnx.save(proto, str(Path(out) / "model.onnx"))
    signature.write(Path(out))


def build(model: Any) -> Any:
    """Layer by layer, with the same weights."""
    import tf_keras

    twins = [tf_keras.layers.InputLayer(input_shape=model.input_shape[1:])]
    for layer in model.layers:
        twins.append(getattr(tf_keras.layers, type(layer).__name__)(**settings(layer)))
    twin = tf_keras.Sequential(twins)
    twin.set_weights(model.get_weights())
    return twin


def settings(layer: Any) -> dict[str, Any]:
    """What the twin of a layer needs; weights come afterwards, so initializers and regularizers do not matter."""
    names = ("filters", "kernel_size", "strides", "padding", "use_bias", "units", "momentum", "epsilon", "pool_size")
    config = layer.get_config()
    kept = {name: config[name] for name in names if config.get(name) is not None}
    return kept | ({"activation": config["activation"]} if isinstance(config.get("activation"), str) else {})


def rename(graph: Any, old: str, new: str) -> None:
    """Give the graph's output another name."""
    for node in graph.node:
        for index, name in enumerate(node.output):
            if name == old:
                node.output[index] = new
    graph.output[0].name = new


if __name__ == "__main__":
    main(*sys.argv[1:])
