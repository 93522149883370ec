"""What a source may know while it reads: where it stands, where it may write, what decides a random choice."""

from pathlib import Path
from typing import NamedTuple

Where = tuple[str, ...]  # keys under the section


class Reading(NamedTuple):
    """The circumstances of one read.

    Attributes:
        folder: the config's folder, from which paths are counted.
        scratch: an empty folder, gone after the data set is written: for what is fetched or spooled.
        seed: decides every random choice.
        task: the kind of the task.
    """

    folder: Path
    scratch: Path
    seed: int
    task: str
