"""A release for devices alone, with a price: converted, proved, measured, judged, bundled and registered as LiteRT."""

import pytest

from tasks.foundations.menu import choices
from tasks.runtimes.target import parse_target

pytestmark = pytest.mark.slow("another choice of a menu")
PRUNED = {"kind": "pruning", "sparsity": 0.5, "epochs": 1}


@pytest.fixture(scope="module")
def released(installation):
    return installation.release(
        candidates={"int8": [{"kind": "int8_static"}], "pruned": [PRUNED]},
        targets={"phone": {"runtime": "litert", "cost_per_hour": 0.5}},
        gates=[{"metric": "accuracy", "max_drop": 0.5}, {"metric": "cost_per_million", "max": 1000}],
        choose={"minimize": "gzip_bytes"},
        serving=None,
    )


def test_training_techniques_reach_devices_and_those_of_onnx_do_not_apply(released):
    assert released.code in (0, 4), released.log  # 4: the machine was too noisy for a cost, which is a time
    rows = {row["name"]: row for row in released.json["candidates"]}
    assert rows["int8"]["outcome"] == "not_applicable"
    assert rows["int8"]["reason"] == "int8_static exists in ONNX only; litert opens LiteRT files"
    assert rows["pruned"]["gzip_bytes"] < 0.8 * rows["float32"]["gzip_bytes"]
    assert {stage["candidate"] for stage in released.json["stages"] if stage["name"] == "convert litert"} == {
        "float32",
        "pruned",
    }
    assert not [stage for stage in released.json["stages"] if stage["name"] == "convert"]  # nobody wants ONNX


def test_every_measured_candidate_has_a_cost(released):
    for row in released.json["candidates"]:
        if row["outcome"] != "not_applicable":
            expected = 0.5 * 1e6 / (3600 * row["throughput_per_s"])
            assert row["cost_per_million"] == pytest.approx(expected, rel=0.2)  # medians over rounds of either


def test_the_bundle_holds_a_file_that_answers(released, installation):
    if released.code == 4:
        pytest.skip("inconclusive on this machine: nothing was bundled")
    assert released.json["winners"] == {"phone": "pruned"}
    assert released.json["recommendation"]["target"] == "phone"
    (file,) = (installation.home / "mlflow").rglob("targets/phone/model.tflite")
    flavours = (file.parents[2] / "MLmodel").read_text()
    assert "litert:" in flavours and "data: targets/phone/model.tflite" in flavours
    session = parse_target({"runtime": "litert"}).open(file.parent)
    assert session.signature.outputs.keys() == {"logits"} and "litert" in choices("tasks.runtimes", "runtime")
