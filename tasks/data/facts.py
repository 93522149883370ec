"""What a column holds, decided over every row of every file: one dtype for all splits, or one clear sentence."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tasks.data.columns import Part
from tasks.foundations.errors import InputError


class Fact(NamedTuple):
    """What a column holds.

    Attributes:
        kind: `number`, `text`, `tensor` (numbers, several a row) or `bytes`.
        dtype: of numbers and tensors.
        width: characters of the longest text.
        example: a value, for sentences.
    """

    kind: str
    dtype: np.dtype[Any] = np.dtype("float64")
    width: int = 1
    example: str = ""


class Layout(NamedTuple):
    """How the rows of an array are stored; shape None: as the first rows come."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...] | None


def merge(column: str, facts: Mapping[str, Fact]) -> Fact:
    """One fact for a column of several files.

    Args:
        column: its name.
        facts: file -> what it holds there.

    Raises:
        InputError: numbers here and texts there.
    """
    (first, known), *others = facts.items()
    for file, fact in others:
        if fact.kind != known.kind:
            raise InputError(
                f"data: the column {column!r} holds {known.kind}s in {first} and {fact.kind}s in {file}. "
                "Every split needs the same kind."
            )
        known = known._replace(dtype=np.promote_types(known.dtype, fact.dtype), width=max(known.width, fact.width))
    return known


def layout(part: Part, facts: Mapping[str, Fact]) -> Layout:
    """Dtype and shape of the rows of an array.

    Raises:
        InputError: columns that cannot be stacked, or a shape that does not hold their values.
    """
    chosen = {column: facts[column] for column in part.columns}
    first = next(iter(chosen.values()))
    if not part.stacked:
        return _single(part, first)
    _check_stack(part, chosen)
    count = len(part.columns)
    if part.shape is not None and int(np.prod(part.shape)) != count:
        raise InputError(
            f"data: {part.what} has {count} columns, its shape {list(part.shape)} holds {int(np.prod(part.shape))} "
            "values. Name as many columns, or another shape."
        )
    return Layout(_stacked_dtype(part, list(chosen.values())), part.shape or (count,))


def _single(part: Part, fact: Fact) -> Layout:
    if fact.kind == "bytes":
        if part.shape is None:
            raise InputError(
                f"data: the column {part.columns[0]!r} holds bytes. Say what they are: {part.name}: "
                f"{{column: {part.columns[0]}, shape: [...], dtype: uint8}}; compressed pictures must be decoded first."
            )
        return Layout(np.dtype(part.dtype), part.shape)
    if fact.kind == "tensor":
        return Layout(fact.dtype, part.shape)
    if part.shape is not None and int(np.prod(part.shape)) != 1:
        raise InputError(
            f"data: the column {part.columns[0]!r} holds one value a row, the shape of {part.what} is "
            f"{list(part.shape)}. Leave the shape out, or name columns."
        )
    return Layout(np.dtype(f"<U{max(1, fact.width)}") if fact.kind == "text" else fact.dtype, part.shape or ())


def _check_stack(part: Part, facts: Mapping[str, Fact]) -> None:
    for column, fact in facts.items():
        if fact.kind in ("tensor", "bytes"):
            raise InputError(
                f"data: the column {column!r} holds several values a row and cannot be stacked with others. Give it a "
                f"name of its own: inputs: {{{column}: {{column: {column}, shape: [...]}}}}."
            )
    texts = [column for column, fact in facts.items() if fact.kind == "text"]
    if texts and (len(texts) < len(facts) or part.role == "labels"):
        raise InputError(
            f"data: {part.what} stacks columns of numbers, but {texts[0]!r} holds texts, e.g. "
            f"{facts[texts[0]].example!r}. Encode it as numbers, leave it out by naming the others under {part.role}, "
            "or give it an input of its own: inputs: {name: column}."
        )


def _stacked_dtype(part: Part, facts: Sequence[Fact]) -> np.dtype[Any]:
    """Integers stay what they are, for embeddings; anything else is float32, as models take it."""
    if facts[0].kind == "text":
        return np.dtype(f"<U{max(1, *(fact.width for fact in facts))}")
    common = np.result_type(*(fact.dtype for fact in facts))
    if common.kind in "biu":
        return np.dtype("int64") if np.can_cast(common, np.int64) else common
    return np.dtype("float64" if part.role == "labels" else "float32")
