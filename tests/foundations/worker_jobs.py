"""Jobs for the worker tests: they really die, hang and eat memory."""

import os
import signal
import tempfile
import time
from pathlib import Path

from tasks.foundations.errors import InputError
from tasks.foundations.progress import report
from tasks.foundations.record import Record


class Number(Record):
    value: float = 0


def double(request: Number) -> Number:
    report("doubling")
    time.sleep(0.3)
    return Number(value=2 * request.value)


def die(_: Number) -> Number:
    os.kill(os.getpid(), signal.SIGKILL)
    return Number()


def leave(_: Number) -> Number:
    os._exit(0)


def hang(_: Number) -> Number:
    time.sleep(600)
    return Number()


def eat(_: Number) -> Number:
    return Number(value=len(bytearray(64 << 30)))


def refuse(_: Number) -> Number:
    raise InputError("the label 7 is out of range")


def fail(_: Number) -> Number:
    raise KeyError("some library's surprise")


def draw(_: Number) -> Number:
    import random

    import numpy as np

    return Number(value=random.random() + np.random.random())


def pid(_: Number) -> Number:
    return Number(value=os.getpid())


def environment(_: Number) -> Number:
    import tensorflow as tf

    return Number(value=float("tf_keras" in tf.keras.Model.__module__ or "tf_keras" in str(tf.keras.Model)))


def pause(request: Number) -> Number:
    time.sleep(request.value)
    return Number(value=os.getpid())


def no_setup(*_: object) -> None:
    """Instead of the initializer that imports TensorFlow."""


def fail_once(*_: object) -> None:
    """Instead of the initializer: the first process cannot start."""
    mark = Path(os.environ["FAILED_MARK"])
    if not mark.exists():
        mark.touch()
        raise OSError("no memory for TensorFlow")


def leave_temporary(_: Number) -> Number:
    tempfile.mkdtemp(prefix="left-")
    return Number()
