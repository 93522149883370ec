"""Finding the nodes that a config names: by node, by layer, or by operator type."""

import difflib
from collections.abc import Sequence
from typing import Any

from tasks.foundations.errors import InputError


def select(model: Any, wanted: Sequence[str], field: str) -> list[str]:
    """Names of the nodes that `wanted` covers.

    Args:
        model: ModelProto.
        wanted: node names, parts of a node's path (`dense_1` for `sequential/dense_1/MatMul`), or operator types.
        field: where the words come from, for the message.

    Raises:
        InputError: a word matches nothing; the nearest right ones are named.
    """
    known: set[str] = set()
    chosen: set[str] = set()
    for node in model.graph.node:
        words = {node.name, node.op_type, *node.name.split("/")}
        known |= words
        if words & set(wanted):
            chosen.add(node.name)
    for word in wanted:
        if word not in known:
            near = difflib.get_close_matches(word, sorted(known), n=3) or sorted(known)[:5]
            raise InputError(f"{field}: {word!r} is no node, layer or operator of this model. Near: {', '.join(near)}.")
    return [node.name for node in model.graph.node if node.name in chosen]
