"""The OpenAPI description is true: whatever it allows, and whatever it forbids, is answered as it says."""

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance
from world import ServingFolder, serving

# A schema cannot say that a tensor holds as many values as its shape promises, so valid bodies may be refused.
UNSAYABLE = [positive_data_acceptance]


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory):
    place = tmp_path_factory.mktemp("described")
    folder = ServingFolder(place / "serving")
    folder.stage(1, factor=0.5)
    folder.stage(2, factor=0.25)  # never overflows
    folder.point(3, 2, previous=1)
    with serving(folder.root, place / "log") as server:
        yield schemathesis.openapi.from_url(f"{server.url}/openapi.json")


def test_every_operation_answers_as_described(described: schemathesis.BaseSchema) -> None:
    operations = [found.ok() for found in described.get_all_operations()]
    assert len(operations) > 15

    for operation in operations:

        @settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy())
        def holds(case: schemathesis.Case) -> None:
            case.call_and_validate(excluded_checks=UNSAYABLE)

        holds()
