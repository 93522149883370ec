import itertools
import math

from hypothesis import example, given, settings
from hypothesis import strategies as st

from tasks.reports import pareto, spread
from tasks.reports.axes import Axis, quality_axis, spread_axis
from tasks.reports.labels import Box, Wanted, place
from tasks.reports.summary import LimitLine

FRAME = Box(60, 10, 940, 400)
points = st.lists(
    st.tuples(st.floats(60, 940), st.floats(10, 400), st.floats(4, 14), st.integers(1, 24)), min_size=1, max_size=24
)


@given(points)
@settings(max_examples=60, deadline=None)
def test_no_label_ever_overlaps_another_or_a_point(spots):
    wanted = [Wanted(x, y, radius, "c" * length, f"#{i}") for i, (x, y, radius, length) in enumerate(spots)]

    placed = [label.box for label in place(wanted, FRAME) if label is not None]

    assert not [pair for pair in itertools.combinations(placed, 2) if pair[0].overlaps(pair[1])]
    assert all(box.inside(FRAME) for box in placed)
    marks = [Box(w.x - w.radius, w.y - w.radius, w.x + w.radius, w.y + w.radius) for w in wanted]
    assert not [1 for box in placed for mark in marks if box.overlaps(mark)]


def test_a_crowd_of_24_still_gets_every_name(many):
    plot = pareto.plot(many, "cpu", 960, 440)

    assert plot is not None
    assert len(plot.points) == 23
    assert [point.row.name for point in plot.points if point.label is None] == []
    assert plot.missing == ("student_9_int8",)


@given(st.lists(st.floats(1e-4, 1e4), min_size=1, max_size=20))
@example([8498.0, 9999.999999999998])
@settings(deadline=None)
def test_a_latency_axis_keeps_every_value_and_its_order(values):
    axis = spread_axis(values, 100, 900)

    positions = [axis.position(value) for value in sorted(values)]
    assert positions == sorted(positions)
    assert all(axis.covers(value) and 100 <= axis.position(value) <= 900 for value in values)
    assert all(axis.covers(tick) for tick in axis.ticks()) and len(axis.ticks()) < 40


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20), st.booleans())
@example([0.0, 5e-324, 1.0], False)
@settings(deadline=None)
def test_a_quality_axis_puts_better_towards_its_end(values, higher):
    axis = quality_axis(values, 400, 10, higher)

    positions = [axis.position(value) for value in sorted(values)]
    assert positions == sorted(positions, reverse=higher)
    assert all(10 <= position <= 400 for position in positions)
    assert all(math.isfinite(tick) for tick in axis.ticks())


def test_one_ruined_candidate_does_not_flatten_the_others():
    axis = quality_axis([0.983, 0.981, 0.979, 0.975, 0.11], 400, 10)

    assert axis.kind == "stretched"
    assert abs(axis.position(0.983) - axis.position(0.975)) > 60


def test_a_log_axis_has_round_ticks():
    assert Axis(0.009, 1.1, 0, 100, "log").ticks(4) == [0.01, 0.03, 0.1, 0.3, 1.0]


def test_a_limit_far_away_is_named_under_the_plot_instead_of_squeezing_the_points(summary):
    far = LimitLine(metric="p50_ms", value=50.0, label="p50_ms max 50")
    target = summary.targets["cpu"].model_copy(update={"limits": (far,)})

    plot = pareto.plot(summary.model_copy(update={"targets": {"cpu": target}}), "cpu", 960, 440)

    assert plot is not None
    assert plot.guides == () and plot.off_plot == ("p50_ms max 50 (50 ms)",)


def test_lower_is_better_metrics_point_upwards_too(regression_pair):
    plot = pareto.plot(regression_pair, "edge", 960, 440)

    assert plot is not None
    height = {point.row.name: point.y for point in plot.points}
    assert height["float32"] < height["worse"]  # smaller y is higher on the page


def test_the_latency_plot_has_a_row_for_each_measured_candidate(many):
    plot = spread.plot(many, "cpu", 960)

    assert plot is not None
    assert len(plot.strips) == 23
    strip = plot.strips[0]
    assert strip.whole is not None and strip.half is not None and strip.p50 is not None
    assert strip.whole[0] <= strip.half[0] <= strip.p50 <= strip.half[1] <= strip.whole[1]
