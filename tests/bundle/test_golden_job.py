from functools import partial

import numpy as np
import pytest
from parts import onnx_candidate, rows, session_run, weights

from tasks.bundle.golden import check_golden, read_golden
from tasks.bundle.golden_job import GoldenRequest, write_golden
from tasks.data.dataset import Split
from tasks.foundations.errors import StepFailed
from tasks.runtimes.environment import read_environment
from tasks.runtimes.rows import run_rows


def split(folder, values):
    (folder / "inputs").mkdir(parents=True)
    np.save(folder / "inputs/input.npy", values)
    return Split(folder=str(folder), inputs=("input",), rows=len(values))


def request(tmp_path, values, **changes):
    return GoldenRequest(
        folder=str(onnx_candidate(tmp_path / "winner")),
        target={"runtime": "onnxruntime", "threads": 1, "batch_size": 1},
        split=split(tmp_path / "test", values),
        classification=True,
        out=str(tmp_path / "golden"),
        **changes,
    )


def test_the_winner_answers_real_test_rows_on_its_own_target(tmp_path):
    asked = request(tmp_path, rows(100), seed=3)

    golden = write_golden(GoldenRequest.model_validate_json(asked.model_dump_json()))

    _, inputs, outputs = read_golden(tmp_path / "golden")
    assert golden.rows == 32 and golden.top1 == "scores"
    assert golden.cpu_flags == read_environment(()).flags
    assert golden.runtime["runtime"] == "onnxruntime"
    assert {row.tobytes() for row in inputs["image"]} <= {row.tobytes() for row in rows(100)}
    np.testing.assert_allclose(outputs["scores"], inputs["image"] @ weights(0), rtol=1e-5)
    check_golden(tmp_path / "golden", session_run(tmp_path / "winner/model.onnx"))


def test_requests_are_stored_as_the_model_takes_them_whatever_the_data_sets_dtype(tmp_path):
    asked = request(tmp_path, rows(20).astype(np.float64))

    write_golden(asked)

    _, inputs, _ = read_golden(tmp_path / "golden")
    assert inputs["image"].dtype == np.float32
    check_golden(tmp_path / "golden", session_run(tmp_path / "winner/model.onnx"))
    check_golden(tmp_path / "golden", partial(run_rows, asked.target.open(tmp_path / "winner")))


def test_an_empty_test_split_has_no_golden_requests(tmp_path):
    with pytest.raises(StepFailed, match="no rows"):
        write_golden(request(tmp_path, rows(1)[:0]))
