"""The TensorFlow Serving warm-up file: the golden requests as records that the server replays before it serves.

Without it the first requests pay for lazy initialization. An error in a record fails the load, so the file also
guards a node against a model that cannot answer.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tasks.foundations.errors import StepFailed

FILE = "assets.extra/tf_serving_warmup_requests"
SIGNATURE_NAME = "serving_default"
MOST_RECORDS = 1000  # the server refuses to load a model with more


def write_warmup(folder: Path, model: str, inputs: Mapping[str, np.ndarray[Any, Any]], batch_size: int = 1) -> Path:
    """Write `assets.extra/tf_serving_warmup_requests` into a SavedModel folder. Imports TensorFlow: run in a worker.

    Args:
        folder: the SavedModel's folder.
        model: name that the server serves it under.
        inputs: input name -> (rows, ...) golden requests.
        batch_size: rows of the batched record that follows the single ones.

    Returns:
        The file: one record a row, and one of `batch_size` rows where that is more than one.

    Raises:
        StepFailed: more records than the server accepts.
    """
    import tensorflow as tf

    rows = len(next(iter(inputs.values())))
    requests = [{name: values[row : row + 1] for name, values in inputs.items()} for row in range(rows)]
    if batch_size > 1:
        requests.append({name: np.resize(values, (batch_size, *values.shape[1:])) for name, values in inputs.items()})
    if len(requests) > MOST_RECORDS:
        raise StepFailed(f"{len(requests)} warm-up records; TensorFlow Serving takes at most {MOST_RECORDS}.")
    path = folder / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for feeds in requests:
            writer.write(_prediction_log(model, feeds).SerializeToString())
    return path


def _prediction_log(model: str, feeds: Mapping[str, np.ndarray[Any, Any]]) -> Any:
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    request.model_spec.signature_name = SIGNATURE_NAME
    for name, values in feeds.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(values))
    return prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
