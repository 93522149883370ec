"""A technique that breaks in every way a technique can: one more file of the menu, for tests only."""

import os
import signal
import threading
from typing import Any, ClassVar, Literal

import numpy as np

from tasks.foundations.record import Record
from tasks.techniques.step import Place, Step


class Fault(Record):
    """Breaks."""

    level: ClassVar[Literal["training", "onnx"]] = "onnx"
    place: ClassVar[Place] = "onnx"
    followed_by: ClassVar[str | None] = None

    kind: Literal["fault"] = "fault"
    how: Literal["killed", "hungry", "endless", "raising"]

    def apply(self, step: Step) -> None:
        """Never returns."""
        if self.how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.how == "raising":
            raise ZeroDivisionError("of the quantizer")
        eaten = []
        while self.how == "hungry":
            eaten.append(np.empty(2**28, np.uint8))  # never touched: it is the address space that runs out
        threading.Event().wait()

    def prove(self, folder: str, source: str) -> dict[str, Any]:
        """Nothing to prove."""
        return {}
