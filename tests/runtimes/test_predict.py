from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.data.dataset import Split
from tasks.foundations.errors import InputError, StepFailed
from tasks.runtimes.predict import PredictRequest, predict

CPU = {"runtime": "onnxruntime", "threads": 1, "batch_size": 16}


def _request(folder: Path, out: Path, split: Split, **more: object) -> PredictRequest:
    out.mkdir()
    return PredictRequest.model_validate(
        {"folder": str(folder), "out": str(out), "target": CPU, "split": split, **more}
    )


def test_predictions_are_one_row_a_row_in_order(
    tiny_onnx: Path, tmp_path: Path, make_split: Callable[..., Split], weights: Any
) -> None:
    split = make_split(50)

    result = predict(_request(tiny_onnx, tmp_path / "out", split))

    stored = np.load(tmp_path / "out" / "y.npy", allow_pickle=False)
    np.testing.assert_allclose(stored, split.input_arrays()["input"] @ weights, rtol=1e-6)
    assert result.rows == 50
    assert result.outputs == {"y": ("float32", (3,))}


def test_the_reference_is_predicted_by_tensorflow_in_larger_batches(
    tiny_saved_model: Path, tmp_path: Path, make_split: Callable[..., Split], weights: Any
) -> None:
    split = make_split(50)
    tfs = {"runtime": "tensorflow", "threads": 1, "batch_size": 1}

    predict(_request(tiny_saved_model, tmp_path / "out", split, target=tfs, batch_size=32))

    stored = np.load(tmp_path / "out" / "y.npy", allow_pickle=False)
    np.testing.assert_allclose(stored, split.input_arrays()["input"] @ weights, rtol=1e-6)


def test_a_model_of_fixed_batch_predicts_every_row(
    tmp_path: Path, make_split: Callable[..., Split], make_onnx: Callable[..., Path], weights: Any
) -> None:
    folder = make_onnx(tmp_path / "fixed", batch=8)
    split = make_split(50)

    predict(_request(folder, tmp_path / "out", split))

    stored = np.load(tmp_path / "out" / "y.npy", allow_pickle=False)
    np.testing.assert_allclose(stored, split.input_arrays()["input"] @ weights, rtol=1e-6)


def test_doubles_are_cast_to_what_the_model_takes(
    tiny_onnx: Path, tmp_path: Path, make_split: Callable[..., Split], weights: Any
) -> None:
    predict(_request(tiny_onnx, tmp_path / "out", make_split(x=np.ones((3, 4)))))

    np.testing.assert_allclose(np.load(tmp_path / "out" / "y.npy"), np.ones((3, 4)) @ weights, rtol=1e-6)


def test_an_empty_split_is_refused(tiny_onnx: Path, tmp_path: Path, make_split: Callable[..., Split]) -> None:
    with pytest.raises(InputError, match="has no rows"):
        predict(_request(tiny_onnx, tmp_path / "out", make_split(x=np.ones((0, 4), np.float32))))


def test_a_file_that_is_no_model_fails_with_one_sentence(
    tiny_onnx: Path, tmp_path: Path, make_split: Callable[..., Split]
) -> None:
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "signature.json").write_bytes((tiny_onnx / "signature.json").read_bytes())
    (folder / "model.onnx").write_bytes(b"not a model")

    with pytest.raises(StepFailed, match="ONNX Runtime .* cannot open .*model.onnx"):
        predict(_request(folder, tmp_path / "out", make_split()))


def test_an_unknown_runtime_is_named_with_the_known_ones(tmp_path: Path, make_split: Callable[..., Split]) -> None:
    with pytest.raises(ValueError, match="runtime 'tensorrt' is not one of litert, onnxruntime, tensorflow"):
        _request(tmp_path, tmp_path / "out", make_split(), target={"runtime": "tensorrt"})


def test_a_request_survives_json(tiny_onnx: Path, tmp_path: Path, make_split: Callable[..., Split]) -> None:
    request = _request(tiny_onnx, tmp_path / "out", make_split())

    assert PredictRequest.model_validate_json(request.model_dump_json()) == request
