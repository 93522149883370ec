"""The world of this room's tests."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from promotion_world import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    """An installation without any version."""
    return World(tmp_path)
