"""Names of work pools: groups of machines that take work from a queue, as Prefect names them."""

from typing import Annotated

from pydantic import AfterValidator

FORBIDDEN = "/%&<>"
MOST_CHARACTERS = 200


def _is_work_pool(name: str) -> str:
    if not name.strip() or len(name) > MOST_CHARACTERS or set(name) & set(FORBIDDEN):
        raise ValueError(
            f"{name!r} is no name of a work pool. Expected 1 to {MOST_CHARACTERS} characters, none of {FORBIDDEN}"
        )
    return name


WorkPool = Annotated[str, AfterValidator(_is_work_pool)]
