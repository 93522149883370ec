from dataclasses import replace
from functools import cache
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.evaluation.latency import (
    LOOKS,
    Estimate,
    Samples,
    comparison,
    control_is_off,
    cost_per_million,
    more_rounds_needed,
    speedup,
    straddles,
    value,
)
from tasks.evaluation.percentiles import over_limit_allowed
from tasks.foundations.errors import StepFailed


def _rounds(level, rounds=5, blocks=6, calls=20, seed=0):
    rng = np.random.default_rng(seed)
    return [level * rng.uniform(0.99, 1.01, size=(blocks, calls)) for _ in range(rounds)]


def _samples(**levels):
    calls = {name: _rounds(level, seed=number) for number, (name, level) in enumerate(levels.items())}
    return Samples(calls_ms=calls, batch_size=4)


def test_a_speed_up_is_the_partners_time_over_the_own():
    samples = _samples(float32=3.0, int8=2.0)
    for metric in ("p50_ms", "p90_ms", "p99_ms", "throughput_per_s"):
        ratio = speedup(samples, metric, "int8", "float32")
        assert ratio.point == pytest.approx(1.5, rel=0.02)
        assert ratio.low <= ratio.point <= ratio.high
        assert ratio.n == 5


def test_a_million_rows_cost_what_the_hardware_costs_while_they_run():
    samples = Samples(calls_ms={"float32": [np.full((3, 4), 8.0)] * 5}, batch_size=4, cost_per_hour=1.8)

    # 4 rows in 8 ms are 500 rows a second: a million take 2000 s
    assert value(samples, "cost_per_million", "float32") == Estimate(1.0, 1.0, 1.0, 5)
    assert cost_per_million(1.8, 500) == pytest.approx(1.0)


def test_what_is_twice_as_fast_costs_half_on_the_same_target():
    samples = replace(_samples(float32=3.0, int8=1.5), cost_per_hour=0.4)

    assert speedup(samples, "cost_per_million", "int8", "float32").point == pytest.approx(2, rel=0.02)


def test_nothing_has_a_cost_where_nobody_says_what_an_hour_costs():
    samples = _samples(float32=3.0)

    assert not samples.has("cost_per_million", "float32")
    with pytest.raises(StepFailed, match="the target has no cost_per_hour"):
        value(samples, "cost_per_million", "float32")


def test_blocks_are_paired_so_that_the_machines_mood_cancels():
    mood = np.exp(np.random.default_rng(0).normal(size=(5, 8, 1)))
    samples = Samples(
        calls_ms={
            "float32": [each * np.full((8, 10), 2.0) for each in mood],
            "int8": [each * np.ones((8, 10)) for each in mood],
        }
    )
    assert speedup(samples, "p50_ms", "int8", "float32") == Estimate(2.0, 2.0, 2.0, 5)


def test_one_slow_process_moves_the_interval_but_not_the_value():
    calls = {"float32": _rounds(1.0), "int8": _rounds(0.5, seed=1)}
    calls["int8"][2] = calls["int8"][2] * 1.4
    ratio = speedup(Samples(calls_ms=calls), "p50_ms", "int8", "float32")
    assert ratio.point == pytest.approx(2, rel=0.02)
    assert ratio.low == pytest.approx(2 / 1.4, rel=0.02)


@given(st.integers(0, 1000), st.integers(5, 15))
def test_speed_ups_both_ways_are_inverse(seed, rounds):
    calls = {"a": _rounds(1.0, rounds, seed=seed), "b": _rounds(2.0, rounds, seed=seed + 1)}
    there, back = (speedup(Samples(calls_ms=calls), "p99_ms", *pair) for pair in (("a", "b"), ("b", "a")))
    if rounds % 2:
        assert there.point == pytest.approx(1 / back.point)
    assert there.low == pytest.approx(1 / back.high)


def test_own_figures_have_their_units():
    samples = _samples(float32=2.0)
    assert value(samples, "p50_ms", "float32").point == pytest.approx(2, rel=0.01)
    assert value(samples, "p50_ms", "float32").n == 600
    throughput = value(samples, "throughput_per_s", "float32")
    assert throughput.point == pytest.approx(4 / 0.002, rel=0.01)
    assert throughput.n == 5


def test_figures_of_a_round_are_medians_over_rounds():
    samples = Samples(calls_ms={}, load_ms={"float32": [5.0, 3.0, 4.0, 9.0, 1.0], "int8": [2.0] * 5})
    assert value(samples, "load_ms", "float32") == Estimate(4.0, 1.0, 9.0, 5)
    assert speedup(samples, "load_ms", "int8", "float32") == Estimate(2.0, 0.5, 4.5, 5)


@pytest.mark.parametrize(("level", "off"), [(1.0, False), (1.03, False), (1.08, True), (0.92, True)])
def test_a_control_off_by_more_than_five_percent_is_told(level, off):
    sentence = control_is_off(_samples(float32=1.0, control=level))
    assert (sentence is not None) == off
    assert not off or "too noisy" in sentence


def test_a_missing_control_is_off():
    assert "not measured" in control_is_off(_samples(float32=1.0))


@pytest.mark.parametrize(
    ("point", "low", "high", "word"),
    [
        (1.3, 1.25, 1.4, "faster"),
        (1.04, 1.03, 1.05, "no difference"),
        (1.1, 0.98, 1.2, "no difference"),
        (0.8, 0.75, 0.85, "slower"),
        (0.97, 0.96, 0.98, "no difference"),
        (2.0, None, None, "no difference"),
    ],
)
def test_nothing_under_five_percent_is_called_faster_or_slower(point, low, high, word):
    assert comparison(Estimate(point, low, high, 5)) == word


def test_an_interval_straddles_a_bound_inside_it_or_is_too_short_to_say():
    assert straddles(Estimate(1.0, 0.9, 1.1, 5), 1.0)
    assert not straddles(Estimate(1.0, 0.9, 1.1, 5), 1.2)
    assert straddles(Estimate(1.0, None, None, 3), 7.0)


@pytest.mark.parametrize(
    ("rounds", "question", "more"),
    [
        (0, False, True),
        (4, False, True),
        (5, False, False),
        (5, True, True),
        (6, False, True),
        (10, True, True),
        (15, True, False),
    ],
)
def test_rounds_are_looked_at_after_five_ten_and_fifteen(rounds, question, more):
    samples = Samples(calls_ms={"float32": _rounds(1.0, rounds), "control": _rounds(1.0, rounds, seed=1)})
    assert more_rounds_needed(samples, [question]) == more


def test_a_control_that_is_off_asks_for_more_rounds():
    samples = Samples(calls_ms={"float32": _rounds(1.0), "control": _rounds(1.2)})
    assert more_rounds_needed(samples, [])


@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.975, 0.99])
def test_three_looks_together_keep_the_confidence(confidence):
    """Exact: every round's ratio misses a bound at the true median with probability one half."""
    allowed = {look: over_limit_allowed(look, 0.5, confidence) for look in LOOKS}

    @cache
    def passes(rounds, misses):
        if allowed.get(rounds) is not None and misses <= allowed[rounds]:
            return 1.0
        if rounds == LOOKS[-1]:
            return 0.0
        return (passes(rounds + 1, misses) + passes(rounds + 1, misses + 1)) / 2

    assert passes(0, 0) <= 1 - confidence


@pytest.mark.parametrize(
    ("calls", "sentence"),
    [
        ({"float32": _rounds(1.0)}, "int8 has no latency samples"),
        ({"float32": _rounds(1.0), "int8": _rounds(1.0, rounds=4)}, "4 rounds and float32 for 5"),
        ({"float32": _rounds(1.0), "int8": _rounds(1.0, blocks=3)}, "3 blocks and float32 for 6"),
        ({"float32": _rounds(1.0), "int8": [np.zeros((6, 20))] * 5}, "not positive times"),
        ({"float32": _rounds(1.0), "int8": [np.ones(6)] * 5}, "not positive times"),
    ],
)
def test_samples_that_do_not_pair_up_are_refused(calls, sentence):
    with pytest.raises(StepFailed, match=sentence):
        speedup(Samples(calls_ms=calls), "p50_ms", "int8", "float32")


def test_memory_that_was_not_measured_is_refused():
    for metric, contender in product(("load_ms", "peak_memory_bytes"), ("float32", "nobody")):
        with pytest.raises(StepFailed, match="was not measured"):
            value(_samples(float32=1.0), metric, contender)
