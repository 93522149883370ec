"""What counts as kept: pruned counts are whole numbers, so the share of zeros of a small layer is a rounded one."""

import pytest

from tasks.foundations.errors import ProofFailed
from tasks.techniques.promises import Promise, refuse_unkept


@pytest.mark.parametrize(("zeros", "size"), [(102, 128), (8, 10), (799, 1000)])
def test_half_a_weight_is_not_asked_for(zeros, size):
    asked = {128: 0.8, 10: 0.85, 1000: 0.8}[size]

    refuse_unkept(Promise(what="sparsity", asked=asked, layers={"last": (0,)}), {"last": zeros / size}, {"last": size})


@pytest.mark.parametrize(("zeros", "size"), [(101, 128), (797, 1000)])
def test_a_whole_weight_is(zeros, size):
    promise = Promise(what="sparsity", asked=0.8, layers={"last": (0,)})

    with pytest.raises(ProofFailed, match="last"):
        refuse_unkept(promise, {"last": zeros / size}, {"last": size})
