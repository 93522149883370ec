"""Options and fixtures of the whole suite."""

import gc
import os
import signal
from pathlib import Path

import pytest
from hypothesis import settings

# No test asserts a time: on a busy machine an example of a property may take any.
settings.register_profile("suite", deadline=None)
settings.load_profile("suite")

# Shells let what runs in the background, or under nohup, ignore these; tests of signals and their children must not.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# What other tests left of TensorFlow and gRPC waits for threads that a forked child does not have when it is collected.
os.register_at_fork(after_in_child=gc.disable)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-goldens", action="store_true", help="Write the golden files anew instead of comparing.")
    parser.addoption("--one-of-each-kind", action="store_true", help="Of slow cases run the first of each kind only.")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Files with slow tests first: begun last, one would run alone while the other process has nothing to do."""
    if config.getoption("--one-of-each-kind"):
        _leave_one_of_each_kind(config, items)
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def _leave_one_of_each_kind(config: pytest.Config, items: list[pytest.Item]) -> None:
    kinds: set[object] = set()
    left = []
    for item in items:
        mark = item.get_closest_marker("slow")
        kind = mark and (mark.args[0] if mark.args else item.path)
        if kind in kinds:
            left.append(item)
        elif kind:
            kinds.add(kind)
    config.hook.pytest_deselected(items=left)
    items[:] = [item for item in items if item not in left]


@pytest.fixture
def golden(request: pytest.FixtureRequest):
    """Compare text with a file of tests/goldens; `--update-goldens` writes it."""

    def compare(name: str, text: str) -> None:
        path = Path(__file__).parent / "goldens" / name
        if request.config.getoption("--update-goldens"):
            path.write_text(text)
        assert path.is_file(), f"no golden {name}; run pytest with --update-goldens and look at what it wrote"
        assert text == path.read_text(), f"{name} has changed; if that is meant, run pytest with --update-goldens"

    return compare
