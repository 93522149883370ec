"""People are told of what they asked for, addresses are never shown, and nothing fails because nobody listens."""

import os
import re
from collections.abc import Iterator

import pytest

from flows import follow, notify, say
from flows.messages import moved_message, refused_message, release_message
from tasks.foundations.errors import InputError, Refused
from tasks.promotion.control import Move, Order
from tests.flows.webhook import webhook

ORDER = Order(actor="ann", reason="p99 too high")
MOVE = Move(
    model="digits",
    kind="rollback",
    version=1,
    from_version=2,
    moved=True,
    attempt="a",
    message="digits is back from version 2 to version 1.",
)


@pytest.fixture
def heard(monkeypatch) -> Iterator[list[dict[str, str]]]:
    """What a webhook is told."""
    with webhook() as (address, messages):
        monkeypatch.setenv("SLIPWAY_NOTIFY", address)
        monkeypatch.delenv("SLIPWAY_NOTIFY_ON", raising=False)
        yield messages


def test_a_move_is_told_with_who_and_why(heard):
    assert notify.send(moved_message(MOVE, ORDER)) == []

    (message,) = heard
    assert message["title"] == "digits 2 rolled back"
    assert message["message"] == "digits is back from version 2 to version 1.\nby ann: p99 too high"


def test_a_service_that_takes_html_gets_the_text_and_no_markup_of_its_writer(heard, monkeypatch):
    monkeypatch.setenv("SLIPWAY_NOTIFY", os.environ["SLIPWAY_NOTIFY"] + "?format=html")

    notify.notify("promoted", "t", 'one\ntwo: <a href="http://evil">three</a>')

    (message,) = heard
    assert re.search(r"one<br ?/>\s*two", message["message"]) and "<a" not in message["message"]
    assert "&lt;a" in message["message"]


def test_a_refusal_in_a_flow_is_told_and_goes_on(heard, monkeypatch):
    monkeypatch.setattr(say, "write", lambda *_: None)

    with pytest.raises(Refused), say.refusals_told("digits", ORDER):
        raise Refused("digits 2 was taken out of production by a rollback.")

    (message,) = heard
    assert message["title"] == "digits: refused"
    assert message["message"] == "digits 2 was taken out of production by a rollback.\nby ann: p99 too high"


@pytest.mark.parametrize(
    ("message", "title"),
    [
        (release_message("digits", "promoted version 3", 0, True, "r.html"), "digits: promoted"),
        (release_message("digits", "refused: cpu: slower", 3, False, "r.html"), "digits: refused"),
        (release_message("digits", "inconclusive: cpu", 4, False, "r.html"), "digits: inconclusive"),
        (refused_message("digits", ORDER, Refused("gets no traffic")), "digits: refused"),
    ],
)
def test_every_event_has_its_message(heard, message, title):
    assert notify.send(message) == []
    assert [each["title"] for each in heard] == [title]


def test_nothing_is_said_of_what_changed_nothing(heard):
    assert release_message("digits", "already in production", 0, False, "r.html") == ()
    assert release_message("digits", "failed: no room", 1, False, "r.html") == ()
    assert moved_message(MOVE.model_copy(update={"moved": False}), ORDER) == ()
    assert notify.send(()) == [] and heard == []


def test_only_wanted_events_are_told(heard, monkeypatch):
    monkeypatch.setenv("SLIPWAY_NOTIFY_ON", "refused, inconclusive")

    notify.notify("promoted", "t", "x")
    notify.notify("refused", "t", "x")

    assert len(heard) == 1


def test_addresses_may_come_from_a_file(heard, monkeypatch, tmp_path):
    file = tmp_path / "addresses"
    file.write_text(f"# the team\n{os.environ['SLIPWAY_NOTIFY']}\n\n")
    monkeypatch.delenv("SLIPWAY_NOTIFY")
    monkeypatch.setenv("SLIPWAY_NOTIFY_FILE", str(file))

    assert notify.notify("promoted", "t", "x") == [] and len(heard) == 1


def test_an_address_that_does_not_answer_is_named_by_number_alone(heard, monkeypatch):
    monkeypatch.setenv("SLIPWAY_NOTIFY", f"json://ann:hunter2@127.0.0.1:9/hook {os.environ['SLIPWAY_NOTIFY']}")

    (failure,) = notify.notify("promoted", "t", "x")

    assert failure == "address 1 of 2 (JSON) did not take the notification of `promoted`" and len(heard) == 1


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("SLIPWAY_NOTIFY", "nowhere://ann:hunter2@host", "Address 1 of 1"),
        ("SLIPWAY_NOTIFY_ON", "promotd", "Did you mean promoted?"),
        ("SLIPWAY_NOTIFY_FILE", "/nowhere/addresses", "cannot be read"),
    ],
)
def test_what_is_not_understood_is_refused_before_work_and_only_said_after_it(monkeypatch, name, value, says):
    monkeypatch.setenv(name, value)

    with pytest.raises(InputError, match=re.escape(says)) as refused:
        notify.check()

    assert "hunter2" not in str(refused.value)
    (failure,) = notify.notify("promoted", "t", "x")
    assert says in failure and "hunter2" not in failure


def test_a_move_on_the_command_line_is_told_by_the_process_behind_it(heard, monkeypatch):
    followed = []
    monkeypatch.setattr(follow, "follow", followed.append)

    follow.main("digits", *moved_message(MOVE, ORDER))
    follow.main("digits")

    assert len(heard) == 1 and followed == ["digits", "digits"]
