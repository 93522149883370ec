"""The world of this room's tests."""

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from promotion_world import World, trust_plain_files


@pytest.fixture
def tmp_path(tmp_path: Path) -> Iterator[Path]:
    """In memory where that can be had: a kill loses nothing there either, and a move waits for the disk often."""
    if not Path("/dev/shm").is_dir():
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="slipway-") as folder:
        yield Path(folder)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """An installation without any version. Its models are plain files, which no server can load."""
    with pytest.MonkeyPatch.context() as patch:
        trust_plain_files(patch)
        yield World(tmp_path)
