"""What ONNX Runtime computes on: its execution providers, the packages that have them, and a word where one is missing.

Each provider but `cpu` needs another build of ONNX Runtime, and an environment takes one build. ONNX Runtime goes on
with the CPU when a provider cannot be loaded, and says so in a log at most: a latency of the wrong hardware would pass
for that of the right one. Here that is a failure.
"""

import contextlib
import json
import sys
from typing import Any, Literal, NamedTuple

from tasks.foundations.errors import StepFailed
from tasks.runtimes.accelerators import refuse_provider

Provider = Literal["cpu", "cuda", "tensorrt", "openvino"]


class Build(NamedTuple):
    """How to come by a provider.

    Attributes:
        names: ONNX Runtime's words, in order of precedence; the CPU takes what none of them can.
        package: on PyPI, with the provider inside.
        needs: what must be on the machine beside it.
    """

    names: tuple[str, ...]
    package: str
    needs: str


BUILDS: dict[str, Build] = {
    "cpu": Build(("CPUExecutionProvider",), "onnxruntime", "nothing"),
    "cuda": Build(("CUDAExecutionProvider",), "onnxruntime-gpu", "an NVIDIA GPU with its driver, CUDA and cuDNN"),
    "tensorrt": Build(
        ("TensorrtExecutionProvider", "CUDAExecutionProvider"),
        "onnxruntime-gpu",
        "an NVIDIA GPU with its driver, TensorRT, CUDA and cuDNN",
    ),
    "openvino": Build(("OpenVINOExecutionProvider",), "onnxruntime-openvino", "a processor that OpenVINO supports"),
}


def as_provider(word: Any) -> Any:
    """The word, unless it is an accelerator that others have.

    Raises:
        ValueError: it is one; the sentence says what there is instead.
    """
    sentence = refuse_provider(word, list(BUILDS)) if isinstance(word, str) else None
    if sentence:
        raise ValueError(sentence)
    return word


def provider_options(provider: Provider, threads: int) -> dict[str, Any]:
    """The part of a session's options that says where it computes, as JSON."""
    names = BUILDS[provider].names
    own: list[dict[str, str]] = [{} for _ in names]
    if provider == "openvino":  # it has threads of its own, by default one a core
        own[0] = {"device_type": "CPU", "load_config": json.dumps({"CPU": {"INFERENCE_NUM_THREADS": threads}})}
    return {"providers": list(names), "provider_options": own}


def record(provider: Provider) -> dict[str, str]:
    """The session entry that makes ONNX Runtime remember which provider got which operators."""
    return {} if provider == "cpu" else {"session.record_ep_graph_assignment_info": "1"}


def check_installed(ort: Any, name: str) -> None:
    """Make sure that this build of ONNX Runtime has the provider.

    Args:
        ort: the module `onnxruntime`.
        name: ONNX Runtime's word.

    Raises:
        StepFailed: it has not.
    """
    found = ort.get_available_providers()
    if name not in found:
        word = _word(name)
        there = ", ".join(each for each, build in BUILDS.items() if build.names[0] in found)
        package = BUILDS[word].package
        raise StepFailed(
            f"The ONNX Runtime of this machine ({ort.__version__}) has no provider {word}; it has {there}. Install "
            f"{package} in place of its other builds, in an environment of its own: they exclude each other. "
            f"{word} also needs {BUILDS[word].needs}."
        )


def preload(ort: Any, names: list[str]) -> None:
    """Find the CUDA libraries that come as Python packages: no library path leads to them."""
    if "CUDAExecutionProvider" in names:
        with contextlib.redirect_stdout(sys.stderr):  # it prints what it does not find
            ort.preload_dlls()


def check_loaded(session: Any, name: str) -> None:
    """Make sure that a session computes where it was asked to.

    Args:
        session: made with the entry of `record`.
        name: ONNX Runtime's word.

    Raises:
        StepFailed: the provider was left out when the session was made, or got no operator of the model.
    """
    used = session.get_providers()[0]
    if used != name:
        word = _word(name)
        raise StepFailed(
            f"ONNX Runtime cannot load its provider {word} on this machine and would compute on {_word(used)} instead. "
            f"{word} needs {BUILDS[word].needs}."
        )
    if name not in BUILDS["cpu"].names:
        parts = session.get_provider_graph_assignment_info()
        if all(part.ep_name != name for part in parts):
            raise StepFailed(
                f"The provider {_word(name)} takes none of the model's operators, so ONNX Runtime would compute it "
                "elsewhere. Use provider: cpu, or another target, for this model."
            )


def _word(name: str) -> str:
    """ONNX Runtime's word in the config's."""
    return next((word for word, build in BUILDS.items() if build.names[0] == name), name)
