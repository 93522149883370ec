import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.bundle.golden import Origin, check_golden, choose_rows, make_golden, read_golden
from tasks.foundations.errors import GoldenMismatch, StepFailed

INPUTS = {"x": np.linspace(-1, 1, 48, dtype=np.float32).reshape(16, 3)}
KERNEL = np.array([[1, -1], [2, 0], [0, 1]], dtype=np.float32)


def model(feeds):
    return {"y": feeds["x"] @ KERNEL}


def test_the_model_that_gave_the_answers_passes(tmp_path):
    golden = make_golden(tmp_path / "g", INPUTS, model, Origin(classification=True, cpu_flags=("avx2",)))

    assert golden.rows == 16
    assert golden.top1 == "y"
    assert check_golden(tmp_path / "g", model) <= golden.tolerances["y"]


def test_exactly_repeatable_answers_still_have_a_tolerance(tmp_path):
    golden = make_golden(tmp_path / "g", INPUTS, lambda feeds: {"y": feeds["x"] * 100}, Origin())

    assert golden.tolerances["y"] == pytest.approx(1e-4)


def test_the_tolerance_is_four_times_what_batch_one_differs(tmp_path):
    def batch_dependent(feeds):
        return {"y": feeds["x"] + (0.01 if len(feeds["x"]) == 1 else 0.0)}

    golden = make_golden(tmp_path / "g", INPUTS, batch_dependent, Origin())

    assert golden.tolerances["y"] == pytest.approx(0.04, rel=1e-3)


def noise(feeds):
    return np.random.default_rng().normal(size=feeds["x"].shape).astype(np.float32)


@pytest.mark.parametrize(
    ("restless", "said"),
    [
        (
            lambda feeds: {"y": 10 * feeds["x"] + noise(feeds)},
            "same way twice: output 'y' differs by .* value is [0-9.]+\\)\\. It",
        ),
        (lambda feeds: {"y": (50 * feeds["x"] + 5 * noise(feeds)).astype(np.int64)}, "same way twice: output 'y'"),
        (lambda feeds: {"y": feeds["x"] - feeds["x"].mean(axis=0)}, "depends on the batch .* when it is asked alone"),
        (lambda feeds: {"y": np.array([f"{value:.9f}" for value in noise(feeds)[:, 0]])}, "output 'y' is another one"),
    ],
)
def test_a_model_that_does_not_repeat_its_answers_is_not_guarded_by_a_tolerance_that_lets_all_pass(
    tmp_path, restless, said
):
    with pytest.raises(StepFailed, match=said):
        make_golden(tmp_path / "g", INPUTS, restless, Origin())


def test_an_integer_model_whose_scales_depend_on_the_batch_is_guarded(tmp_path):
    def dynamic(feeds):  # as DynamicQuantizeLinear: one scale for the whole batch
        scale = np.abs(feeds["x"]).max() / 127
        return {"y": (np.round(feeds["x"] / scale) * scale).astype(np.float32) @ KERNEL}

    golden = make_golden(tmp_path / "g", INPUTS, dynamic, Origin())

    assert 0.001 < golden.tolerances["y"] < 0.1
    assert check_golden(tmp_path / "g", dynamic) <= golden.tolerances["y"]


def test_answers_near_zero_may_differ_by_what_float32_does(tmp_path):
    def tiny(feeds):
        return {"y": np.full(len(feeds["x"]), 1e-9 if len(feeds["x"]) == 1 else 2e-9, np.float32)}

    assert make_golden(tmp_path / "g", INPUTS, tiny, Origin()).tolerances["y"] == pytest.approx(1e-6)


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (lambda feeds: {"y": model(feeds)["y"] + 0.01}, "differs from its golden answer by 0.01"),
        (lambda feeds: {"y": model(feeds)["y"] * np.nan}, "differs"),
        (lambda feeds: {"y": model(feeds)["y"][:, :1]}, "shape"),
        (lambda feeds: {"z": model(feeds)["y"]}, "no output 'y'"),
    ],
)
def test_another_answer_is_refused_in_words(tmp_path, broken, words):
    make_golden(tmp_path / "g", INPUTS, model, Origin())

    with pytest.raises(GoldenMismatch, match=words):
        check_golden(tmp_path / "g", broken)


def test_a_model_that_is_wrong_only_alone_is_refused(tmp_path):
    make_golden(tmp_path / "g", INPUTS, model, Origin())

    with pytest.raises(GoldenMismatch):
        check_golden(tmp_path / "g", lambda feeds: {"y": model(feeds)["y"] + (len(feeds["x"]) == 1)})


def test_a_clear_top_class_may_not_move_and_a_tie_may(tmp_path):
    scores = np.array([[0.0, 1.0]] * 3 + [[0.3, 0.6]] + [[0.0, 1.0]] * 11 + [[0.5, 0.5001]], dtype=np.float32)

    def noisy(feeds):  # so wide a tolerance that only the top class can object
        return {"y": feeds["x"] + (0.1 if len(feeds["x"]) == 1 else 0.0)}

    make_golden(tmp_path / "g", {"x": scores}, noisy, Origin(classification=True))
    tie, clear = scores.copy(), scores.copy()
    tie[15] = [0.5001, 0.5]
    clear[3] = [0.5, 0.4]

    assert check_golden(tmp_path / "g", lambda feeds: {"y": tie[: len(feeds["x"])]}) < 0.001
    with pytest.raises(GoldenMismatch, match="golden row 3"):
        check_golden(tmp_path / "g", lambda feeds: {"y": clear[: len(feeds["x"])]})


def test_nan_answers_make_no_golden_requests(tmp_path):
    with pytest.raises(StepFailed, match="NaN"):
        make_golden(tmp_path / "g", INPUTS, lambda feeds: {"y": feeds["x"] * np.inf}, Origin())


def test_strings_are_stored_without_pickle_and_compared_exactly(tmp_path):
    def words(feeds):
        return {"label": np.array([b"yes" if value > 0 else b"no" for value in feeds["x"][:, 0]], dtype=object)}

    golden = make_golden(tmp_path / "g", INPUTS, words, Origin())

    assert golden.tolerances == {"label": 0.0}
    assert check_golden(tmp_path / "g", words) == 0.0
    with pytest.raises(GoldenMismatch):
        check_golden(tmp_path / "g", lambda feeds: {"label": np.full(len(feeds["x"]), "no")})


def test_tensor_names_never_become_paths(tmp_path):
    make_golden(tmp_path / "g", {"../../x:0": INPUTS["x"]}, lambda feeds: {"a/b": feeds["../../x:0"]}, Origin())

    assert sorted(path.name for path in tmp_path.rglob("*.npy")) == ["0.npy", "0.npy"]
    _, inputs, outputs = read_golden(tmp_path / "g")
    assert set(inputs) == {"../../x:0"} and set(outputs) == {"a/b"}


@given(rows=st.integers(1, 500), seed=st.integers(0, 2**31), wanted=st.integers(0, 64))
def test_rows_are_distinct_sorted_and_repeatable(rows, seed, wanted):
    chosen = choose_rows(rows, seed, wanted)

    assert len(chosen) == min(rows, max(wanted, 16))
    assert (np.diff(chosen) > 0).all() and chosen[0] >= 0 and chosen[-1] < rows
    assert (chosen == choose_rows(rows, seed, wanted)).all()


@pytest.mark.parametrize(("judged", "guarded"), [(None, None), ("scores", "scores"), ("steps", None)])
def test_the_top_class_is_guarded_in_the_judged_output(tmp_path, judged, guarded):
    def heads(feeds):
        return {"code": feeds["x"][:, :1], "scores": feeds["x"], "steps": feeds["x"][:, None]}

    golden = make_golden(tmp_path / "g", INPUTS, heads, Origin(classification=True, judged=judged))
    assert golden.top1 == guarded
    assert check_golden(tmp_path / "g", heads) == 0
