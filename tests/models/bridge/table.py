"""Which models of keras.applications cross: `python -m tests.models.bridge.table` prints a markdown table."""

import sys

import keras
import numpy as np
import tensorflow as tf

from tasks.foundations.errors import SlipwayError
from tasks.models import onnx_parity
from tasks.models.bridge.walk import cross
from tests.models.bridge.families import randomize

SIZES = {
    "MobileNet": 96, "MobileNetV2": 96, "MobileNetV3Small": 96, "MobileNetV3Large": 96, "ResNet50": 96,
    "ResNet50V2": 96, "DenseNet121": 96, "Xception": 96, "InceptionV3": 96, "InceptionResNetV2": 96,
    "EfficientNetB0": 96, "EfficientNetV2B0": 96, "VGG16": 48, "NASNetMobile": 96, "ConvNeXtTiny": 96,
}  # fmt: skip


def build(name):
    """A model with random weights and statistics, without its classifier where that would be most of it."""
    size = SIZES[name]
    top = name not in ("VGG16", "NASNetMobile")
    classes = {"classes": 10, "classifier_activation": None} if top else {"pooling": "avg"}
    model = getattr(keras.applications, name)(weights=None, include_top=top, input_shape=(size, size, 3), **classes)
    return randomize(model)


def compare(model, twin, count=2):
    """The difference, and the largest output, on images with values of 0 to 255, as these models take them."""
    images = np.random.default_rng(0).uniform(0, 255, (count, *model.input_shape[1:])).astype("float32")
    outputs = [np.asarray(each(images, training=False)) for each in (model, twin)]
    parity = onnx_parity.compare({"output": outputs[0]}, {"output": outputs[1]})["output"]
    return parity, float(np.abs(outputs[0]).max())


def row(name):
    """One line of the table."""
    keras.backend.clear_session()
    tf.keras.backend.clear_session()
    model = build(name)
    try:
        twin = cross(model)
    except SlipwayError as error:
        return f"| {name} | {len(model.layers)} | - | - | no: {error} |"
    figures, largest = compare(model, twin)
    relative = figures.max_abs / largest
    good = "yes" if relative <= 1e-5 else "NO"
    layers = f"{len(model.layers)} -> {len(twin.layers)}"
    return f"| {name} | {layers} | {figures.max_abs:.2g} | {relative:.2g} | {good} |"


if __name__ == "__main__":
    print("| model | layers | max abs diff | of the largest output | crosses |\n|---|---|---|---|---|", flush=True)
    for chosen in sys.argv[1:] or SIZES:
        print(row(chosen), flush=True)
