"""A session computes where it was asked to, or there is none."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest

from tasks.foundations.errors import StepFailed
from tasks.runtimes.onnxruntime import OnnxRuntime, open_session
from tasks.runtimes.providers import BUILDS, check_loaded

HERE = onnxruntime.get_available_providers()


def target(provider: str, threads: int = 1) -> OnnxRuntime:
    return OnnxRuntime.model_validate({"runtime": "onnxruntime", "provider": provider, "threads": threads})


@pytest.mark.parametrize("provider", [each for each, build in BUILDS.items() if build.names[0] in HERE])
def test_a_provider_that_is_here_computes(provider: str, tiny_onnx: Path, weights: np.ndarray) -> None:
    rows = np.random.default_rng(0).random((5, 4)).astype(np.float32)

    session = target(provider).open(tiny_onnx)

    np.testing.assert_allclose(session.run({"x": rows})["y"], rows @ weights, rtol=1e-3)


@pytest.mark.parametrize("provider", [each for each, build in BUILDS.items() if build.names[0] not in HERE])
def test_a_provider_that_is_not_installed_is_refused_with_its_package(provider: str, tiny_onnx: Path) -> None:
    with pytest.raises(
        StepFailed, match=f"has no provider {provider}; it has cpu.*Install {BUILDS[provider].package} in"
    ):
        target(provider).open(tiny_onnx)


def test_a_provider_that_onnx_runtime_leaves_out_without_a_word_is_refused(
    tiny_onnx: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    word = next(each for each in ("openvino", "cuda") if BUILDS[each].names[0] not in HERE)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [BUILDS[word].names[0], *HERE])
    options = json.loads(json.dumps(target(word).options()))

    with (
        pytest.warns(UserWarning, match="not in available provider names"),
        pytest.raises(StepFailed, match=f"cannot load its provider {word} on this machine and would compute on cpu"),
    ):
        open_session(str(tiny_onnx / "model.onnx"), options)


def test_the_cpu_is_not_taken_for_anything_else(tiny_onnx: Path) -> None:
    session = onnxruntime.InferenceSession(tiny_onnx / "model.onnx", providers=["CPUExecutionProvider"])

    check_loaded(session, "CPUExecutionProvider")
    with pytest.raises(StepFailed, match="tensorrt needs an NVIDIA GPU with its driver, TensorRT, CUDA and cuDNN"):
        check_loaded(session, "TensorrtExecutionProvider")


class Assigned:
    """A session as ONNX Runtime makes it where OpenVINO is there: who got which part of the model."""

    def __init__(self, *names: str) -> None:
        self._names = names

    def get_providers(self) -> list[str]:
        return ["OpenVINOExecutionProvider", "CPUExecutionProvider"]

    def get_provider_graph_assignment_info(self) -> list[SimpleNamespace]:
        return [SimpleNamespace(ep_name=name) for name in self._names]


def test_a_provider_that_gets_a_part_of_the_model_will_do_and_one_that_gets_none_is_refused() -> None:
    check_loaded(Assigned("CPUExecutionProvider", "OpenVINOExecutionProvider"), "OpenVINOExecutionProvider")
    with pytest.raises(StepFailed, match="openvino takes none of the model's operators"):
        check_loaded(Assigned("CPUExecutionProvider"), "OpenVINOExecutionProvider")


def test_openvino_is_told_the_threads_which_are_its_own() -> None:
    options = json.loads(json.dumps(target("openvino", threads=3).options()))

    (own,) = options["provider_options"]
    assert json.loads(own["load_config"]) == {"CPU": {"INFERENCE_NUM_THREADS": 3}}


@pytest.mark.parametrize("provider", list(BUILDS))
def test_every_provider_has_options_of_its_own_that_survive_json(provider: str) -> None:
    options = target(provider).options()

    assert json.loads(json.dumps(options)) == options
    assert len(options["providers"]) == len(options["provider_options"]) >= 1
