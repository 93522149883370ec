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
