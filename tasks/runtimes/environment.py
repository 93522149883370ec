"""The stamp beside every number: the same int8 file is 5 to 10 points less accurate on a CPU without VNNI.

Read from /proc and /sys where they exist; what a machine does not tell is left empty, never guessed.
"""

import os
import platform
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from tasks.foundations.builds import PACKAGES
from tasks.foundations.record import Record

LIBRARIES = (
    "slipway",
    "numpy",
    *PACKAGES["onnxruntime"],
    *PACKAGES["litert"],
    "onnx",
    "tensorflow",
    "keras",
    "tf-keras",
    "tf2onnx",
    "scikit-learn",
)
DRIVER = Path("/proc/driver/nvidia/gpus")
# Instruction sets that choose other kernels, and with them other speed or other rounding.
_FLAGS = (
    *("avx", "fma", "f16c", "avx2", "avx_vnni", "avx512f", "avx512bw", "avx512_vnni", "avx512_bf16", "avx512_fp16"),
    *("amx_tile", "amx_int8", "amx_bf16", "asimd", "asimddp", "i8mm", "bf16", "sve", "sve2"),
)


class Environment(Record):
    """One machine at one moment.

    Attributes:
        cpu: model name.
        flags: the instruction sets that matter for kernels, in a fixed order.
        cores: logical cores that this process may use.
        memory_bytes: main memory, None if unknown.
        governor: frequency governor, None where the machine does not tell (most virtual ones).
        kernel: operating system and its release.
        machine: architecture.
        gpus: names of NVIDIA's, as their driver tells.
        load_average: processes that ran or waited over the last 1, 5 and 15 minutes.
        python: version.
        libraries: distribution -> version of those installed.
    """

    cpu: str
    flags: tuple[str, ...]
    cores: int
    memory_bytes: int | None
    governor: str | None
    kernel: str
    machine: str
    gpus: tuple[str, ...] = ()
    load_average: tuple[float, float, float]
    python: str
    libraries: dict[str, str]


class Noise(Record):
    """What the machine's other tenants did between two moments.

    Attributes:
        steal_percent: share of processor time that the hypervisor gave to others, None if unknown.
        throttled: times that the control group's quota stopped us, None if unknown.
        load_average: over the last minute, at the end.
    """

    steal_percent: float | None
    throttled: int | None
    load_average: float


class NoiseMeter:
    """Reads the counters at its creation, and their growth since then when asked."""

    def __init__(self) -> None:
        self._ticks = _ticks()
        self._throttled = _throttled()

    def read(self) -> Noise:
        """Growth since the meter was made."""
        before, after = self._ticks, _ticks()
        steal = None
        if before and after and sum(after) > sum(before):
            steal = 100.0 * (after[7] - before[7]) / (sum(after) - sum(before))
        start, end = self._throttled, _throttled()
        throttled = None if start is None or end is None else end - start
        return Noise(steal_percent=steal, throttled=throttled, load_average=_load()[0])


def read_environment(libraries: Sequence[str] = LIBRARIES) -> Environment:
    """The stamp of this machine, without importing any of the libraries."""
    facts = _cpu_facts()
    return Environment(
        cpu=facts.get("model name") or platform.processor() or "unknown",
        flags=_flags(facts),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory_bytes=_memory(),
        governor=_read(Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")),
        kernel=f"{platform.system()} {platform.release()}",
        machine=platform.machine(),
        gpus=_gpus(),
        load_average=_load(),
        python=platform.python_version(),
        libraries={name: version for name in libraries if (version := _version(name))},
    )


def cpu_class() -> str:
    """Short and stable name of what decides kernels, `x86_64+avx2+avx512f`: part of the key of what depends on them."""
    return "+".join([platform.machine(), *_flags(_cpu_facts()), *(name.replace(" ", "_") for name in _gpus())])


def _cpu_facts() -> dict[str, str]:
    """The first processor's entries of /proc/cpuinfo."""
    text = _read(Path("/proc/cpuinfo")) or ""
    lines = (line.partition(":") for line in text.split("\n\n")[0].splitlines())
    return {key.strip(): value.strip() for key, _, value in lines}


def _flags(facts: dict[str, str]) -> tuple[str, ...]:
    found = set((facts.get("flags") or facts.get("Features") or "").split())
    return tuple(flag for flag in _FLAGS if flag in found)


def _gpus() -> tuple[str, ...]:
    texts = (_read(path) or "" for path in sorted(DRIVER.glob("*/information")))
    lines = (line.partition(":") for text in texts for line in text.splitlines())
    return tuple(value.strip() for key, _, value in lines if key == "Model")


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return None


def _load() -> tuple[float, float, float]:
    return os.getloadavg()


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _ticks() -> list[int] | None:
    """user, nice, system, idle, iowait, irq, softirq, steal of all processors together (proc(5))."""
    text = _read(Path("/proc/stat"))
    if text is None:
        return None
    ticks = [int(word) for word in text.splitlines()[0].split()[1:9]]
    return ticks if len(ticks) == 8 else None


def _throttled() -> int | None:
    for path in (Path("/sys/fs/cgroup/cpu.stat"), Path("/sys/fs/cgroup/cpu/cpu.stat")):
        for line in (_read(path) or "").splitlines():
            if line.startswith("nr_throttled "):
                return int(line.split()[1])
    return None


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None
