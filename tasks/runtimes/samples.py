"""What a measurement leaves behind: a folder of sample arrays and one record, so that statistics can run anywhere.

measurement.json          the record
samples/<i>-<round>.npy   (blocks, calls) float64 milliseconds of contender i in that round
"""

from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from tasks.data.dataset import Split
from tasks.foundations.record import Record
from tasks.runtimes.environment import Environment, Noise
from tasks.runtimes.target import Target

FILE = "measurement.json"


class Contender(Record):
    """One model to be measured. The same folder under two names is an A/A control."""

    name: str
    folder: str


class Effort(Record):
    """How long to measure.

    The goal is `calls` calls a contender over `rounds` rounds. A model too slow for its share of `round_seconds`
    gets fewer calls, never fewer than three in a round; the result says how many.
    """

    rounds: int = Field(default=5, ge=1, description="Rounds of fresh processes before the first decision.")
    most_rounds: int = Field(default=15, ge=1, description="Rounds after which an undecided interval stays so.")
    calls: int = Field(default=1000, ge=1, description="Calls a contender in all rounds together.")
    blocks: int = Field(default=10, ge=3, description="Turns that each contender gets in a round.")
    block_ms: float = Field(default=5.0, gt=0, description="Shortest turn, so that fast models get more calls.")
    round_seconds: float = Field(default=3.0, gt=0, description="Longest time of one contender in a round.")
    reply_seconds: float = Field(default=120.0, gt=0, description="Silence after which a contender counts as hung.")


class MeasureRequest(Record):
    """What to measure.

    Attributes:
        contenders: names are unique; the order does not matter.
        target: a choice of tasks/runtimes; every contender runs with exactly its options.
        split: where the rows come from.
        rows: least number of distinct rows that calls rotate over.
        out: absolute path of an empty folder.
        effort: how long.
    """

    contenders: tuple[Contender, ...] = Field(min_length=1)
    target: Target
    split: Split
    out: str
    rows: int = Field(default=64, ge=1)
    effort: Effort = Effort()


class RoundOf(Record):
    """One contender in one round.

    Attributes:
        file: the samples, relative to the folder of the measurement.
        load_ms: opening the model, the library being imported already.
        first_call_ms: the first call after that.
        settled: whether the windows of the warm-up came to agree within 10 %.
        peak_memory_bytes: highest resident memory of the process, as if it had started alone: with the whole library.
        base_memory_bytes: its resident memory before the model was opened: interpreter, library and rows.
    """

    file: str
    load_ms: float
    first_call_ms: float
    settled: bool
    peak_memory_bytes: int
    base_memory_bytes: int


class ContenderResult(Record):
    """One contender over all rounds."""

    name: str
    folder: str
    calls: int
    rounds: tuple[RoundOf, ...]

    @property
    def load_ms(self) -> tuple[float, ...]:
        """Of each round."""
        return tuple(each.load_ms for each in self.rounds)

    @property
    def first_call_ms(self) -> tuple[float, ...]:
        """Of each round."""
        return tuple(each.first_call_ms for each in self.rounds)

    @property
    def peak_memory_bytes(self) -> tuple[int, ...]:
        """Of each round."""
        return tuple(each.peak_memory_bytes for each in self.rounds)


class Measurement(Record):
    """One target measured.

    Attributes:
        target: the target.
        options: the session options used, as the bundle stores them.
        batch_size: rows of one call.
        distinct_rows: rows that calls rotated over; fewer than asked where the split has no more.
        rounds: rounds run.
        contenders: name -> result, of those that came through.
        failures: name -> sentence, of those that did not; their samples do not count.
        environment: the machine before the first round.
        noise: of each round.
        seconds: wall time of all rounds.
    """

    target: Target
    options: dict[str, Any]
    batch_size: int
    distinct_rows: int
    rounds: int
    contenders: dict[str, ContenderResult]
    failures: dict[str, str]
    environment: Environment
    noise: tuple[Noise, ...]
    seconds: float


def read_measurement(folder: Path) -> Measurement:
    """The record of a measurement's folder."""
    return Measurement.model_validate_json((folder / FILE).read_bytes())


def read_samples(folder: Path) -> dict[str, list[np.ndarray[Any, Any]]]:
    """Contender -> one array a round, (blocks, calls) float64 milliseconds.

    In one round every contender has the same number of blocks, and block i of one was measured next to block i of
    the others; the number of calls in a block differs between contenders and rounds.
    """
    measurement = read_measurement(folder)
    return {
        name: [np.load(folder / each.file, allow_pickle=False) for each in result.rounds]
        for name, result in measurement.contenders.items()
    }
