"""The report claims for a training technique what was compared, and nothing else."""

import pytest

from tasks.evaluation.verdict import Verdict
from tasks.reports.bought import bought
from tasks.reports.summary import CandidateRow, ReleaseSummary

SPARSE = {"proof": {"sparsity": {"asked": 0.75, "achieved": {"a": 0.75, "b": 0.76}, "whole": 0.752}}}
PROVEN = Verdict(
    gate="not slower than int8", metric="p50_ms", status="pass", reason="its p50 speed-up is 1: not slower."
)


def trained_for(epochs):
    return {"step": "int8_static", "before": {"step": "qat", "training": {"history": {"epochs": epochs}}}}


def row(name, *chain, drop=0.0, gzip=100_000, **more):
    return CandidateRow(
        name=name, target="cpu", chain=chain, outcome="pass", reason="", primary_drop=drop, primary_value=0.9,
        size_bytes=200_000, gzip_bytes=gzip, **more
    )  # fmt: skip


def told(*rows):
    summary = ReleaseSummary(
        release="r", model="m", started="", finished="", exit_code=0, decision="", primary_metric="accuracy",
        rows=(row("float32", gzip=400_000), *rows),
    )  # fmt: skip
    return {each.candidate: " ".join(each.sentences) for each in bought(summary, "cpu")}


def test_pruning_buys_transfer_size_against_the_same_chain_without_it():
    said = told(
        row("int8", "int8_static"),
        row("pruned", "pruning", "int8_static", gzip=40_000, proof=SPARSE),
    )
    assert said["pruned"].startswith("The final file has 75.2\u202f% zeros in the weights of 2 layers.")
    assert "Compressed it is 2.50\u00d7 smaller than int8. It buys transfer size, not speed" in said["pruned"]
    assert "int8" not in said


def test_the_partner_is_the_control_where_there_is_one_because_it_came_the_same_way():
    said = told(
        row("int8", "int8_static", p50_ms=0.5),
        row("tuned", "fine_tuning", "int8_static", gzip=80_000, p50_ms=0.25),
        row("pruned", "pruning", "int8_static", gzip=40_000, p50_ms=0.25),
    )
    assert "2.00\u00d7 smaller than tuned (p50 0.250 ms beside 0.250 ms). It buys" in said["pruned"]


def test_what_has_become_larger_is_said_to_be_larger():
    said = told(row("int8", "int8_static"), row("pruned", "pruning", "int8_static", gzip=170_000))
    assert "Compressed it is 1.70\u00d7 larger than int8: it has bought nothing here." in said["pruned"]
    said = told(row("student", "distillation").model_copy(update={"size_bytes": 400_000}))
    assert "2.00\u00d7 larger than float32" in said["student"]


def test_layers_that_were_left_out_are_named_with_the_share_that_was_taken():
    trained = {
        "step": "pruning",
        "training": {"coverage": {"weights": 60, "of": 100, "left_out": {"bi": "Bidirectional"}}},
    }
    said = told(row("pruned", "pruning", "int8_static", proof={"step": "int8_static", "before": trained}))
    assert "pruning took 60\u202f% of the weights and left out bi (Bidirectional)." in said["pruned"]


def test_a_model_for_tensorflow_shows_the_same_figures():
    """Its proof is that of the trained model, there is no ONNX file."""
    proof = {"proof": {"clusters": {"asked": 8, "achieved": {"a": 8.0}, "whole": 8.0}}}
    assert "at most 8 distinct weights an output channel in 1 layer." in told(row("c", "clustering", proof=proof))["c"]


def test_without_a_partner_no_ratio_is_claimed():
    said = told(row("pruned", "pruning", gzip=40_000, proof=SPARSE))
    assert "smaller than float32" in said["pruned"]
    said = told(row("pruned", "pruning", "int8_static", gzip=40_000, proof=SPARSE))
    assert "Compressed" not in said["pruned"]


@pytest.mark.parametrize(
    ("control", "words"),
    [
        (-0.001, "training on without a technique (tuned, 6 instead of 8 epochs) makes it 0.10 points better."),
        (0.0, "training on without a technique (tuned, 6 instead of 8 epochs) leaves it equal."),
        (0.002, "training on without a technique (tuned, 6 instead of 8 epochs) makes it 0.20 points worse."),
        (None, "which the further training alone may have given: add [fine_tuning, ...] to see."),
    ],
)
def test_a_gain_is_told_beside_what_training_alone_gains(control, words):
    rows = [row("trained", "qat", "int8_static", drop=-0.003, verdicts=(PROVEN,), proof=trained_for(8))]
    if control is not None:
        rows.append(row("tuned", "fine_tuning", "int8_static", drop=control, proof=trained_for(6)))
    said = told(*rows)["trained"]

    assert "It is 0.30 points better than the reference in accuracy" in said and said.endswith(words)
    assert "Its p50 speed-up is 1: not slower." in said


def test_a_loss_is_no_gain():
    assert "better" not in told(row("trained", "qat", "int8_static", drop=0.003))["trained"]


def test_what_broke_has_bought_nothing():
    broken = row("pruned", "pruning").model_copy(update={"outcome": "broken"})
    assert told(broken) == {}
