"""One server for the tests of a file, a model of its own for each test."""

import dataclasses
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from world import Server, ServingFolder, serving

NUMBERS = itertools.count(1)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Server]]:
    """A server that serves whatever appears in its folder."""
    place = tmp_path_factory.mktemp("shared")
    (place / "serving").mkdir()
    with serving(place / "serving", place / "log", poll_s=0.2) as running:
        yield place / "serving", running


@pytest.fixture
def folder(tmp_path: Path) -> ServingFolder:
    """A folder that no server follows."""
    return ServingFolder(tmp_path / "serving")


@pytest.fixture
def served(shared: tuple[Path, Server]) -> tuple[Server, ServingFolder]:
    """The shared server and a model: version 1 answers, version 2 stands staged."""
    root, server = shared
    model = f"tiny-{next(NUMBERS)}"
    place, view = ServingFolder(root, model), dataclasses.replace(server, model=model)
    place.stage(1)
    place.stage(2)
    place.point(3, 1)
    assert view.follow(3)["version"] == 1
    return view, place
