"""Values that pydantic reads too kindly: true is no number and "3" is no 3. A config says what it means, or fails."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from flows.config_sentences import shown
from flows.yaml_source import Where


def coerced(given: Any, read: Any, where: Where = ()) -> Iterator[tuple[Where, str]]:
    """(where, sentence) of every number or switch that the file has as something else.

    Args:
        given: what the file holds.
        read: what became of it: records, mappings, lists, plain values.
        where: path of keys to it.
    """
    if isinstance(given, Mapping):
        for key, value in given.items():
            inner = read.get(key) if isinstance(read, Mapping) else getattr(read, str(key), None)
            yield from coerced(value, inner, (*where, key))
    elif isinstance(given, list):
        if isinstance(read, Sequence) and len(read) == len(given):
            for index, pair in enumerate(zip(given, read, strict=True)):
                yield from coerced(*pair, (*where, index))
    elif isinstance(read, bool) and not isinstance(given, bool):
        yield where, f"expected true or false. Got {shown(given)}"
    elif isinstance(read, int | float) and not isinstance(read, bool) and isinstance(given, _odd(read)):
        yield where, f"expected a number. Got {shown(given)}"


def _odd(read: int | float) -> tuple[type, ...]:
    # YAML takes 1e-3 for a text, which is a number to everybody else.
    return (bool, str) if isinstance(read, int) else (bool,)
