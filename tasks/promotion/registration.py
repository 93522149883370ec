"""A version that passed its gates enters the journal: from then on it can be promoted."""

from tasks.foundations.errors import Conflict
from tasks.journal.event import Event
from tasks.promotion.aliases import align
from tasks.promotion.control import Control, Order

WAIT_SECONDS = 120
"""A registration waits for a move in progress: it is no rival of it."""


def record_version(control: Control, model: str, version: int, digest: str, order: Order) -> Event:
    """Write the passing record of a version; the same one twice is written once.

    Args:
        control: where production is controlled from.
        model: name of the model.
        version: its number in the registry.
        digest: `Manifest.digest` of its bundle.
        order: who asks; only actor, reason and run matter.

    Returns:
        The `registered` event.

    Raises:
        Conflict: the version is registered with another digest, or a move of the model does not end.
        InputError: the model's name is not safe as a file's name.
    """
    with control.exclusive(model, f"{order.actor}'s registration of version {version}", WAIT_SECONDS):
        events = control.journal.verify(model)
        for event in events:
            if event.version != version or event.kind != "registered":
                continue
            if event.digest != digest:
                raise Conflict(
                    f"{model} {version} is registered with digest {event.digest[:12]} since {event.at}; "
                    f"{digest[:12]} cannot take its number. Versions never change: register it under a new one."
                )
            return event
        entry = Event(
            model=model,
            attempt=f"registered-{version}",
            kind="registered",
            phase="done",
            version=version,
            digest=digest,
            actor=order.actor,
            reason=order.reason,
            run=order.run,
        )
        return control.journal.append(entry, events[-1].serial if events else 0)


def announce(control: Control, model: str) -> list[str]:
    """Bring the registry's aliases in line with the journal, for a release that does not promote.

    Returns:
        A warning if the registry refused.
    """
    return align(control, model)
