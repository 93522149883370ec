import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "bundle"))  # parts.py
sys.path.insert(0, str(Path(__file__).parent))  # test_registry.py: what asks other processes


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """One fresh tracking database a test module: making its tables costs a second."""
    from tasks.registry.jobs import InitializeRequest, initialize
    from tasks.registry.records import Place

    root = tmp_path_factory.mktemp("mlflow home")  # a space: URIs and paths must survive it
    place = Place(
        tracking_uri=f"sqlite:///{root}/state/mlflow.db", artifact_location=str(root / "artifacts"), experiment="digits"
    )
    initialize(InitializeRequest(place=place))
    return place


@pytest.fixture(scope="module")
def registry(place):
    from tasks.registry.mlflow_registry import Registry

    return Registry(place).open()
