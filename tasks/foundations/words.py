"""The nearest right word for a wrong one: whoever refuses a name offers it."""

import difflib
from collections.abc import Iterable


def suggest(word: str, known: Iterable[str]) -> str:
    """` Did you mean X?`, to follow a sentence, with the nearest of the known words; empty if none is near."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f" Did you mean {near[0]}?" if near else ""
