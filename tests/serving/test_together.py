"""Calls side by side, and who waits for them."""

import signal
import threading
import time

import pytest

from tasks.serving.together import OutOfPatience, together


def test_answers_come_in_the_order_of_the_calls_however_long_each_takes() -> None:
    slow = threading.Event()

    def first() -> int:
        slow.wait(30)
        return 1

    def second() -> int:
        slow.set()
        return 2

    assert together([first, second]) == [1, 2]


def test_the_first_error_is_raised_without_waiting_for_the_others() -> None:
    never = threading.Event()

    def fails() -> bool:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        together([never.wait, fails])


@pytest.mark.parametrize("patience_s", [0.0, 0.05, 0.3])
def test_patience_has_an_end(patience_s: float) -> None:
    never = threading.Event()
    begin = time.monotonic()

    with pytest.raises(OutOfPatience):
        together([never.wait, lambda: True], patience_s)
    assert time.monotonic() - begin >= patience_s


def test_ctrl_c_ends_the_waiting_also_if_another_thread_is_what_the_signal_reaches() -> None:
    begun, over, answered = threading.Event(), threading.Event(), threading.Event()

    def silent() -> None:
        begun.set()
        over.wait(30)
        answered.set()

    def press() -> None:
        begun.wait()
        time.sleep(0.05)  # so that the other one waits
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)

    threading.Thread(target=press, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        together([silent])
    assert not answered.is_set()
    over.set()
