"""Libraries whose packages have other names: ONNX Runtime comes in several builds, one to an environment."""

from functools import cache
from importlib.metadata import PackageNotFoundError, version

PACKAGES = {"onnxruntime": ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino"), "litert": ("ai-edge-litert",)}


@cache
def installed(library: str) -> tuple[str, str]:
    """The package that the library is here, and its version.

    Raises:
        PackageNotFoundError: none of its builds is installed.
    """
    for package in PACKAGES.get(library, (library,)):
        try:
            return package, version(package)
        except PackageNotFoundError:
            continue
    raise PackageNotFoundError(library)
