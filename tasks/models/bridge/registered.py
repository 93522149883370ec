"""Layers and functions of ours that a twin may hold, known to tf_keras under the package `slipway`.

tf_keras opens a file in safe mode only if every class in it is registered, so this module is imported before a twin
is opened. Anything that tf_keras lacks is here; a Lambda or a TFOpLambda would not survive cloning or safe mode.
"""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tf_keras

from tasks.models.bridge import encoding

PACKAGE = "slipway"
# Missing in tf_keras or defined otherwise there: its hard_sigmoid is 0.2 x + 0.5, that of Keras 3 relu6(x + 3) / 6.
ACTIVATIONS = (
    "celu", "glu", "hard_shrink", "hard_sigmoid", "hard_silu", "hard_tanh", "leaky_relu", "log_sigmoid", "log_softmax",
    "relu6", "soft_shrink", "sparse_plus", "sparse_sigmoid", "sparsemax", "squareplus", "tanh_shrink",
)  # fmt: skip

_register = tf_keras.saving.register_keras_serializable(package=PACKAGE)


def _activation(name: str) -> Callable[[Any], Any]:
    def function(x: Any) -> Any:
        return getattr(keras.activations, name)(x)

    function.__name__ = function.__qualname__ = name
    registered: Callable[[Any], Any] = _register(function)
    return registered


FUNCTIONS = {name: _activation(name) for name in ACTIVATIONS}


@_register
class KerasOperation(tf_keras.layers.Layer):  # type: ignore[misc]
    """One operation of Keras 3 without weights, such as `keras.ops.expand_dims` or `x[:, 0]`.

    Masks end here, as at any operation of Keras 3.

    Args:
        operation: which one, as `encoding.encode_operation` writes it.
        arguments: how it is called, as `encoding.encode` writes it.
    """

    def __init__(self, operation: str, arguments: str, **settings: Any) -> None:
        super().__init__(autocast=False, **settings)
        self.supports_masking = True
        self.operation, self.arguments = operation, arguments
        # A function, because tf_keras would look for weights in an attribute that is a layer.
        self._run = encoding.decode_operation(operation).__call__

    def call(self, inputs: Any) -> Any:
        """Run it on a tensor or a list of tensors."""
        tensors = inputs if isinstance(inputs, list | tuple) else [inputs]
        args, kwargs = encoding.decode(self.arguments, tensors)
        return self._run(*args, **kwargs)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """None, whatever came in."""
        return None

    def get_config(self) -> dict[str, Any]:
        """What `__init__` takes."""
        return {**super().get_config(), "operation": self.operation, "arguments": self.arguments}


@_register
class DropMask(tf_keras.layers.Layer):  # type: ignore[misc]
    """Pass a tensor on without its mask, where a layer of tf_keras would carry it further than Keras 3 does."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(autocast=False, **settings)
        self.supports_masking = True

    def call(self, inputs: Any) -> Any:
        """The tensor."""
        return tf.identity(inputs)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """None, whatever came in."""
        return None

    def get_config(self) -> dict[str, Any]:
        """Name, dtype and trainable; without this method tf_keras would leave the name out."""
        config: dict[str, Any] = super().get_config()
        return config


@_register
class CarryMask(tf_keras.layers.Layer):  # type: ignore[misc]
    """Give the first tensor the mask of the second, where a layer of tf_keras refuses masks that Keras 3 carries on."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(autocast=False, **settings)
        self.supports_masking = True

    def call(self, inputs: Any) -> Any:
        """The first tensor."""
        return tf.identity(inputs[0])

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """The mask of the second tensor."""
        return None if mask is None else mask[1]

    def get_config(self) -> dict[str, Any]:
        """Name, dtype and trainable; without this method tf_keras would leave the name out."""
        config: dict[str, Any] = super().get_config()
        return config


@_register
class EinsumDense(tf_keras.layers.EinsumDense):  # type: ignore[misc]
    """A product over any axes by the operations that Keras 3 makes of it, which are fewer once they are ONNX."""

    def call(self, inputs: Any) -> Any:
        """Shape as the equation says."""
        outputs = keras.ops.einsum(self.equation, inputs, tf.convert_to_tensor(self.kernel))
        outputs = outputs if self.bias is None else outputs + self.bias
        return outputs if self.activation is None else self.activation(outputs)


@_register
class MultiHeadAttention(tf_keras.layers.MultiHeadAttention):  # type: ignore[misc]
    """Attention by the operations of Keras 3, which make an ONNX file that is 1.2 times faster in a small transformer.

    Args:
        zeroed: a query that may look at nothing gets zeros, as in Keras 3 with dropout or returned scores, instead of
            the mean of all values. Such are those of padding.
    """

    def __init__(self, *args: Any, zeroed: bool = False, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._zeroed = zeroed

    def get_config(self) -> dict[str, Any]:
        """What `__init__` takes."""
        return {**super().get_config(), "zeroed": self._zeroed}

    def get_prunable_weights(self) -> list[Any]:
        """The matrices, for tensorflow-model-optimization, which knows the class of tf_keras alone."""
        return [dense.kernel for dense in self._projections()]

    def _projections(self) -> tuple[Any, ...]:
        return self._query_dense, self._key_dense, self._value_dense, self._output_dense

    def _build_from_signature(self, *args: Any, **named: Any) -> None:
        super()._build_from_signature(*args, **named)
        for dense in self._projections():
            dense.__class__ = EinsumDense  # tf_keras makes them inside, of its own class

    def _compute_attention(
        self, query: Any, key: Any, value: Any, attention_mask: Any = None, training: Any = None
    ) -> tuple[Any, Any]:
        scale = 1 / float(self._key_dim) ** 0.5
        if not self._zeroed and query.shape.rank == 4:
            mask = None if attention_mask is None else self._of_heads(attention_mask, 4)
            return keras.ops.dot_product_attention(query, key, value, mask=mask, scale=scale), None
        scores = self._masked_softmax(keras.ops.einsum(self._dot_product_equation, key, query * scale), attention_mask)
        kept = self._dropout_layer(scores, training=training)
        return keras.ops.einsum(self._combine_equation, kept, value), scores

    def _masked_softmax(self, attention_scores: Any, attention_mask: Any = None) -> Any:
        scores = super()._masked_softmax(attention_scores, attention_mask)
        if attention_mask is None or not self._zeroed:
            return scores
        mask = self._of_heads(attention_mask, scores.shape.rank)
        return tf.where(tf.cast(mask, tf.bool), scores, tf.zeros_like(scores))

    def _of_heads(self, mask: Any, rank: int) -> Any:
        for _ in range(rank - mask.shape.rank):
            mask = tf.expand_dims(mask, axis=-len(self._attention_axes) * 2 - 1)
        return mask


@_register
class LayerNormalization(tf_keras.layers.LayerNormalization):  # type: ignore[misc]
    """Layer normalization as Keras 3 computes it, which conversion makes one ONNX operator of.

    That of tf_keras goes through its fused batch norm, and runs 1.4 times slower in a transformer of two layers.
    """

    def call(self, inputs: Any) -> Any:
        """Same shape."""
        rank = inputs.shape.rank
        axes = [axis - rank if axis >= 0 else axis for axis in self.axis]
        gamma, beta = (None if each is None else tf.convert_to_tensor(each) for each in (self.gamma, self.beta))
        axis = axes[0] if len(axes) == 1 else axes
        outputs = keras.ops.layer_normalization(inputs, gamma, beta, axis=axis, epsilon=self.epsilon)
        return tf.cast(outputs, self.compute_dtype)


@_register
class RMSNormalization(tf_keras.layers.Layer):  # type: ignore[misc]
    """Divide by the root mean square and scale, as Keras 3 does.

    Args:
        axis: one or several.
        epsilon: added to the mean square.
    """

    def __init__(self, axis: Any = -1, epsilon: float = 1e-6, **settings: Any) -> None:
        super().__init__(**settings)
        self.supports_masking = True
        self.axis, self.epsilon = axis, epsilon

    def build(self, input_shape: Any) -> None:
        """Make the scale, of the sizes along the axes."""
        axes = [self.axis] if isinstance(self.axis, int) else self.axis
        sizes = [input_shape[axis] for axis in axes]
        self.scale = self.add_weight(name="scale", shape=sizes, initializer="ones")
        super().build(input_shape)

    def call(self, inputs: Any) -> Any:
        """Same shape."""
        return keras.ops.rms_normalization(
            inputs, scale=tf.convert_to_tensor(self.scale), axis=self.axis, epsilon=self.epsilon
        )

    def get_config(self) -> dict[str, Any]:
        """What `__init__` takes."""
        return {**super().get_config(), "axis": self.axis, "epsilon": self.epsilon}


@_register
class LayerScale(tf_keras.layers.Layer):  # type: ignore[misc]
    """Multiply the channels by trained factors (ConvNeXt).

    Args:
        init_values: factor at the start.
        projection_dim: number of channels.
    """

    def __init__(self, init_values: float, projection_dim: int, **settings: Any) -> None:
        super().__init__(**settings)
        self.init_values, self.projection_dim = init_values, projection_dim

    def build(self, input_shape: Any) -> None:
        """Make the factors."""
        start = tf_keras.initializers.Constant(self.init_values)
        self.gamma = self.add_weight(name="gamma", shape=(self.projection_dim,), initializer=start)
        super().build(input_shape)

    def call(self, inputs: Any) -> Any:
        """Same shape."""
        return inputs * self.gamma

    def get_config(self) -> dict[str, Any]:
        """What `__init__` takes."""
        return {**super().get_config(), "init_values": self.init_values, "projection_dim": self.projection_dim}


@_register
class CustomScaleLayer(tf_keras.layers.Layer):  # type: ignore[misc]
    """Add the second tensor, scaled, to the first (InceptionResNetV2).

    Args:
        scale: factor of the second.
    """

    def __init__(self, scale: float, **settings: Any) -> None:
        super().__init__(**settings)
        self.scale = scale

    def call(self, inputs: Any) -> Any:
        """Same shape as each of the two."""
        return inputs[0] + inputs[1] * self.scale

    def get_config(self) -> dict[str, Any]:
        """What `__init__` takes."""
        return {**super().get_config(), "scale": self.scale}


@_register
class Constant(tf_keras.layers.Layer):  # type: ignore[misc]
    """A tensor of fixed values, whatever comes in; cloning would turn a bare one in a call into a list.

    Args:
        values: in any nesting of lists.
        dtype_of_values: their dtype.
    """

    def __init__(self, values: Any, dtype_of_values: str, **settings: Any) -> None:
        super().__init__(autocast=False, **settings)
        self.supports_masking = True
        self.values, self.dtype_of_values = values, dtype_of_values

    def call(self, inputs: Any) -> Any:
        """The values."""
        return tf.constant(np.asarray(self.values, self.dtype_of_values))

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """None, whatever came in."""
        return None

    def get_config(self) -> dict[str, Any]:
        """What `__init__` takes."""
        return {**super().get_config(), "values": self.values, "dtype_of_values": self.dtype_of_values}


@_register
class StochasticDepth(tf_keras.layers.Layer):  # type: ignore[misc]
    """Drop whole samples of a residual path while training (ConvNeXt).

    Args:
        drop_path_rate: share of the samples.
    """

    def __init__(self, drop_path_rate: float, **settings: Any) -> None:
        super().__init__(**settings)
        self.drop_path_rate = drop_path_rate

    def call(self, inputs: Any, training: Any = None) -> Any:
        """Same shape."""
        if not training:
            return inputs
        keep = 1 - self.drop_path_rate
        shape = [tf.shape(inputs)[0]] + [1] * (inputs.shape.rank - 1)
        return inputs / keep * tf.floor(keep + tf.random.uniform(shape, dtype=inputs.dtype))

    def get_config(self) -> dict[str, Any]:
        """What `__init__` takes."""
        return {**super().get_config(), "drop_path_rate": self.drop_path_rate}
