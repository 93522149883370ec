"""A step that fails costs its own candidate only, and the candidate says why."""

from types import SimpleNamespace

import pytest
from prefect.exceptions import UnfinishedRun

from flows import candidates
from flows.candidates import Contestant, _ask, _Making, _settle
from tasks.foundations.errors import StepFailed
from tasks.store.artifact import Artifact

MODEL = Artifact(uri="", format="keras", digest="a" * 64, size_bytes=1)


class Ended:
    """A future that raises."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def result(self):
        raise self.error


class Submits:
    """A verb whose steps all end so."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def submit(self, *_, **__):
        return Ended(self.error)


@pytest.mark.parametrize("work_pool", [None, "edge"])
def test_a_candidate_whose_teacher_cannot_be_asked_says_so(monkeypatch, work_pool):
    monkeypatch.setattr(candidates, "predict", Submits(StepFailed("predict took longer than 20 s.")))
    for verb in ("compress", "convert", "bridge", "rehearse"):
        monkeypatch.setattr(candidates, verb, Submits(UnfinishedRun("not ready")))
    target = SimpleNamespace(form="onnx", work_pool=work_pool)
    desk = SimpleNamespace(
        executor=None, fit=None, config=SimpleNamespace(targets={"cpu": target}, name="tiny", task=None)
    )
    student = SimpleNamespace(level="training", place="distillation")

    made = _Making(desk, MODEL, MODEL).make("student", [student])
    settled = _settle(desk, _ask(desk, "student", "cpu", made, MODEL))

    assert settled == Contestant("student", "cpu", failure="predict took longer than 20 s.")
