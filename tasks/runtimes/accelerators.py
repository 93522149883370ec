"""Hardware that people ask for and that Slipway has no way to, so that `check` says that instead of listing words."""

from collections.abc import Sequence

NOT_HERE = {
    *("tpu", "edgetpu", "edge_tpu", "coral", "neuron", "inferentia", "trainium", "gaudi", "habana"),
    *("coreml", "mps", "metal", "directml", "dml", "webgpu", "webnn", "rocm", "migraphx", "dnnl", "vitisai", "cann"),
    *("qnn", "snpe", "hexagon", "nnapi", "xnnpack", "acl", "armnn", "rknpu", "npu", "ethosu"),
}
CPUS = "What runs on the CPUs of phones and small devices is runtime: litert."


def refuse_provider(word: str, providers: Sequence[str]) -> str | None:
    """Why a word is no provider, None where nothing better can be said than which ones there are."""
    plain = word.lower().replace("-", "_")
    if plain == "gpu":
        return "gpu says too little: NVIDIA's are cuda and tensorrt, and others are not available here."
    if plain in NOT_HERE:
        return f"{word} is not available here. Providers: {', '.join(providers)}. {CPUS}"
    return None


def refuse_runtime(word: str, runtimes: Sequence[str], providers: Sequence[str]) -> str | None:
    """Why a word is no runtime, likewise."""
    plain = word.lower().replace("-", "_")
    if plain in providers:
        return f"{word} is a provider of ONNX Runtime: write runtime: onnxruntime, provider: {plain}."
    if plain in ("tflite", "tensorflow_lite"):
        return f"{word} is called litert: write runtime: litert."
    if plain == "gpu" or plain in NOT_HERE:
        there = f"Runtimes: {', '.join(runtimes)}; onnxruntime with provider {', '.join(providers)}"
        return f"{word} is not available here. {there}. {CPUS}"
    return None
