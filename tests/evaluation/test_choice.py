import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tasks.evaluation.choice import EVIDENCE, Choice, Choose, Judged, choose, pareto, release_exit_code
from tasks.evaluation.verdict import Verdict


def _judged(name, *statuses, **figures):
    verdicts = [Verdict(gate="g", metric="accuracy", status=status, reason="r") for status in statuses]
    return Judged(name, verdicts, figures)


def test_the_fastest_that_passes_wins():
    found = choose(
        Choose(),
        [
            _judged("float32", "pass", p50_ms=2.0, size_bytes=100),
            _judged("int8", "pass", "not_applicable", p50_ms=1.0, size_bytes=25),
            _judged("broken", "pass", "fail", p50_ms=0.5, size_bytes=25),
            _judged("unsure", "inconclusive", p50_ms=0.6, size_bytes=25),
        ],
    )
    assert (found.winner, found.exit_code) == ("int8", 0)


def test_within_five_percent_the_smaller_file_wins_then_the_name():
    fast = _judged("b", "pass", p50_ms=1.0, size_bytes=50)
    small = _judged("c", "pass", p50_ms=1.04, size_bytes=20)
    twin = _judged("a", "pass", p50_ms=1.05, size_bytes=20)
    slower = _judged("d", "pass", p50_ms=1.06, size_bytes=1)
    assert choose(Choose(), [fast, small, slower]).winner == "c"
    assert choose(Choose(), [fast, small, twin, slower]).winner == "a"
    assert choose(Choose(minimize="size_bytes"), [fast, small, twin, slower]).winner == "d"


def test_costs_within_five_percent_are_equal_like_the_times_that_they_come_from():
    cheap = _judged("cheap", "pass", cost_per_million=1.0, size_bytes=50)
    small = _judged("small", "pass", cost_per_million=1.04, size_bytes=20)
    dear = _judged("dear", "pass", cost_per_million=1.06, size_bytes=1)

    assert choose(Choose(minimize="cost_per_million"), [cheap, small, dear]).winner == "small"


@pytest.mark.parametrize("objective", [Choose(), Choose(minimize="size_bytes")])
def test_nothing_is_chosen_for_a_handful_of_bytes(objective):
    """Of files within 1 % the one that loses least wins, whatever the objective calls equal."""
    smallest = Judged("a", _judged("a", "pass").verdicts, {"p50_ms": 1.0, "size_bytes": 46_269}, drop=0.0125)
    better = Judged("b", _judged("b", "pass").verdicts, {"p50_ms": 1.0, "size_bytes": 46_272}, drop=0.0025)
    larger = Judged("c", _judged("c", "pass").verdicts, {"p50_ms": 1.0, "size_bytes": 47_000}, drop=0.0)

    found = choose(objective, [smallest, better, larger])

    assert found.winner == "b" and found.reason.endswith("and of files of its size it loses least.")


def test_accuracy_is_maximized_exactly():
    candidates = [
        _judged("a", "pass", accuracy=0.98, size_bytes=1),
        _judged("b", "pass", accuracy=0.981, size_bytes=9),
    ]
    assert choose(Choose(maximize="accuracy"), candidates).winner == "b"


@pytest.mark.parametrize(
    ("statuses", "code"),
    [
        ([("fail",), ("fail", "pass")], 3),
        ([("fail",), ("inconclusive", "pass")], 4),
        ([("fail", "inconclusive")], 3),
        ([], 3),
    ],
)
def test_without_a_winner_the_code_says_whether_more_evidence_could_help(statuses, code):
    found = choose(Choose(), [_judged(str(i), *each, p50_ms=1.0) for i, each in enumerate(statuses)])
    assert (found.winner, found.exit_code) == (None, code)


def test_a_candidate_without_the_objectives_figure_cannot_win():
    found = choose(Choose(), [_judged("a", "pass", accuracy=1.0)])
    assert found.winner is None and found.exit_code == 3 and "p50_ms is not known" in found.reason


@pytest.mark.parametrize(("codes", "worst"), [([0, 0], 0), ([0, 4], 4), ([4, 3, 0], 3), ([], 3)])
def test_a_release_takes_its_worst_target(codes, worst):
    assert release_exit_code([Choice(None, code, "") for code in codes]) == worst


figures = st.fixed_dictionaries(
    {"accuracy": st.integers(0, 5), "p50_ms": st.integers(1, 5), "size_bytes": st.integers(1, 5)}
)
candidates = st.lists(st.tuples(st.sampled_from(["pass", "fail", "inconclusive"]), figures), max_size=8).map(
    lambda found: [_judged(f"c{i}", status, **each) for i, (status, each) in enumerate(found)]
)


@given(candidates, st.randoms())
def test_the_winner_does_not_depend_on_the_order_and_always_passes(found, random):
    shuffled = list(found)
    random.shuffle(shuffled)
    chosen = choose(Choose(), found)
    assert chosen == choose(Choose(), shuffled)
    assert chosen.winner is None or next(each for each in found if each.name == chosen.winner).outcome == "pass"
    assert (chosen.winner is None) == all(each.outcome != "pass" for each in found)


@given(candidates)
def test_the_front_is_what_nothing_beats(found):
    points = pareto(found, "accuracy")
    assert [point.name for point in points] == [each.name for each in found]
    assert not points or any(point.on_front for point in points)
    for point in points:
        better = [
            other
            for other in points
            if other.quality >= point.quality
            and other.p50_ms <= point.p50_ms
            and other.size_bytes <= point.size_bytes
            and (other.quality, other.p50_ms, other.size_bytes) != (point.quality, point.p50_ms, point.size_bytes)
        ]
        assert point.on_front == (not better)


def test_the_front_keeps_rejected_points_and_leaves_out_unknown_ones():
    points = pareto(
        [
            _judged("a", "fail", rmse=1.0, p50_ms=1.0, size_bytes=1),
            _judged("b", "pass", rmse=2.0, p50_ms=2.0, size_bytes=2),
            _judged("c", "pass", rmse=0.1),
        ],
        "rmse",
    )
    assert [(point.name, point.passed, point.on_front) for point in points] == [("a", False, True), ("b", True, False)]


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"minimize": "p50_ms", "maximize": "accuracy"}, "not both"),
        ({"minimize": "accuracy"}, "write maximize: accuracy"),
        ({"maximize": "size_bytes"}, "write minimize: size_bytes"),
        ({"minimize": "p50"}, "Did you mean p50_ms"),
    ],
)
def test_an_objective_that_makes_no_sense_is_refused(fields, sentence):
    with pytest.raises(ValidationError, match=sentence):
        Choose.model_validate(fields)


def test_a_release_whose_candidates_cannot_be_judged_has_failed_and_was_not_refused():
    broken = Verdict(gate="can be judged", metric=EVIDENCE, status="fail", reason="no ONNX form for X")
    gate = Verdict(gate="accuracy", metric="accuracy", status="fail", reason="too low")
    found = choose(Choose(), [Judged("float32", [broken]), Judged("int8", [broken])])
    assert (found.winner, found.exit_code) == (None, 1) and "no ONNX form for X" in found.reason
    assert choose(Choose(), [Judged("float32", [broken]), Judged("int8", [gate])]).exit_code == 3
    assert choose(Choose(), []).exit_code == 3
