import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tasks.foundations.errors import StepFailed
from tasks.runtimes.onnxruntime import OnnxRuntime, open_session


def test_importing_it_reports_to_nobody(tmp_path: Path) -> None:
    code = (
        "import os; from tasks.runtimes.onnxruntime import OnnxRuntime;"
        "OnnxRuntime(runtime='onnxruntime').prepare(); print(len(os.listdir('/proc/self/task')))"
    )
    environment = {key: value for key, value in os.environ.items() if key != "ORT_DISABLE_TELEMETRY"}

    found = subprocess.run(
        [sys.executable, "-c", code],
        env={**environment, "HOME": str(tmp_path), "OPENBLAS_NUM_THREADS": "1", "XDG_CACHE_HOME": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )

    assert found.stdout.strip() == "1"
    assert list(tmp_path.iterdir()) == []


def test_stored_options_open_the_model_from_bytes_as_a_server_does(tiny_onnx: Path) -> None:
    options = json.loads(json.dumps(OnnxRuntime(runtime="onnxruntime", threads=2).options()))

    session = open_session((tiny_onnx / "model.onnx").read_bytes(), options)

    assert session.get_session_options().intra_op_num_threads == 2
    assert session.run(None, {"x": np.zeros((1, 4), np.float32)})[0].shape == (1, 3)


def test_a_call_with_wrong_rows_fails_with_one_sentence(tiny_onnx: Path) -> None:
    session = OnnxRuntime(runtime="onnxruntime").open(tiny_onnx)

    with pytest.raises(StepFailed, match="ONNX Runtime failed while running the model: .*Got: 5 Expected: 4"):
        session.run({"x": np.zeros((1, 5), np.float32)})
