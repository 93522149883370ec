"""What a client writes, a client reads: bit by bit."""

from typing import Any

import numpy as np
import pytest

from tasks.serving import oip_wire


@pytest.mark.parametrize(
    "values",
    [
        np.array([[1.5, float("nan")], [-0.0, 3e-45]], np.float32),
        np.array([1, -(2**63)], np.int64),
        np.array([True, False]),
        np.array([0.1], np.float16),
        np.array([["", "ü"], ["longer", "a"]]),
    ],
    ids=lambda values: str(values.dtype),
)
def test_tensors_cross_the_protocol_bit_by_bit(values: Any) -> None:
    body, headers = oip_wire.request({"x": values})
    length = int(headers[oip_wire.HEADER_LENGTH])

    version, back = oip_wire.answer(body.replace(b'"inputs"', b'"outputs"', 1), str(length + 1))

    assert version == "" and back["x"].shape == values.shape
    if values.dtype.kind == "U":
        assert back["x"].tolist() == values.tolist()
    else:
        assert back["x"].tobytes() == values.tobytes()
