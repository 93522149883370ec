"""From one layer of Keras 3 to its twin in tf_keras: the class of the same name, the same settings, the same weights.

Nothing is dropped silently: a setting that tf_keras does not know must have its default.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tasks.foundations.errors import StepFailed
from tasks.models.bridge import activations, encoding
from tasks.models.bridge.refusal import Unsupported

# Without meaning once the weights are copied, or for the speed of Keras 3 alone.
IGNORED = frozenset({"seed", "flash_attention", "use_cudnn", "name", "trainable", "dtype"})
# Not to be read off the constructors.
DEFAULTS = (("data_format", "channels_last"), ("rms_scaling", False))
# They compute `activation(linear part)`, so the activation can be a layer of its own.
SPLITTABLE = frozenset(
    {"Dense", "EinsumDense", "Conv1D", "Conv2D", "Conv3D", "Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose",
     "DepthwiseConv1D", "DepthwiseConv2D", "SeparableConv1D", "SeparableConv2D"}
)  # fmt: skip
# Their state comes with their settings.
STATE_IN_SETTINGS = frozenset(
    {"Normalization", "StringLookup", "IntegerLookup", "TextVectorization", "Discretization", "Hashing",
     "HashedCrossing", "KerasOperation"}
)  # fmt: skip
# Besides those that begin with Random.
AUGMENTATIONS = frozenset({"AugMix", "CutMix", "MixUp", "RandAugment"})
REPLACE = "Replace the layer by one of keras.layers"


@dataclass(frozen=True)
class Twin:
    """A layer of tf_keras and what is copied into it.

    Attributes:
        layer: not built yet.
        behind: layers to put behind it.
        weights: pairs (layer of Keras 3, layer of tf_keras) whose weights are the same.
    """

    layer: Any
    behind: tuple[Any, ...]
    weights: tuple[tuple[Any, Any], ...]


def twin_of(layer: Any, name: str, whole: bool = False) -> Twin:
    """The twin of a layer.

    Args:
        layer: a built keras.layers.Layer, not a model.
        name: of the twin.
        whole: keep the activation inside, because the layer goes into another one.

    Raises:
        Unsupported: tf_keras has nothing that computes the same.
    """
    import tf_keras

    kind = _kind(layer)
    if (
        kind == "Layer of the user"
        or getattr(layer, "quantization_mode", None)
        or getattr(layer, "lora_enabled", False)
    ):
        raise _foreign(layer, kind)
    if kind in SPECIAL:
        return SPECIAL[kind](layer, name)
    if not hasattr(tf_keras.layers, kind):
        return _hosted(layer, name)
    try:
        settings = _settings(layer, getattr(tf_keras.layers, kind))
        behind = () if whole or kind not in SPLITTABLE else _split(layer, settings, name)
        twin = getattr(tf_keras.layers, kind)(name=name, **settings)
    except Unsupported:
        if layer.weights or not type(layer).__module__.startswith(encoding.HOMES):
            raise
        return _hosted(layer, name)
    except (TypeError, ValueError) as error:
        raise Unsupported(f"tf_keras does not take its settings ({error})", REPLACE) from error
    return Twin(twin, behind, ((layer, twin),))


def copy(pairs: tuple[tuple[Any, Any], ...]) -> None:
    """Copy weights into twins that are built by now.

    Raises:
        StepFailed: the weights of a twin have other shapes.
    """
    for layer, twin in pairs:
        if type(layer).__name__ in STATE_IN_SETTINGS or type(twin).__name__ in STATE_IN_SETTINGS:
            continue
        values = [np.asarray(weight.value) for weight in layer.weights]
        have, wanted = [value.shape for value in values], [tuple(weight.shape) for weight in twin.weights]
        if have != wanted:
            raise StepFailed(
                f"{type(layer).__name__} {layer.name!r} has weights of the shapes {have}, its twin in tf_keras "
                f"{wanted}: it cannot cross. {REPLACE}, or use only ONNX-level techniques."
            )
        twin.set_weights(values)


def policy(layer: Any) -> str:
    """The name of a layer's dtypes, as both versions of Keras write it."""
    compute, variable = str(layer.compute_dtype), str(layer.variable_dtype)
    return compute if compute == variable else f"mixed_{compute}"


def _kind(layer: Any) -> str:
    """The name of the class, if it is Keras' own; subclasses of the user compute something else."""
    import keras

    cls = type(layer)
    own = getattr(keras.layers, cls.__name__, None) is cls or cls.__module__.startswith("keras.src.")
    return cls.__name__ if own else "Layer of the user"


def _foreign(layer: Any, kind: str) -> Unsupported:
    import keras

    if isinstance(layer, keras.Model):
        return Unsupported(
            "a subclassed model has no graph that could be walked", "Build it with keras.Model(inputs, outputs)"
        )
    if kind == "Layer of the user":
        return Unsupported(f"the class {type(layer).__module__}.{type(layer).__qualname__} is the user's own", REPLACE)
    return Unsupported("it holds quantized or LoRA weights", "Merge or dequantize them before the release")


def _settings(layer: Any, twin: type) -> dict[str, Any]:
    config, known = layer.get_config(), _parameters(twin)
    settings: dict[str, Any] = {"dtype": policy(layer), "trainable": layer.trainable}
    for key, value in config.items():
        if key in IGNORED or key.endswith("_initializer"):
            continue
        if key in known:
            settings[key] = _setting(layer, key, value)
        elif not _default(layer, key, value):
            raise Unsupported(f"tf_keras has no setting for {key}={value!r}", f"Build it without {key}")
    return settings


def _parameters(cls: type) -> set[str]:
    """Names of everything that the constructors of a class and its bases take."""
    import tf_keras

    found = {"activity_regularizer"} | ({"zero_output_for_mask"} if issubclass(cls, tf_keras.layers.RNN) else set())
    for each in cls.__mro__:
        if each.__name__ == "Layer":
            break
        constructor = vars(each).get("__init__")
        found |= set(inspect.signature(constructor).parameters) if constructor else set()
    return found


def _default(layer: Any, key: str, value: Any) -> bool:
    if value is None or (key, value) in DEFAULTS:
        return True
    for each in type(layer).__mro__:
        constructor = vars(each).get("__init__")
        parameter = inspect.signature(constructor).parameters.get(key) if constructor else None
        if parameter is not None:
            same = parameter.default == value or (isinstance(value, list) and parameter.default == tuple(value))
            return bool(same)
    return False


def _setting(layer: Any, key: str, value: Any) -> Any:
    if key.endswith("activation"):
        return value and activations.twin_of(getattr(layer, key))
    if key.endswith(("_regularizer", "_constraint")) and value is not None:
        return _keras_object(key, value)
    return value


def _keras_object(key: str, written: Any) -> Any:
    """A regularizer or constraint that Keras 3 wrote down."""
    import tf_keras

    home = "regularizers" if key.endswith("_regularizer") else "constraints"
    if isinstance(written, Mapping) and written.get("module") == f"keras.{home}":
        cls = getattr(getattr(tf_keras, home), written["class_name"], None)
        if cls is not None:
            return cls(**written["config"])
    raise Unsupported(f"its {key} is not one of Keras' own", f"Use one of keras.{home}")


def _split(layer: Any, settings: dict[str, Any], name: str) -> tuple[Any, ...]:
    """Take out of the settings what tfmot's wrappers cannot train inside a layer, as layers to put behind it."""
    import tf_keras

    label, behind, base = activations.name_of(layer.activation), [], {"dtype": policy(layer)}
    losses = {key: float(value) for key in ("l1", "l2") if (value := getattr(layer.activity_regularizer, key, 0))}
    if label not in activations.QUANTIZABLE or (losses and label != "linear"):
        settings["activation"] = None
        function = activations.twin_of(layer.activation)
        behind.append(tf_keras.layers.Activation(function, name=f"{name}/{label}", **base))
    if losses:
        settings["activity_regularizer"] = None
        behind.append(tf_keras.layers.ActivityRegularization(name=f"{name}/regularization", **losses, **base))
    return tuple(behind)


def _base(layer: Any, name: str) -> dict[str, Any]:
    return {"name": name, "dtype": policy(layer), "trainable": layer.trainable}


def _hosted(layer: Any, name: str) -> Twin:
    """A layer without weights that tf_keras lacks, as an operation; random augmentations do nothing in the twin."""
    import keras
    import tf_keras

    from tasks.models.bridge import registered

    kind = type(layer).__name__
    if layer.weights or not type(layer).__module__.startswith(encoding.HOMES):
        raise Unsupported(f"tf_keras has no {kind}", REPLACE)
    if kind.startswith("Random") or kind in AUGMENTATIONS:
        return Twin(tf_keras.layers.Rescaling(1.0, **_base(layer, name)), (), ())

    operation = encoding.encode_operation(layer)
    call = {"training": False} if "training" in inspect.signature(layer.call).parameters else {}
    arguments = encoding.encode(((keras.KerasTensor((None,)),), call), [])
    return Twin(registered.KerasOperation(operation, arguments, name=name, trainable=layer.trainable), (), ())


def _leaky_relu(layer: Any, name: str) -> Twin:
    import tf_keras

    return Twin(tf_keras.layers.LeakyReLU(alpha=layer.negative_slope, **_base(layer, name)), (), ())


def _normalization(layer: Any, name: str) -> Twin:
    """Its statistics are settings in tf_keras: weights of other shapes would have to be adapted."""
    import tf_keras

    config = layer.get_config()
    mean, variance = config["mean"], config["variance"]
    if mean is None:
        shape = layer.adapt_mean.shape
        mean, variance = np.reshape(layer.mean, shape), np.reshape(layer.variance, shape)
    axis, invert = config["axis"], config["invert"]
    twin = tf_keras.layers.Normalization(axis=axis, mean=mean, variance=variance, invert=invert, **_base(layer, name))
    return Twin(twin, (), ())


def _bidirectional(layer: Any, name: str) -> Twin:
    import tf_keras

    forward = twin_of(layer.forward_layer, layer.forward_layer.name, whole=True).layer
    backward = twin_of(layer.backward_layer, layer.backward_layer.name, whole=True).layer
    twin = tf_keras.layers.Bidirectional(
        forward, merge_mode=layer.merge_mode, backward_layer=backward, **_base(layer, name)
    )
    pairs = ((layer.forward_layer, twin.forward_layer), (layer.backward_layer, twin.backward_layer))
    return Twin(twin, (), pairs)


def _time_distributed(layer: Any, name: str) -> Twin:
    import keras
    import tf_keras

    if isinstance(layer.layer, keras.Model):
        from tasks.models.bridge.walk import cross

        inner = Twin(cross(layer.layer), (), ())
    else:
        inner = twin_of(layer.layer, layer.layer.name, whole=True)
    return Twin(tf_keras.layers.TimeDistributed(inner.layer, **_base(layer, name)), (), inner.weights)


def _spectral(layer: Any, name: str) -> Twin:
    raise Unsupported("tf_keras cannot read it back from a file", "Use the layer inside of it alone")


def _attention(layer: Any, name: str) -> Twin:
    """Keras 3 has two ways to compute it, which differ in what queries get that are wholly masked."""
    import tf_keras

    from tasks.models.bridge import registered

    calls = [node.arguments.kwargs for node in layer._inbound_nodes]
    zeroed = layer.dropout > 0 or any(call.get("return_attention_scores") for call in calls)
    settings = _settings(layer, tf_keras.layers.MultiHeadAttention)
    twin = registered.MultiHeadAttention(name=name, zeroed=zeroed, **settings)
    return Twin(twin, (), ((layer, twin),))


def _layer_normalization(layer: Any, name: str) -> Twin:
    import tf_keras

    from tasks.models.bridge import registered

    twin = registered.LayerNormalization(name=name, **_settings(layer, tf_keras.layers.LayerNormalization))
    return Twin(twin, (), ((layer, twin),))


def _rnn(layer: Any, name: str) -> Twin:
    import tf_keras

    settings = _settings(layer, tf_keras.layers.RNN) | {"cell": _cell(layer.cell)}
    twin = tf_keras.layers.RNN(name=name, **settings)
    return Twin(twin, (), ((layer, twin),))


def _cell(cell: Any) -> Any:
    import tf_keras

    if _kind(cell) == "StackedRNNCells":
        return tf_keras.layers.StackedRNNCells([_cell(each) for each in cell.cells], name=cell.name)
    return twin_of(cell, cell.name, whole=True).layer


def _ours(*settings: str) -> Callable[[Any, str], Twin]:
    def make(layer: Any, name: str) -> Twin:
        from tasks.models.bridge import registered

        chosen = {key: getattr(layer, key) for key in settings}
        twin = getattr(registered, type(layer).__name__)(**chosen, **_base(layer, name))
        return Twin(twin, (), ((layer, twin),))

    return make


SPECIAL: dict[str, Callable[[Any, str], Twin]] = {
    "LeakyReLU": _leaky_relu,
    "Normalization": _normalization,
    "Bidirectional": _bidirectional,
    "TimeDistributed": _time_distributed,
    "SpectralNormalization": _spectral,
    "RNN": _rnn,
    "LayerNormalization": _layer_normalization,
    "CustomScaleLayer": _ours("scale"),
    "MultiHeadAttention": _attention,
    "RMSNormalization": _ours("axis", "epsilon"),
    "LayerScale": _ours("init_values", "projection_dim"),
    "StochasticDepth": _ours("drop_path_rate"),
}
