"""What counts as a process's own memory: what it has allocated, not what it has mapped."""

import subprocess
import sys

import pytest

from tests.benchmarks.anonymous import Watch, kind_of

MB = 10**6
ALLOCATES = "import numpy as np, time; held = np.ones(100 * 10**6, np.uint8); time.sleep(1)"
MAPS = "import numpy as np, sys, time; print(np.load(sys.argv[1], mmap_mode='r').sum()); time.sleep(1)"


@pytest.mark.parametrize(("code", "least", "most"), [(ALLOCATES, 100, 180), (MAPS, 1, 80)])
def test_allocated_memory_is_counted_and_a_mapped_file_is_not(code, least, most, tmp_path):
    import numpy as np

    np.save(tmp_path / "big.npy", np.ones(100 * MB, np.uint8))

    with Watch() as watch:
        subprocess.run([sys.executable, "-c", code, str(tmp_path / "big.npy")], check=True)

    assert least * MB <= watch.peaks["other"] <= most * MB


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("python -B -c from multiprocessing.spawn import spawn_main; spawn_main()", "worker"),
        ("python -m flows.prefect_child 5 17", "Prefect's server"),
        ("python -m tests.benchmarks.watched notes.json release configs/digits.yaml", "release"),
        ("sleep 1", "other"),
    ],
)
def test_processes_are_told_apart(line, kind):
    assert kind_of(line.split()) == kind
