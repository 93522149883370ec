"""Small models, one for each family of layers that the bridge treats differently."""

import keras
import numpy as np

L, ops = keras.layers, keras.ops
ROWS = 5


def randomize(model, seed=0):
    """Give every weight a value of its own, statistics of normalization included: zeros and ones prove nothing."""
    generator = np.random.default_rng(seed)
    for weight in model.weights:
        if "normal" in weight.path and weight.name in ("gamma", "scale"):
            weight.assign(generator.uniform(0.7, 1.3, weight.shape))
        elif "variance" in weight.name:
            weight.assign(generator.uniform(0.5, 2.0, weight.shape))
        elif len(weight.shape) < 2 and "float" in str(weight.dtype) and "seed" not in weight.name:
            weight.assign(generator.normal(0, 0.1, weight.shape))
    return model


def rows(model, count=ROWS, seed=1):
    """Inputs by position: small integers for whole numbers, with zeros at the end for masks; else normal ones."""
    generator = np.random.default_rng(seed)
    found = []
    for tensor in model.inputs:
        shape = (count, *[6 if size is None else size for size in tensor.shape[1:]])
        values = generator.integers(1, 9, shape) if "int" in tensor.dtype else generator.normal(size=shape)
        if "int" in tensor.dtype and len(shape) == 2:
            values[1:, 3:] = 0
        found.append(values.astype(tensor.dtype))
    return found


def sequential(*layers, shape=(8, 8, 3), **settings):
    return keras.Sequential([keras.Input(shape, **settings), *layers])


def convolutions():
    return sequential(
        L.Conv2D(6, 3, padding="same", activation="elu", kernel_regularizer="l2"),
        L.DepthwiseConv2D(3, depth_multiplier=2, activation="relu6"),
        L.SeparableConv2D(5, 3, padding="same", activation="selu", depthwise_regularizer="l1"),
        L.Conv2D(4, 3, strides=2, groups=1, dilation_rate=1, kernel_constraint=keras.constraints.MaxNorm(2.0)),
        L.Conv2DTranspose(4, 3, strides=2, padding="same", activation="hard_silu"),
        L.Conv2DTranspose(3, 3, strides=2, output_padding=1), L.ZeroPadding2D(((0, 1), (1, 0))), L.Cropping2D(1),
        L.UpSampling2D(2, interpolation="bilinear"), L.MaxPooling2D(2, padding="same"), L.AveragePooling2D(2),
        L.Flatten(), L.Dense(3, activation="softmax"),
    )  # fmt: skip


def convolutions_1d_3d():
    a, b = keras.Input((12, 3)), keras.Input((4, 4, 4, 2))
    x = L.Conv1D(4, 3, padding="causal", dilation_rate=2, activation="mish")(a)
    x = L.Conv1DTranspose(3, 3, strides=2, padding="same")(L.SeparableConv1D(5, 3)(L.DepthwiseConv1D(3)(x)))
    x = L.Cropping1D(1)(L.ZeroPadding1D(1)(L.UpSampling1D(2)(L.MaxPooling1D(2)(x))))
    y = L.Conv3DTranspose(2, 2)(L.Conv3D(3, 2, activation="leaky_relu")(b))
    y = L.UpSampling3D(2)(L.AveragePooling3D(2)(L.ZeroPadding3D(1)(y)))
    return keras.Model([a, b], [L.GlobalMaxPooling1D()(x), L.GlobalAveragePooling3D()(L.MaxPooling3D(2)(y))])


def activations():
    x = inputs = keras.Input((8, 4))
    outputs = []
    for layer in (L.PReLU(shared_axes=[1], alpha_initializer="random_normal"), L.LeakyReLU(0.3), L.ELU(0.7),
                  L.ReLU(max_value=2.0, negative_slope=0.1, threshold=0.2), L.Softmax(axis=1)):  # fmt: skip
        outputs.append(layer(x))
    return keras.Model(inputs, [L.Flatten()(each) for each in outputs])


def normalizations():
    x = inputs = keras.Input((6, 8))
    for layer in (L.BatchNormalization(epsilon=1e-2), L.BatchNormalization(scale=False, trainable=False),
                  L.LayerNormalization(epsilon=1e-6), L.LayerNormalization(axis=[1, 2], center=False),
                  L.GroupNormalization(4), L.UnitNormalization(), L.RMSNormalization(), L.Dense(3),
                  L.BatchNormalization()):  # fmt: skip
        x = layer(x)
    return keras.Model(inputs, x)


def adapted():
    layer = L.Normalization()
    layer.adapt(np.random.default_rng(0).normal(3, 2, (50, 4)).astype("float32"))
    given = L.Normalization(mean=[1.0, 2.0, 3.0, 4.0], variance=[2.0, 1.0, 0.5, 1.0], invert=True)
    return sequential(layer, L.Rescaling(0.5, -1.0), given, L.Dense(2), shape=(4,))


def regularization():
    return sequential(
        L.GaussianNoise(0.1), L.Dropout(0.2, seed=3), L.SpatialDropout2D(0.1), L.AlphaDropout(0.1),
        L.GaussianDropout(0.1), L.ActivityRegularization(l2=0.01), L.Identity(),
        L.GlobalAveragePooling2D(keepdims=True), L.Reshape((3,)),
        L.Dense(4, activity_regularizer="l2", activation="elu"),
        L.RepeatVector(2), L.Permute((2, 1)),
        L.SpatialDropout1D(0.1),
    )  # fmt: skip


def augmentation():
    return sequential(
        L.RandomFlip("horizontal"), L.RandomRotation(0.1), L.RandomZoom(0.1), L.RandomTranslation(0.1, 0.1),
        L.RandomContrast(0.2), L.RandomBrightness(0.2), L.RandomShear(0.1), L.RandomErasing(), L.RandomGrayscale(),
        L.Resizing(6, 6), L.CenterCrop(4, 4), L.AdaptiveAveragePooling2D(2), L.Flatten(), L.Dense(2),
    )  # fmt: skip


def merges():
    a, b = keras.Input((4, 3)), keras.Input((4, 3), name="second")
    merged = [L.Add()([a, b]), L.Subtract()([a, b]), L.Multiply()([a, b]), L.Average()([a, b]), L.Maximum()([a, b]),
              L.Minimum()([a, b]), L.Concatenate(axis=1)([a, b])]  # fmt: skip
    x = L.Concatenate(axis=1)([*merged, L.Dot(2)([a, L.Dense(3)(b)])[:, :, :3]])
    return keras.Model([a, b], L.Dense(2)(x))


def operators():
    a, b = keras.Input((4, 6)), keras.Input((4, 6))
    x = 1.0 - (a * 0.5 + 2.0) / 4.0 + a * b - ops.maximum(a, b)
    x = ops.hard_silu(ops.relu(x)) + ops.sigmoid(-x) + 2.0 / (1.0 + x**2)
    x = ops.concatenate([x, b[:, ::-1], ops.expand_dims(ops.mean(x, axis=1), 1)], axis=1)
    x = ops.transpose(x, (0, 2, 1)) + np.arange(9.0, dtype="float32")
    first, second = ops.split(ops.reshape(x, (-1, 18, 3)), 2, axis=1)
    y = ops.where(first > second, first, ops.matmul(second, ops.transpose(first, (0, 2, 1)))[..., :3])
    return keras.Model([a, b], {"y": L.Dense(2)(y), "whole": ops.cast(first > 0, "int32"), "a": a})


def ranks():
    a, b = keras.Input((4, 6)), keras.Input((6,))
    return keras.Model([a, b], L.Dense(2)(a + b[:, None, :] * ops.ones((4, 1)) + ops.sum(b, axis=-1)[:, None, None]))


def shared_tower():
    tower = keras.Sequential([keras.Input((4,)), L.Dense(3, activation="hard_sigmoid"), L.BatchNormalization()],
                             name="tower")  # fmt: skip
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    dense = L.Dense(2, name="shared")
    return keras.Model({"a": a, "b": b}, {"z": dense(tower(a)), "y": dense(tower(b)), "x": tower(a) * tower(b)})


def nested():
    inner_in = {"p": keras.Input((4,), name="p"), "q": keras.Input((4,), name="q")}
    inner = keras.Model(inner_in, [L.Dense(3)(inner_in["p"] + inner_in["q"]), L.Dense(2)(inner_in["q"])], name="inner")
    inner.trainable = False
    stack = keras.Sequential([keras.Input((3,)), keras.Sequential([L.Dense(4), L.ReLU()], name="deep"), L.Dense(3)],
                             name="stack")  # fmt: skip
    a, b = keras.Input((4,)), keras.Input((4,))
    first, second = inner({"p": a, "q": b})
    return keras.Model([a, b], L.Concatenate()([stack(first), second]))


def recurrent():
    x = inputs = keras.Input((3, 3))
    x = L.LSTM(4, return_sequences=True)(x)
    x = L.GRU(4, return_sequences=True, reset_after=False)(L.SimpleRNN(4, return_sequences=True)(x))
    x = L.GRU(4, return_sequences=True, recurrent_activation="hard_sigmoid")(x)
    x = L.Bidirectional(L.LSTM(3, return_sequences=True), merge_mode="sum")(x)
    x = L.TimeDistributed(L.Dense(5, activation="elu"))(x)
    x = L.RNN(L.StackedRNNCells([L.LSTMCell(3), L.GRUCell(2)]), return_sequences=True)(x)
    sequence, h, c = L.LSTM(3, return_sequences=True, return_state=True)(x)
    decoded = L.LSTM(3)(sequence, initial_state=[c, h])
    image = L.ConvLSTM1D(2, 2)(L.Reshape((3, 3, 1))(inputs))
    return keras.Model(inputs, [decoded, h, L.Flatten()(image), L.RNN(L.SimpleRNNCell(2))(inputs)])


def masked():
    words = keras.Input((6,), dtype="int32")
    x = L.Embedding(9, 4, mask_zero=True)(words)
    shifted = L.Activation("tanh")(L.Dropout(0.1)(x)) + ops.arange(4.0)
    both = L.Add()([x, x])
    average = L.GlobalAveragePooling1D()
    return keras.Model(words, [
        L.LSTM(3)(x), L.Bidirectional(L.GRU(2, return_sequences=True))(both), average(shifted), average(x + both),
        average(L.Dense(3)(x)),
        average(L.Conv1D(3, 2)(x)), average(L.LayerNormalization()(x)), average(L.Masking(0.5)(both)), L.Flatten()(x),
        average(x, mask=ops.not_equal(words, 3)), L.GlobalMaxPooling1D()(L.Reshape((6, 4))(x)),
    ])  # fmt: skip


def transformer():
    words = keras.Input((None,), dtype="int32")
    x = L.Embedding(9, 8, mask_zero=True)(words)
    x = L.LayerNormalization()(x + L.MultiHeadAttention(2, 4, dropout=0.1)(x, x, use_causal_mask=True))
    attended, scores = L.MultiHeadAttention(2, 4, value_dim=3, output_shape=8)(
        query=x, value=x, attention_mask=ops.ones((6, 6), "bool"), return_attention_scores=True
    )
    plain = L.MultiHeadAttention(2, 4, use_bias=False)(x, L.Embedding(9, 8, mask_zero=True)(words))
    x = L.LayerNormalization()(x + attended + plain)
    x = x + L.Dense(8)(L.Dense(16, activation="gelu")(x))
    y = L.Dense(8)(L.Embedding(9, 8, mask_zero=True)(words))
    x = L.Attention(use_scale=True)([x, y]) + L.AdditiveAttention()([x, x]) + L.EinsumDense("abc,cd->abd", (None, 8))(x)
    return keras.Model(words, [L.Dense(3)(L.GlobalAveragePooling1D()(x)), scores])


def half():
    previous = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        x = inputs = keras.Input((8, 8, 3))
        x = L.BatchNormalization()(L.Conv2D(8, 3, activation="relu")(x))
        x = L.GlobalAveragePooling2D()(x * 0.5 + x)
        return keras.Model(inputs, L.Dense(3, dtype="float32")(L.Dense(8, activation="elu")(x)))
    finally:
        keras.config.set_dtype_policy(previous)


def brain_half():
    x = inputs = keras.Input((6,))
    x = L.Dense(8, activation="relu", dtype="mixed_bfloat16")(x)
    return keras.Model(inputs, L.Dense(3, dtype="float32")(x + 1.0))


def lookups():
    words = keras.Input((2,), dtype="int64")
    known = L.IntegerLookup(vocabulary=[3, 5, 7])(words)
    encoded = L.CategoryEncoding(num_tokens=4, output_mode="multi_hot")(known)
    number = keras.Input((1,))
    bucket = L.Flatten()(L.Embedding(4, 2)(L.Discretization(bin_boundaries=[-0.5, 0.0, 0.5])(number)))
    return keras.Model([words, number], L.Dense(2)(L.Concatenate()([encoded, bucket])))


FAMILIES = {
    each.__name__: each
    for each in (
        convolutions, convolutions_1d_3d, activations, normalizations, adapted, regularization, augmentation, merges,
        operators, ranks, shared_tower, nested, recurrent, masked, transformer, half, brain_half, lookups,
    )
}  # fmt: skip
