"""Whether a process still runs: files and locks bear the id of who left them."""

import os
from pathlib import Path


def is_alive(pid: int) -> bool:
    """Whether a process of this id runs here; one that has ended and waits to be collected does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:  # it has just ended, or this system has no /proc
        return not Path("/proc/self").exists()
    return state not in ("Z", "X")
