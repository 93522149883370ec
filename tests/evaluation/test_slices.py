import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.evaluation.gates import Gate
from tasks.evaluation.slices import check_slices, named, slice_rows
from tasks.foundations.errors import InputError

COLUMNS = {"site": np.array(["small", "big", "big"]), "hour": np.array([1, 2, 1])}


def _gate(slices):
    return Gate(metric="accuracy", max_drop=0.1, slices=slices)


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=40))
def test_the_slices_of_a_column_share_out_the_rows(values):
    found = slice_rows({"x": np.array(values)})
    assert sorted(np.concatenate(list(found.values())).tolist()) == list(range(len(values)))
    assert all(f"x={values[row]}" == name for name, rows in found.items() for row in rows)


def test_a_column_of_identifiers_is_no_slice_whether_a_gate_names_it_or_not():
    with pytest.raises(InputError, match="'id' has 1001 values"):
        check_slices([], {"id": np.arange(1001)})


def test_a_value_with_an_equals_sign_is_a_slice_of_its_column():
    found = slice_rows({"url": np.array(["a=1", "b"])})
    assert named(_gate(("url",)), found) == ["url=a=1", "url=b"]
    assert named(_gate(("url=a=1",)), found) == ["url=a=1"]


@pytest.mark.parametrize("slices", [("site",), ("site=big", "hour"), "all", None])
def test_slices_that_the_data_has_are_accepted(slices):
    check_slices([_gate(slices)], COLUMNS)


@pytest.mark.parametrize(
    ("slices", "sentence"),
    [
        (
            ("sight",),
            r"gates\[1\] \(accuracy max_drop 0.1 against reference\): the test data has no slice 'sight'. "
            "Did you mean site?",
        ),
        (("site", "site=huge"), "no slice 'site=huge'.* It has: site, hour, site=big, site=small, hour=1, hour=2"),
    ],
)
def test_a_slice_that_the_data_lacks_is_refused_with_the_nearest_word(slices, sentence):
    with pytest.raises(InputError, match=sentence):
        check_slices([_gate("all"), _gate(slices)], COLUMNS)


def test_slices_of_data_without_any_are_refused():
    with pytest.raises(InputError, match="has no slices. Give the data `slices`"):
        check_slices([_gate("all")], {})
