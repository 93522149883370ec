"""Golden requests: real rows with the answers that the winner gave on its own target, to compare at every load.

A model can load, answer and be wrong: another instruction set, another library version, a half-copied file. These
rows are what a serving node asks before a version may take traffic.

    golden.json            names, tolerances, where the answers come from
    inputs/<i>.npy         (rows, ...) of the i-th input in golden.json
    outputs/<i>.npy        (rows, ...) of the i-th output
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tasks.foundations.errors import GoldenMismatch, StepFailed
from tasks.foundations.record import Record

FILE = "golden.json"
ROWS = 32
LEAST_ROWS = 16
SAFETY = 4.0  # tolerance = this many times the largest difference between re-runs
MOST_REPEATED = 0.01
"""Of the output's scale, what the same request may differ when it is asked twice: an integer kernel gives the same
bits, float32 and float16 sums another order of additions at most, which is far less. Dropout or noise that was left on
is far more, and a tolerance made of it would guard nothing."""
MOST_BATCHED = 0.125
"""The same for a row alone and in a batch. `int8_dynamic` chooses its scales over the whole batch, so that its answers
do depend on it: 1 to 7 % were seen, the more the deeper a network is."""
FLOOR = 1e-6  # of the output's scale, where re-runs agree exactly: a few units in the last place of float32

Array = np.ndarray[Any, Any]
Run = Callable[[dict[str, Array]], Mapping[str, Array]]


class Golden(Record):
    """The content of `golden.json`.

    Attributes:
        inputs: input names, in the order of their files.
        outputs: output names, in the order of their files.
        rows: number of requests.
        seed: of the choice of rows.
        tolerances: output name -> largest allowed absolute difference; 0 for strings and integers.
        top1: output whose largest entry must stay in place in every row, or None.
        cpu_flags: instruction sets of the machine that answered.
        runtime: settings of the target that answered.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    rows: int
    seed: int
    tolerances: dict[str, float]
    top1: str | None = None
    cpu_flags: tuple[str, ...] = ()
    runtime: dict[str, Any] = {}


class Origin(Record):
    """Where golden answers come from; see `Golden` for the fields.

    Attributes:
        seed: of the choice of rows.
        classification: the top class of the judged output is guarded.
        judged: that output, None for the first.
        cpu_flags: of the machine.
        runtime: settings of the target.
    """

    seed: int = 0
    classification: bool = False
    judged: str | None = None
    cpu_flags: tuple[str, ...] = ()
    runtime: dict[str, Any] = {}


def choose_rows(rows: int, seed: int, wanted: int = ROWS) -> Array:
    """Seeded choice of distinct rows, sorted.

    Args:
        rows: rows of the test split.
        seed: the release's seed.
        wanted: how many, at least `LEAST_ROWS`; all rows where there are fewer.

    Returns:
        (min(wanted, rows),) int64 indices.
    """
    chosen = np.random.default_rng(seed).choice(rows, size=min(max(wanted, LEAST_ROWS), rows), replace=False)
    return np.sort(chosen)


def make_golden(folder: Path, inputs: Mapping[str, Array], run: Run, origin: Origin) -> Golden:
    """Ask the winner and store its answers.

    Args:
        folder: where to write; created.
        inputs: name -> (rows, ...) the chosen rows.
        run: the winner on its own target: feeds -> outputs.
        origin: see `Origin`.

    Returns:
        What was written.

    Raises:
        StepFailed: the model answers with NaN or infinities, with another number of rows than it was asked, or with
            other values each time or in each batch.
    """
    feeds = {name: np.ascontiguousarray(_plain(rows)) for name, rows in inputs.items()}
    rows = len(next(iter(feeds.values())))
    answers = {name: np.asarray(values) for name, values in run(feeds).items()}
    _check_answers(answers, rows)
    again, alone = run(feeds), _one_by_one(feeds, rows, run)
    golden = Golden(
        inputs=tuple(feeds),
        outputs=tuple(answers),
        rows=rows,
        seed=origin.seed,
        tolerances={
            name: _tolerance(name, values, np.asarray(again[name]), np.asarray(alone[name]))
            for name, values in answers.items()
        },
        top1=_top1_output(answers, origin.judged) if origin.classification else None,
        cpu_flags=origin.cpu_flags,
        runtime=origin.runtime,
    )
    _save(folder / "inputs", feeds)
    _save(folder / "outputs", answers)
    (folder / FILE).write_text(json.dumps(golden.model_dump(mode="json"), indent=2))
    return golden


def read_golden(folder: Path) -> tuple[Golden, dict[str, Array], dict[str, Array]]:
    """Read golden requests.

    Returns:
        The description, inputs and outputs by name, (rows, ...) each.
    """
    golden = Golden.model_validate_json((folder / FILE).read_text())
    return golden, _load(folder / "inputs", golden.inputs), _load(folder / "outputs", golden.outputs)


def check_golden(folder: Path, run: Run) -> float:
    """Ask a freshly loaded model the golden requests, as one batch and the first one alone.

    Args:
        folder: the `golden` folder of the target.
        run: the loaded model: feeds -> outputs.

    Returns:
        The largest absolute difference seen.

    Raises:
        GoldenMismatch: an answer is missing, has another shape, differs by more than its tolerance, or the top class
            of a row is another one (rows whose two best classes are as near as re-runs differ may swap).
    """
    golden, inputs, expected = read_golden(folder)
    single = {name: rows[:1] for name, rows in inputs.items()}
    worst = _compare(golden, expected, run(inputs))
    return max(worst, _compare(golden, {name: rows[:1] for name, rows in expected.items()}, run(single)))


def _compare(golden: Golden, expected: dict[str, Array], answers: Mapping[str, Array]) -> float:
    worst = 0.0
    for name, wanted in expected.items():
        if name not in answers:
            raise GoldenMismatch(f"The model has no output {name!r}; it has {', '.join(answers) or 'none'}.")
        got = np.asarray(answers[name])
        if got.shape != wanted.shape:
            raise GoldenMismatch(f"Output {name!r} has shape {got.shape}; the golden answer has {wanted.shape}.")
        difference, tolerance = _difference(wanted, got), golden.tolerances[name]
        if not difference <= tolerance:  # NaN is a mismatch too
            raise GoldenMismatch(
                f"Output {name!r} differs from its golden answer by {difference:.3g}; at most {tolerance:.3g} is "
                f"allowed. The answers come from a CPU with {', '.join(golden.cpu_flags) or 'unknown flags'}; "
                "compare with this machine, or release for it."
            )
        if name == golden.top1:
            _check_top1(wanted, got, tolerance)
        worst = max(worst, difference)
    return worst


def _check_top1(wanted: Array, got: Array, tolerance: float) -> None:
    ordered = np.sort(wanted, axis=-1)
    clear = ordered[..., -1] - ordered[..., -2] > 2 * tolerance / SAFETY  # not to be swapped by what re-runs differ
    swapped = np.flatnonzero(clear & (wanted.argmax(axis=-1) != got.argmax(axis=-1)))
    if swapped.size:
        raise GoldenMismatch(f"The top class of golden row {swapped[0]} is another one than when it was released.")


def _one_by_one(feeds: dict[str, Array], rows: int, run: Run) -> dict[str, Array]:
    parts = [run({name: values[row : row + 1] for name, values in feeds.items()}) for row in range(rows)]
    return {name: np.concatenate([np.asarray(part[name]) for part in parts]) for name in parts[0]}


def _tolerance(name: str, values: Array, again: Array, alone: Array) -> float:
    scale = float(np.abs(values.astype(np.float64)).max(initial=0.0)) if values.dtype.kind in "fiu" else 0.0
    floor = FLOOR * max(1.0, scale) if values.dtype.kind == "f" else 0.0
    repeated, batched = _difference(values, again), _difference(values, alone)
    if not repeated <= max(MOST_REPEATED * scale, floor):
        raise StepFailed(
            f"The model does not answer the same request the same way twice: output {name!r} {_by(repeated, scale)}. "
            "It cannot be guarded. Does it drop out, or add noise, as in training? Export it for inference."
        )
    if not batched <= max(MOST_BATCHED * scale, floor):
        raise StepFailed(
            f"The model's answer to a request depends on the batch that it is in: output {name!r} "
            f"{_by(batched, scale)} when it is asked alone. It cannot be guarded. Does it normalise over the batch, as "
            "in training? Export it for inference."
        )
    return max(SAFETY * max(repeated, batched), floor)


def _by(difference: float, scale: float) -> str:
    if not np.isfinite(difference):
        return "is another one"
    return f"differs by {difference:.3g} (its largest value is {scale:.3g})"


def _difference(wanted: Array, got: Array) -> float:
    """Largest absolute difference; infinite where strings differ."""
    if wanted.dtype.kind in "USOb":
        return 0.0 if np.array_equal(_text(wanted), _text(got)) else float("inf")
    with np.errstate(invalid="ignore"):
        return float(np.abs(wanted.astype(np.float64) - got.astype(np.float64)).max(initial=0.0))


def _plain(values: Array) -> Array:
    """Strings as unicode: data sets have them so, and object arrays could only be stored pickled."""
    return _text(values) if values.dtype.kind in "SO" else values


def _text(values: Array) -> Array:
    """Strings of any kind as unicode."""
    flat = [
        value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value) for value in values.flat
    ]
    return np.array(flat, dtype=np.str_).reshape(values.shape)


def _top1_output(answers: dict[str, Array], judged: str | None) -> str | None:
    """The judged output if it has at least two scores a request, else None."""
    name = judged or next(iter(answers))
    values = answers[name]
    return name if values.dtype.kind == "f" and values.ndim == 2 and values.shape[1] > 1 else None


def _check_answers(answers: dict[str, Array], rows: int) -> None:
    for name, values in answers.items():
        if values.ndim == 0 or len(values) != rows:
            raise StepFailed(f"Output {name!r} answers {rows} golden rows with shape {values.shape}.")
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise StepFailed(f"Output {name!r} is NaN or infinite on real test rows; it cannot be guarded or served.")


def _save(folder: Path, arrays: Mapping[str, Array]) -> None:
    folder.mkdir(parents=True)
    for index, values in enumerate(arrays.values()):
        np.save(folder / f"{index}.npy", _plain(values), allow_pickle=False)


def _load(folder: Path, names: tuple[str, ...]) -> dict[str, Array]:
    return {name: np.load(folder / f"{index}.npy", allow_pickle=False) for index, name in enumerate(names)}
