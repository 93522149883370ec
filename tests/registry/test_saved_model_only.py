"""A release whose only target runs TensorFlow: plain MLflow must load that version too."""

import numpy as np
import pytest
from parts import request, rows, weights
from test_registry import answer, publish_request, start

from tasks.registry import jobs

pytest.importorskip("tensorflow")


def test_plain_mlflow_loads_a_version_without_an_onnx_winner(place, tmp_path):
    from saved_model_parts import saved_model_winner

    asked = request(tmp_path / "r", {"tfs": saved_model_winner(tmp_path / "w")})
    jobs.write_bundle(asked)
    jobs.publish(publish_request(place, "saved", asked.out, "r-saved"))

    seen = answer(start("load_tensorflow_plainly", place.tracking_uri, "saved/1"))

    np.testing.assert_allclose(seen["scores"], rows(5) @ weights(0), rtol=1e-5)
