import gc

import pytest

from tasks.foundations.imports import importing


@pytest.fixture(autouse=True)
def thaw():
    yield
    gc.unfreeze()


def test_nothing_is_collected_while_importing_and_never_what_was_imported():
    frozen = gc.get_freeze_count()
    with importing():
        assert not gc.isenabled()
        kept = [[] for _ in range(1000)]

    assert gc.isenabled()
    assert gc.get_freeze_count() > frozen + len(kept)


def test_a_failed_import_leaves_the_collector_on():
    with pytest.raises(ImportError), importing():
        raise ImportError

    assert gc.isenabled()
