"""How much memory a process may still take: looked at before a version is loaded beside the one that serves."""

from pathlib import Path

from tasks.foundations.errors import SlipwayError

LOAD_FACTOR = 3
"""ONNX Runtime takes 2.2 to 3 times a file's size while it loads it, then falls back."""

MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")


def available_bytes() -> int | None:
    """What the system, or the container's limit, has left; None where neither can be read."""
    found = [each for each in (_system(), _container()) if each is not None]
    return min(found, default=None)


def check(model_bytes: int, what: str) -> None:
    """Raise unless a model of this size can be loaded.

    Raises:
        SlipwayError: there is too little memory; loading could end this process, which serves.
    """
    there, needed = available_bytes(), LOAD_FACTOR * model_bytes
    if there is not None and there < needed:
        raise SlipwayError(
            f"{what} needs about {needed / 1e6:,.0f} MB of memory to load ({LOAD_FACTOR} times its "
            f"{model_bytes / 1e6:,.0f} MB), and {there / 1e6:,.0f} MB are left. Give the machine or container more, or "
            "serve fewer models."
        )


def _system() -> int | None:
    try:
        lines = MEMINFO.read_text().splitlines()
    except OSError:
        return None
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    return int(fields["MemAvailable"].split()[0]) * 1024 if "MemAvailable" in fields else None


def _container() -> int | None:
    """Of a cgroup v2 as a container sees its own."""
    try:
        limit = (CGROUP / "memory.max").read_text().strip()
        used = int((CGROUP / "memory.current").read_text())
    except (OSError, ValueError):
        return None
    return None if limit == "max" else max(0, int(limit) - used + _given_back())


def _given_back() -> int:
    """Cached files, which the kernel counts as used and gives back when memory gets short."""
    try:
        fields = dict(line.split() for line in (CGROUP / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return 0
    return int(fields.get("inactive_file", 0))
