"""Pages of a map that was read are given back, and nothing that was written is lost."""

from pathlib import Path

import numpy as np
import pytest

from tasks.foundations.maps import release


def resident(of="RssFile"):
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in status if line.startswith(of))


@pytest.fixture
def path(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(2**21, dtype="float64"))
    return tmp_path / "a.npy"


def test_what_was_read_no_longer_counts_and_is_still_there(path):
    array = np.asarray(np.load(path, mmap_mode="r"))[1:]
    before = resident()
    total = array.sum()
    assert resident() - before > 2**23
    release(array)
    assert resident() - before < 2**21
    assert array.sum() == total


@pytest.mark.parametrize("mode", ["c", "r+"])
def test_what_was_written_is_kept(path, mode):
    array = np.load(path, mmap_mode=mode)
    array[:] = 7
    release(array)
    assert (array == 7).all()


def test_other_arrays_are_left_alone():
    array = np.ones(5)
    release(array)
    release(array[1:])
    assert array.sum() == 5
