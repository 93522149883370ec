"""Techniques that train do what they promise, keep what earlier ones did, and it is seen on the ONNX file."""

import json

import numpy as np
import onnx
import pytest
import yaml

from tasks.foundations.errors import InputError, NotApplicable, ProofFailed, StepFailed
from tasks.foundations.worker_process import WorkerSettings
from tasks.foundations.workers import Workers
from tasks.models.onnx_export import ExportRequest
from tasks.techniques.apply import CompressRequest, parse
from tests.techniques import training_world
from tests.techniques.training_world import MakeRequest, settings

INT8 = {"kind": "int8_static", "rows": 64}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Data, one worker, and every model that was made, so that chains share their beginnings."""
    folder = tmp_path_factory.mktemp("training")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tasks.foundations.workers.JOBS_BEFORE_REPLACEMENT", 1000)  # a successor imports all anew
        with Workers(WorkerSettings(count=1, threads=2, log=str(folder / "log"))) as workers:
            yield World(folder, workers)


class World:
    def __init__(self, folder, workers):
        self.folder, self.workers = folder, workers
        self.data = training_world.digits(folder / "data")
        self.made = {}

    def run(self, job, request):
        return self.workers.run(job, request, kind="legacy", seed=0, timeout_s=300)

    def model(self, family="convolutions"):
        if family not in self.made:
            out = self._folder(family)
            self.run(
                "tests.techniques.training_world:make",
                MakeRequest(out=str(out), family=family, train=self.data["train"]),
            )
            self.made[family] = out
        return self.made[family]

    def chain(self, *techniques, family="convolutions", fit=None):
        """The folder after a chain of training techniques."""
        folder = self.model(family)
        for count in range(1, len(techniques) + 1):
            key = json.dumps([family, techniques[:count], fit and fit.model_dump(mode="json")])
            if key not in self.made:
                self.made[key] = self.apply(folder, techniques[count - 1], fit)
            folder = self.made[key]
        return folder

    def apply(self, source, technique, fit=None):
        out = self._folder(technique["kind"])
        self.run(
            "tasks.techniques.apply:compress",
            CompressRequest(
                source=str(source),
                technique=technique,
                calibration=self.data["train"],
                out=str(out),
                dataset=self.data,
                fit=fit or settings(),
            ),
        )
        return out

    def onnx(self, source):
        """The ONNX form of a folder, exported once."""
        if ("onnx", source) not in self.made:
            self.made["onnx", source] = self.export(source)
        return self.made["onnx", source]

    def int8(self, *techniques):
        """What int8_static makes of the ONNX form of a chain, made once."""
        source = self.onnx(self.chain(*techniques))
        if ("int8", source) not in self.made:
            self.made["int8", source] = self.apply(source, INT8)
        return self.made["int8", source]

    def export(self, source):
        out = self._folder("onnx")
        files = self.data["validation"].input_files()
        self.run("tasks.techniques.apply:export", ExportRequest(source=str(source), inputs=files, out=str(out)))
        return out

    def _folder(self, name):
        out = self.folder / f"{len(list(self.folder.iterdir()))}_{name}"
        out.mkdir()
        return out


def evidence(folder):
    return json.loads((folder / "evidence.json").read_text())


def weights(folder, layer):
    """The one constant of two dimensions or more that an operator of a layer reads, as it lies in the file."""
    model = onnx.load(folder / "model.onnx")
    made = {node.output[0]: node for node in model.graph.node}
    constants = {item.name: onnx.numpy_helper.to_array(item) for item in model.graph.initializer}
    for node in model.graph.node:
        if layer in node.name.split("/") and node.op_type in ("Conv", "MatMul", "Gemm"):
            name = node.input[1]
            while name not in constants:
                name = made[name].input[0]
            return constants[name]
    raise AssertionError(f"no operator of {layer} in {[node.name for node in model.graph.node]}")


PRUNING = {"kind": "pruning", "sparsity": 0.75}
CLUSTERING = {"kind": "clustering", "clusters": 8}
QAT = {"kind": "qat"}


def test_pruned_layers_have_the_zeros_that_were_asked_for_in_the_quantized_file(world):
    final = world.int8(PRUNING)

    proof = evidence(final)["proof"]["sparsity"]
    assert set(proof["achieved"]) == {"conv", "separable", "transposed", "hidden", "scores"}
    assert min(proof["achieved"].values()) >= 0.75
    for layer in ("conv", "hidden", "scores"):
        found = weights(final, layer)
        assert found.dtype == np.int8 and np.mean(found == 0) >= 0.75
    assert evidence(final)["proof"]["integer_weight_share"] > 0.8


def test_the_evidence_of_the_last_file_tells_the_whole_chain(world):
    found = evidence(world.int8(PRUNING))

    steps = [found["step"], found["before"]["step"], found["before"]["before"]["step"]]
    assert steps == ["int8_static", "onnx_export", "pruning"]
    assert found["before"]["before"]["training"]["layers"] == ["conv", "separable", "transposed", "hidden", "scores"]


def test_two_of_four_leaves_two_weights_in_every_four_inputs(world):
    final = world.onnx(world.chain({"kind": "pruning", "pattern": "2:4"}))

    hidden = weights(final, "hidden")
    assert hidden.shape[1] == 16  # (inputs, outputs)
    fours = hidden.T.reshape(16, -1, 4)
    assert (np.count_nonzero(fours, axis=2) <= 2).all() and np.mean(hidden == 0) == pytest.approx(0.5, abs=0.01)
    assert evidence(final)["proof"]["two_of_four"]["achieved"] == {"hidden": 2.0, "scores": 2.0}


def test_two_of_four_may_be_written_without_quotes():
    """YAML 1.1 takes 2:4 for two minutes and four seconds."""
    assert parse({"kind": "pruning", "pattern": yaml.safe_load("2:4")}).pattern == "2:4"


def test_clustered_layers_have_no_more_values_in_an_output_channel_than_asked(world):
    final = world.int8(CLUSTERING)

    assert max(evidence(final)["proof"]["clusters"]["achieved"].values()) <= 8
    assert len(np.unique(weights(final, "hidden"))) > 8  # one scale a channel
    assert max(len(np.unique(channel)) for channel in weights(final, "hidden").T) <= 8


def test_qat_learns_where_activations_are_far_smaller_than_one(world):
    first, last = evidence(world.chain(QAT, family="faint"))["training"]["history"]["metrics"]["loss"]

    assert last < first < 1.5  # guessing, as when all activations round to zero, is log(10) = 2.3


def test_qat_trains_and_leaves_nothing_but_a_plain_model(world):
    trained = world.chain(QAT)
    final = world.int8(QAT)

    assert evidence(trained)["training"]["changed_weights"] > 0
    assert evidence(trained)["training"]["layers"] == ["conv", "depthwise", "hidden", "scores"]
    operators = {node.op_type for node in onnx.load(world.onnx(trained) / "model.onnx").graph.node}
    assert not {op for op in operators if "Quantize" in op or "Fake" in op}
    left = [kernel["name"] for kernel in evidence(final)["proof"]["float"]]
    assert len(left) == 1 and "transposed" in left[0]  # ONNX Runtime has no integer form of it


@pytest.mark.slow
@pytest.mark.parametrize(
    "chain",
    [
        (CLUSTERING, PRUNING),
        (CLUSTERING, QAT),
        (PRUNING, CLUSTERING, QAT),
        (PRUNING, {"kind": "fine_tuning"}),
    ],
    ids=lambda chain: "-".join(technique["kind"] for technique in chain),
)
def test_each_step_keeps_what_earlier_ones_achieved(world, chain):
    final = world.onnx(world.chain(*chain))

    proof = evidence(final)["proof"]
    kinds = {technique["kind"] for technique in chain}
    assert ("sparsity" in proof, "clusters" in proof) == ("pruning" in kinds, "clustering" in kinds)
    if "sparsity" in proof:
        assert np.mean(weights(final, "hidden") == 0) >= 0.75
    if "clusters" in proof:
        assert len(np.unique(weights(final, "hidden"))) <= 8


def test_the_promise_is_looked_for_in_the_file_and_not_believed(world):
    """A model whose folder promises what its weights do not have is refused at conversion."""
    honest = world.chain(PRUNING)
    model = world.model()
    promises = (honest / "promises.json").read_text()
    (model / "promises.json").write_text(promises)
    try:
        with pytest.raises(ProofFailed, match=r"75\.0% zeros were promised, but not kept by conv \(0\.0% zeros\)"):
            world.export(model)
    finally:
        (model / "promises.json").unlink()


def test_a_source_is_never_changed(world):
    source = world.model()
    before = {path: path.read_bytes() for path in source.rglob("*") if path.is_file()}
    world.chain(CLUSTERING)

    assert {path: path.read_bytes() for path in source.rglob("*") if path.is_file()} == before


def test_excluded_layers_are_left_alone(world):
    pruned = world.chain({**PRUNING, "exclude": ["scores", "Conv2D"]})

    assert evidence(pruned)["training"]["layers"] == ["separable", "transposed", "hidden"]
    final = world.onnx(pruned)
    assert np.mean(weights(final, "scores") == 0) < 0.1 and np.mean(weights(final, "conv") == 0) < 0.1


@pytest.mark.slow
def test_weights_of_recurrent_layers_and_attention_are_found_again_without_names(world):
    proof = evidence(world.onnx(world.chain(PRUNING, CLUSTERING, family="attention")))["proof"]

    assert set(proof["sparsity"]["achieved"]) == {"lstm", "attention", "scores"}
    assert min(proof["sparsity"]["achieved"].values()) >= 0.75
    assert set(proof["clusters"]["achieved"]) == {"lstm", "scores"}
    assert max(proof["clusters"]["achieved"].values()) <= 8


@pytest.mark.parametrize(
    ("kind", "family", "has"),
    [("pruning", "bare", "Depthwise"), ("clustering", "bare", "Depthwise"), ("qat", "sequence", "Conv1D")],
)
def test_a_model_without_fitting_layers_is_not_applicable(world, kind, family, has):
    with pytest.raises(NotApplicable, match=rf"{kind}: it takes .*; layers with weights here: {has}"):
        world.chain({"kind": kind}, family=family)


@pytest.mark.parametrize("kind", ["pruning", "clustering", "qat"])
def test_a_model_of_mixed_precision_is_not_applicable(world, kind):
    with pytest.raises(NotApplicable, match=f"{kind} works in float32, and layer 'scores' computes in float16"):
        world.chain({"kind": kind}, family="half")


@pytest.mark.parametrize("kind", ["pruning", "clustering", "qat"])
def test_a_wrong_exclude_is_named_with_the_nearest_right_one(world, kind):
    with pytest.raises(InputError, match=rf"{kind}\.exclude: 'scroes' is no layer.* Did you mean scores\?"):
        world.chain({"kind": kind, "exclude": ["scroes"]})


def test_an_exclude_that_leaves_nothing_says_so(world):
    with pytest.raises(NotApplicable, match="`exclude` leaves none of its layers"):
        world.chain({**PRUNING, "exclude": ["scores"]}, family="tiny")


def test_a_sparsity_that_cannot_be_reached_is_a_failed_proof(world):
    """Ten weights cannot be 99.9 % zero: the last one stays."""
    with pytest.raises(ProofFailed, match=r"99\.9% zeros were promised, but not kept by scores \(90\.0% zeros\)"):
        world.chain({**PRUNING, "sparsity": 0.999}, family="tiny")


@pytest.mark.parametrize("kind", ["pruning", "clustering", "qat", "fine_tuning"])
def test_a_training_that_diverges_costs_the_candidate_with_the_reason(world, kind):
    fit = settings(optimizer={"kind": "sgd", "learning_rate": 1e30})
    with pytest.raises(StepFailed, match=r"training diverged: .* became (nan|inf) in epoch \d of 2"):
        world.chain({"kind": kind}, family="faint", fit=fit)


def test_a_technique_overrides_epochs_and_optimizer_of_the_training_section(world):
    tuned = world.chain({"kind": "fine_tuning", "epochs": 1, "optimizer": {"kind": "sgd", "learning_rate": 1e-9}})

    assert evidence(tuned)["training"]["history"]["epochs"] == 1
    before, after = (weights(world.onnx(folder), "hidden") for folder in (world.model(), tuned))
    np.testing.assert_allclose(before, after, atol=1e-6)
