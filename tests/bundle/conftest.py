import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # parts.py


@pytest.fixture
def sealed(tmp_path):
    """A sealed bundle with one ONNX winner, without MLflow's files."""
    from parts import onnx_winner, request

    from tasks.bundle.write import layout, seal

    asked = request(tmp_path / "r", {"cpu": onnx_winner(tmp_path / "w")})
    return layout(asked), seal(asked)
