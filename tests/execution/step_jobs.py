"""Jobs for the step tests: they write a file, count how often they run, or fail after having written half."""

from pathlib import Path

from tasks.foundations.errors import StepFailed
from tasks.foundations.record import Record


class Order(Record):
    out: str
    counter: str
    text: str = "1"


def write(order: Order) -> Order:
    with Path(order.counter).open("a") as counter:
        counter.write("x")
    (Path(order.out) / "file").write_text(order.text)
    return order


def fail(order: Order) -> Order:
    write(order)
    raise StepFailed("half-way")
