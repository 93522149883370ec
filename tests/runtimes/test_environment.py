import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError

import pytest

from tasks.foundations import builds
from tasks.runtimes import environment
from tasks.runtimes.environment import NoiseMeter, cpu_class, read_environment


def test_the_stamp_names_machine_and_libraries() -> None:
    stamp = read_environment(("numpy", "no-such-distribution"))

    assert stamp.cores >= 1
    assert stamp.cpu and stamp.kernel
    assert stamp.python == platform.python_version()
    assert list(stamp.libraries) == ["numpy"]


def test_the_cpu_class_is_stable_and_holds_the_flags() -> None:
    assert cpu_class() == cpu_class() == "+".join([platform.machine(), *read_environment().flags])
    assert " " not in cpu_class()


def test_nvidias_gpus_stand_in_the_stamp_and_in_the_class(tmp_path, monkeypatch) -> None:
    (tmp_path / "0000:01:00.0").mkdir()
    (tmp_path / "0000:01:00.0/information").write_text("Model: \t\t NVIDIA H200\nIRQ:   \t\t 47\n")
    monkeypatch.setattr(environment, "DRIVER", tmp_path)

    assert read_environment().gpus == ("NVIDIA H200",)
    assert cpu_class().endswith("+NVIDIA_H200")


def test_the_build_of_onnx_runtime_is_named(monkeypatch) -> None:
    there = {"onnxruntime-gpu": "1.31.1", "numpy": "2.4.0"}
    monkeypatch.setattr(builds, "version", lambda name: there[name] if name in there else missing(name))
    builds.installed.cache_clear()

    assert builds.installed("onnxruntime") == ("onnxruntime-gpu", "1.31.1")
    assert builds.installed("numpy") == ("numpy", "2.4.0")
    with pytest.raises(PackageNotFoundError):
        builds.installed("tensorflow")
    builds.installed.cache_clear()


def missing(name: str) -> str:
    raise PackageNotFoundError(name)


def test_noise_is_measured_between_two_moments() -> None:
    noise = NoiseMeter().read()

    assert noise.load_average >= 0
    assert noise.steal_percent is None or 0 <= noise.steal_percent <= 100
    assert noise.throttled is None or noise.throttled >= 0


def test_schemas_and_stamp_import_no_runtime() -> None:
    code = (
        "import sys; from tasks.foundations.menu import choices; choices('tasks.runtimes', 'runtime');"
        "from tasks.runtimes.environment import read_environment; read_environment();"
        "import tasks.runtimes.timing, tasks.runtimes.predict;"
        "print(sorted({'tensorflow', 'onnxruntime', 'keras', 'scipy', 'prefect', 'mlflow'} & set(sys.modules)))"
    )

    found = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)

    assert found.stdout.strip() == "[]"
