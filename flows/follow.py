"""`python -m flows.follow MODEL [EVENT TITLE TEXT]`: what comes after a move and must not hold it up.

MLflow's aliases are brought in line with the journal, and people are told of the event. Started behind a promote or
rollback on the command line. It takes no lock: it looks at the journal again after it has
written, and goes on until nothing has changed meanwhile.
"""

import sys
from typing import cast

from flows.control import registry_place
from flows.home import home
from flows.notify import Event, notify
from tasks.journal.fold import fold
from tasks.journal.journal import Journal
from tasks.registry.jobs import AliasRequest, set_aliases


def follow(model: str) -> None:
    """Set `champion` and `challenger` as the journal says."""
    place = home()
    journal = Journal(place.journal_url)
    written = None
    while (state := fold(journal.events(model))).last_serial != written:
        written = state.last_serial
        aliases = {"champion": state.champion, "challenger": state.challenger}
        set_aliases(AliasRequest(place=registry_place(place, model), model=model, aliases=aliases))


def main(model: str, *message: str) -> None:
    """Tell people first: it is faster than the import of MLflow."""
    if message:
        event, title, text = message
        for failure in notify(cast("Event", event), title, text):
            print(failure, file=sys.stderr)  # noqa: T201 - stderr is the log of this process
    follow(model)


if __name__ == "__main__":
    main(*sys.argv[1:])
