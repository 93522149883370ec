"""Rows drawn for test: a share of every class, the same ones for the same seed."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tasks.data.partition import drawn


@given(st.lists(st.integers(0, 4), min_size=2, max_size=300), st.floats(0.05, 0.95), st.integers(0, 2**32 - 1))
def test_a_share_of_every_class_is_drawn(classes, fraction, seed):
    classes = np.array(classes)
    test = drawn(classes, fraction, seed)

    assert abs(test.sum() - fraction * len(classes)) <= 1
    for value in set(classes.tolist()):
        assert abs(test[classes == value].sum() - fraction * (classes == value).sum()) <= 1
    np.testing.assert_array_equal(test, drawn(classes, fraction, seed))


def test_another_seed_draws_other_rows():
    classes = np.zeros(100, int)
    assert (drawn(classes, 0.2, 0) != drawn(classes, 0.2, 1)).any()
    assert drawn(classes, 0.2, 0)[:20].sum() not in (0, 20)
