"""Tells people of what happened to a model, by any service that apprise knows: chat, mail, webhooks.

Addresses are secrets: they come from `SLIPWAY_NOTIFY`, or from the file that `SLIPWAY_NOTIFY_FILE` names, one a line,
and are never shown. A message that cannot be sent costs nothing but itself.
"""

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from tasks.foundations.errors import InputError
from tasks.foundations.words import suggest

Event = Literal["promoted", "refused", "rolled_back", "inconclusive"]
EVENTS: tuple[Event, ...] = get_args(Event)
ADDRESSES, FILE, ON = "SLIPWAY_NOTIFY", "SLIPWAY_NOTIFY_FILE", "SLIPWAY_NOTIFY_ON"


def check() -> None:
    """Make sure that messages could be sent, before any work.

    Raises:
        InputError: an address or an event is not understood, or the file cannot be read.
    """
    _wanted()
    _services(_addresses())


def notify(event: Event, title: str, text: str) -> list[str]:
    """Send a message to every address, if the event is wanted.

    Args:
        event: what happened.
        title: in a few words.
        text: the sentences.

    Returns:
        A sentence for every address that did not take it, by its number.
    """
    try:
        services = _services(_addresses()) if event in _wanted() else []
    except InputError as error:  # what it tells of has happened all the same
        return [f"nobody was notified of `{event}`: {error}"]
    count = len(services)
    return [
        f"address {number} of {count} ({service.service_name}) did not take the notification of `{event}`"
        for number, service in enumerate(services, 1)
        if not _send(service, title, text)
    ]


def send(message: tuple[()] | tuple[Event, str, str]) -> list[str]:
    """As `notify`, where there may be nothing to say."""
    return notify(*message) if message else []


def _addresses() -> list[str]:
    file = os.environ.get(FILE)
    try:
        lines = Path(file).expanduser().read_text().splitlines() if file else []
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{FILE} names {file}, which cannot be read: {error}. Correct it, or unset {FILE}.") from error
    found = [*os.environ.get(ADDRESSES, "").split(), *(line.strip() for line in lines)]
    return [each for each in found if each and not each.startswith("#")]


def _wanted() -> Sequence[str]:
    words = os.environ.get(ON, "").replace(",", " ").split() or EVENTS
    for word in words:
        if word not in EVENTS:
            near = suggest(word, EVENTS)
            raise InputError(f"{ON} has {word!r}, which is no event. Known: {', '.join(EVENTS)}.{near}")
    return words


def _services(addresses: list[str]) -> list[Any]:
    """Apprise's own objects, one an address."""
    if not addresses:
        return []
    import apprise

    logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)  # it would log addresses, if masked
    services = [apprise.Apprise.instantiate(address, suppress_exceptions=True) for address in addresses]
    for number, service in enumerate(services, 1):
        if service is None:
            raise InputError(
                f"Address {number} of {len(services)} in {ADDRESSES} or {FILE} is not understood (it is not shown, "
                "because it may hold a secret). Expected one that apprise knows, like json://host/path."
            )
    return services


def _send(service: Any, title: str, text: str) -> bool:
    import apprise

    one = apprise.Apprise(servers=[service])  # turns text into what the service takes, HTML for mail
    try:
        return bool(one.notify(title=title, body=text, body_format=apprise.NotifyFormat.TEXT))
    except Exception:  # noqa: BLE001 - a hundred services, each with errors of its own; the caller says which one
        return False
