"""Telling Slipway's own servers of a move, and hearing from each that it serves the new version.

A node that was killed is left out: it follows the pointer when it is started again. One that is alive and silent is
not: it may still hold connections and answer them with the old version.
"""

import http.client
import json
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from tasks.foundations.errors import NotServing
from tasks.foundations.processes import is_alive
from tasks.serving.answers import Observation
from tasks.serving.nodes import FOLDER, Node, living
from tasks.serving.pointer import Pointer
from tasks.serving.together import together

WAIT_S = 5.0
"""How long a node may keep one question before it says how far it is."""
SLACK_S = 2.0
PAUSE_S = 0.05
LOOK_S = 0.5
"""How long a look at what servers say may take, all of them together."""


@dataclass(frozen=True)
class _Question:
    root: Path
    model: str
    pointer: Pointer
    limit_s: float


def observe(root: Path, model: str, pointer: Pointer, limit_s: float) -> list[Observation]:
    """Ask every living node, side by side, until it answers with the pointer's version.

    Args:
        root: the serving folder.
        model: name of the model.
        pointer: what the nodes have to follow; it is on disk already.
        limit_s: how long each of them may take.

    Raises:
        NotServing: a node could not load the version, or did not answer with it in time.
    """
    question = _Question(root, model, pointer, limit_s)
    answers = together([partial(_ask, question, node) for node in living(root, model)])
    return [answer for answer in answers if answer is not None]


def look(nodes: list[Node]) -> dict[str, dict[str, Any]]:
    """What nodes say that they serve: model -> entry, by the id of the node; one that does not answer is absent."""
    found: dict[str, dict[str, Any]] = {}

    def ask(node: Node) -> None:
        with suppress(OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
            found[node.id] = dict(_send(node, "GET", "/status", LOOK_S)["models"])

    deadline = time.monotonic() + LOOK_S
    threads = [threading.Thread(target=ask, args=(node,), daemon=True, name="look") for node in nodes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0, deadline - time.monotonic()))
    return dict(found)


def _ask(question: _Question, node: Node) -> Observation | None:
    """The node's answer; None if it has ended meanwhile."""
    begin, said = time.monotonic(), "nothing"
    while (left := begin + question.limit_s - time.monotonic()) > 0:
        try:
            entry = _follow(node, question, left)
            if _serves(entry, question.pointer):
                return Observation(
                    kind=node.kind,
                    server=node.url,
                    version=question.pointer.version,
                    digest=question.pointer.digest,
                    ms=1000 * (time.monotonic() - begin),
                )
            _check_failed(node, entry, question.pointer)
            said = f"it serves version {entry.get('version')} and loads {entry.get('loading') or 'nothing'}"
        except (OSError, http.client.HTTPException, ValueError) as error:
            said = f"{type(error).__name__}: {error}"
            if _has_ended(question.root, node):
                return None
        time.sleep(PAUSE_S)
    if _has_ended(question.root, node):
        return None
    raise NotServing(
        f"{_name(node)} did not answer with version {question.pointer.version} of {question.model} within "
        f"{question.limit_s:g} s; the last from it: {said}. If it hangs, end it (`kill -9 {node.pid}` on {node.host}) "
        "and start it again; then repeat the move."
    )


def _follow(node: Node, question: _Question, left_s: float) -> dict[str, Any]:
    """One question.

    Raises:
        OSError, HTTPException: it cannot be reached.
        ValueError: it does not answer as a node does.
    """
    wait_s = min(WAIT_S, left_s)
    query = urlencode({"serial": question.pointer.serial, "wait_s": round(wait_s, 3)})
    return _send(node, "POST", f"/follow/{question.model}?{query}", min(left_s, WAIT_S + SLACK_S))


def _send(node: Node, method: str, path: str, timeout_s: float) -> dict[str, Any]:
    connection = http.client.HTTPConnection(urlsplit(node.admin).netloc, timeout=timeout_s)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        content = response.read()
    finally:
        connection.close()
    if response.status != http.client.OK:
        raise ValueError(f"it answers HTTP {response.status}: {content[:200].decode(errors='replace')}")
    entry = json.loads(content)
    if not isinstance(entry, dict):
        raise ValueError(f"it answers {content[:200].decode(errors='replace')}")
    return entry


def _serves(entry: dict[str, Any], pointer: Pointer) -> bool:
    serial = entry.get("serial")
    return (
        isinstance(serial, int)
        and serial >= pointer.serial
        and (entry.get("version"), entry.get("digest")) == (pointer.version, pointer.digest)
    )


def _check_failed(node: Node, entry: dict[str, Any], pointer: Pointer) -> None:
    failed = entry.get("failed")
    if isinstance(failed, dict) and failed.get("serial") == pointer.serial:
        raise NotServing(
            f"{_name(node)} could not load version {pointer.version}: {str(failed.get('reason')).rstrip('.')}. "
            f"It goes on with version {entry.get('version')}."
        )


def _has_ended(root: Path, node: Node) -> bool:
    """Whether a node that gave no answer is no more; of another machine only the age of its file can tell."""
    if node.is_here:
        there = False
        with suppress(OSError):
            there = (root / FOLDER / f"{node.id}.json").exists()
        return not is_alive(node.pid) or not there
    return node.id not in {each.id for each in living(root)}


def _name(node: Node) -> str:
    return f"The server {node.url} (process {node.pid} on {node.host})"
