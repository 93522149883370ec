"""A tiny SavedModel candidate; importing this costs TensorFlow."""

from pathlib import Path

import tensorflow as tf
from parts import SIGNATURE, rows, weights

from tasks.bundle.golden import Origin, make_golden
from tasks.bundle.write import Winner
from tasks.store.digest import digest_folder


class Tiny(tf.Module):
    def __init__(self):
        super().__init__()
        self.kernel = tf.Variable(weights(0))

    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, "image")])
    def score(self, image):
        return {"scores": image @ self.kernel}


def saved_model_winner(folder: Path) -> Winner:
    candidate = folder / "candidate"
    model = Tiny()
    tf.saved_model.save(model, str(candidate / "saved_model"), signatures={"serving_default": model.score})
    SIGNATURE.write(candidate)
    origin = Origin(classification=True)
    make_golden(folder / "golden", {"image": rows()}, lambda feeds: model.score(feeds["image"]), origin)
    return Winner(
        candidate="float32",
        form="savedmodel",
        folder=str(candidate),
        digest=digest_folder(candidate),
        golden=str(folder / "golden"),
        runtime={"runtime": "tensorflow", "threads": 1, "batch_size": 8},
    )
