from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.foundations.errors import StepFailed
from tasks.models.signature import Signature, TensorSpec
from tasks.runtimes.rows import predict_rows
from tasks.runtimes.session import Array

WIDE = TensorSpec(dtype="float32", shape=(None, 2))


class Doubler:
    """A session in plain numpy that remembers the batches it got."""

    def __init__(self, fixed_batch: int | None = None) -> None:
        self.signature = Signature(inputs={"x": WIDE}, outputs={"y": WIDE})
        self.fixed_batch = fixed_batch
        self.batches: list[int] = []

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        self.batches.append(len(inputs["x"]))
        return {"y": inputs["x"] * 2}


@given(rows=st.integers(1, 40), batch=st.integers(1, 12), fixed=st.none() | st.integers(1, 12), wide=st.booleans())
def test_every_row_comes_out_once_in_order_whatever_the_batch(
    rows: int, batch: int, fixed: int | None, wide: bool
) -> None:
    session = Doubler(fixed)
    data = np.arange(rows * 2, dtype=np.float64 if wide else np.float32).reshape(rows, 2)

    parts = list(predict_rows(session, {"input": data}, batch))

    np.testing.assert_array_equal(np.concatenate([outputs["y"] for _, outputs in parts]), data * 2)
    assert [start for start, _ in parts] == list(range(0, rows, fixed or batch))
    assert fixed is None or set(session.batches) == {fixed}


def test_an_output_that_is_not_one_entry_a_row_is_refused() -> None:
    session = Doubler()
    session.run = lambda inputs: {"y": np.zeros(3)}  # type: ignore[method-assign]

    with pytest.raises(StepFailed, match=r"Output 'y' has shape \(3,\) for a batch of 2 rows"):
        list(predict_rows(session, {"x": np.zeros((2, 2), np.float32)}, 2))
