"""`python -m flows.follow MODEL`: bring MLflow's aliases in line with the journal, without holding up any move.

Started behind a promote or rollback on the command line. It takes no lock: it looks at the journal again after it has
written, and goes on until nothing has changed meanwhile.
"""

import sys

from flows.control import registry_place
from flows.home import home
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


if __name__ == "__main__":
    follow(sys.argv[1])
