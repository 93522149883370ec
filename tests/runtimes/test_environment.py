import platform
import subprocess
import sys

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
