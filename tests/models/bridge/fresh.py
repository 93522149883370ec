"""What a technique does with twins, in a process that has never crossed a model: `python -m ... fresh FOLDER`.

Opens every twin below the folder, compares it with the stored outputs and lets tfmot wrap its Dense and Conv layers.
Prints one JSON object: family -> {step: what happened}. tfmot switches tf.keras for its whole process, hence its own.
"""

import os

os.environ["TF_USE_LEGACY_KERAS"] = "1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import json
import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow_model_optimization as tfmot
import tf_keras

from tasks.models.twin import open_twin

sparsity, clustering, quantization = tfmot.sparsity.keras, tfmot.clustering.keras, tfmot.quantization.keras
LAYERS = (tf_keras.layers.Dense, tf_keras.layers.Conv2D)


def wrapped(model, wrap):
    return tf_keras.models.clone_model(model, clone_function=lambda each: wrap(each) if type(each) in LAYERS else each)


def prune(model):
    schedule = sparsity.ConstantSparsity(0.5, 0, frequency=1)
    return wrapped(model, lambda layer: sparsity.prune_low_magnitude(layer, pruning_schedule=schedule))


def cluster(model):
    start = clustering.CentroidInitialization.LINEAR
    return wrapped(
        model, lambda layer: clustering.cluster_weights(layer, number_of_clusters=2, cluster_centroids_init=start)
    )


def quantize(model):
    with quantization.quantize_scope():
        return quantization.quantize_apply(wrapped(model, quantization.quantize_annotate_layer))


def attempt(folder, technique, inputs):
    try:
        model = technique(open_twin(folder))
        outputs = keras.tree.flatten(model(keras.tree.pack_sequence_as(model._nested_inputs, inputs), training=False))
    except Exception as error:  # noqa: BLE001 - whatever tfmot raises is the finding
        return f"{type(error).__name__}: {error}"[:300]
    return "ok" if all(np.isfinite(np.asarray(each, "float32")).all() for each in outputs) else "not finite"


def difference(model, folder, inputs):
    outputs = keras.tree.flatten(model(keras.tree.pack_sequence_as(model._nested_inputs, inputs), training=False))
    stored = np.load(folder / "outputs.npz")
    pairs = zip(outputs, (stored[f"arr_{position}"] for position in range(len(outputs))), strict=True)
    return max(float(np.abs(np.asarray(one, "float32") - other).max()) for one, other in pairs)


def report(folder):
    stored = np.load(folder / "inputs.npz")
    inputs = [stored[f"arr_{position}"] for position in range(len(stored.files))]
    model = open_twin(folder)
    found = {"difference": difference(model, folder, inputs)}
    if any(type(layer) in LAYERS for layer in model.layers):
        found |= {technique.__name__: attempt(folder, technique, inputs) for technique in (prune, cluster, quantize)}
    return found


if __name__ == "__main__":
    found = {folder.name: report(folder) for folder in sorted(Path(sys.argv[1]).iterdir())}
    print(json.dumps(found))
