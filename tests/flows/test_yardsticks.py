"""Every candidate of quantization-aware training has int8_static of the same model beside it."""

from flows.yardsticks import with_yardsticks, yardstick
from tasks.techniques.apply import parse

QAT, INT8, PRUNING = (parse({"kind": kind}) for kind in ("qat", "int8_static", "pruning"))
STUDENT = parse({"kind": "distillation", "student": "m.py:student"})
OTHER = parse({"kind": "distillation", "student": "m.py:other"})


def test_a_missing_yardstick_is_added():
    chains = with_yardsticks({"float32": [], "trained": [PRUNING, QAT, INT8]})

    assert chains["trained_control"] == [INT8]
    assert yardstick(chains, "trained") == "trained_control"


def test_a_candidate_that_is_there_is_taken():
    chains = with_yardsticks({"float32": [], "trained": [QAT, INT8], "int8": [INT8]})

    assert list(chains) == ["float32", "trained", "int8"]
    assert yardstick(chains, "trained") == "int8" and yardstick(chains, "int8") is None


def test_the_yardstick_of_a_student_is_the_same_student():
    chains = with_yardsticks({"float32": [], "int8": [INT8], "taught": [STUDENT, QAT, INT8], "other": [OTHER, INT8]})

    assert chains["taught_control"] == [STUDENT, INT8]
    assert yardstick(chains, "taught") == "taught_control"
