"""What other processes do in the tests; run as `python actions.py NAME ARGUMENT...`, one line of JSON on stdout."""

import json
import os
import signal
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def load_plainly(uri, name, target):
    """Plain MLflow, nothing of ours on the path."""
    import mlflow
    import numpy as np

    mlflow.set_tracking_uri(uri)
    rows = np.random.default_rng(7).normal(size=(5, 4)).astype(np.float32)
    model = mlflow.onnx.load_model(f"models:/{name}")
    answers = mlflow.pyfunc.load_model(f"models:/{name}").predict({"image": rows})
    alone = mlflow.pyfunc.load_model(f"models:/{name}/targets/{target}").predict({"image": rows})
    try:
        mlflow.pyfunc.load_model(f"models:/{name}").predict({"image": rows[:, :2]})
        refused = False
    except mlflow.exceptions.MlflowException:
        refused = True
    return {
        "graph": model.graph.name,
        "scores": answers["scores"].tolist(),
        "alone": alone["scores"].tolist(),
        "refused": refused,
        "ours": any(module.startswith("tasks") for module in sys.modules),
    }


def load_tensorflow_plainly(uri, name):
    import mlflow
    import numpy as np

    mlflow.set_tracking_uri(uri)
    rows = np.random.default_rng(7).normal(size=(5, 4)).astype(np.float32)
    answers = mlflow.pyfunc.load_model(f"models:/{name}").predict({"image": rows})
    return {"scores": np.asarray(answers["scores"]).tolist()}


def log_models(uri, experiment):
    """What plain MLflow logs of every sort, as versions of `churn`: sort -> version. It changes the environment."""
    os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    import keras
    import mlflow
    import mlflow.keras
    import tensorflow as tf

    @keras.saving.register_keras_serializable("elsewhere")  # which lets MLflow pickle it beside every model
    class Unrelated(keras.layers.Layer):
        pass

    class Own(keras.layers.Layer):
        def call(self, x):
            return 2 * x

    class Anything(mlflow.pyfunc.PythonModel):
        def predict(self, context, model_input: list[str]):
            return model_input

    root = tf.Module()
    root.w = tf.Variable(tf.ones((4, 3)))
    function = tf.function(lambda rows: {"scores": rows @ root.w}, autograph=False)
    root.serve = function.get_concrete_function(rows=tf.TensorSpec((None, 4)))
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    own = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), Own()])
    mlflow.set_tracking_uri(uri)
    mlflow.set_experiment(experiment)
    # Left to itself MLflow loads every model once more, in a process of its own, to see what it imports.
    named = {"name": "m", "registered_model_name": "churn", "pip_requirements": ["keras"]}
    logged = {
        "keras": mlflow.tensorflow.log_model(model, **named),
        "keras flavor": mlflow.keras.log_model(model, **named),
        "own layers": mlflow.tensorflow.log_model(own, custom_objects={"Own": Own}, **named),
        "module": mlflow.tensorflow.log_model(root, **named),
        "python": mlflow.pyfunc.log_model(python_model=Anything(), **named),
    }
    mlflow.MlflowClient().set_registered_model_alias("churn", "gold", "1")
    return {sort: int(info.registered_model_version) for sort, info in logged.items()}


def publish(request):
    sys.path.insert(0, str(ROOT))
    from tasks.registry import jobs

    return jobs.publish(jobs.PublishRequest.model_validate_json(request)).model_dump()


def publish_and_die(request):
    """Killed when all files are logged and the version is not yet made."""
    sys.path.insert(0, str(ROOT))
    from tasks.registry import jobs
    from tasks.registry.mlflow_registry import Registry

    Registry._ensure_model = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
    jobs.publish(jobs.PublishRequest.model_validate_json(request))


def set_alias(request):
    sys.path.insert(0, str(ROOT))
    from tasks.registry import jobs

    return jobs.set_aliases(jobs.AliasRequest.model_validate_json(request)).model_dump()


if __name__ == "__main__":
    result = globals()[sys.argv[1]](*sys.argv[2:])
    print(json.dumps(result))
