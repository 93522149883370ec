"""Which server processes follow the serving folder: each writes a small file there and keeps its time fresh.

A move is done when every one of them answered with the new version. A file in the folder that both sides share needs
no other service. Here the process itself tells whether it is alive; of another machine only the age of its file can.
"""

import os
import socket
import time
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from tasks.foundations.files import write_whole
from tasks.foundations.processes import is_alive
from tasks.foundations.record import Record

FOLDER = "nodes"
KIND = "onnx_server"
"""The serving kind whose servers register; also the name of the folder that they follow."""
BEAT_SECONDS = 2.0
LOST_SECONDS = 15.0
"""A node of another machine whose file is older is not waited for; one that is younger and silent holds a move up."""


class Node(Record):
    """One server process.

    Attributes:
        id: unique among all that ever ran; the name of its file.
        kind: the serving kind whose folders it follows.
        host: name of its machine.
        pid: its process there.
        url: where it answers clients, `http://127.0.0.1:8080`.
        admin: where it answers to moves, `http://127.0.0.1:40123`.
        models: those that it serves; empty for all that have a pointer.
        started: ISO 8601, UTC.
    """

    id: str
    kind: str = KIND
    host: str
    pid: int
    url: str
    admin: str
    models: tuple[str, ...] = ()
    started: str

    def serves(self, model: str) -> bool:
        """Whether it has to answer for a model."""
        return not self.models or model in self.models

    @property
    def is_here(self) -> bool:
        """Whether it runs on this machine."""
        return self.host == socket.gethostname()


def register(root: Path, node: Node) -> None:
    """Write a node's file; from then on every move waits for its answer."""
    write_whole(_path(root, node.id), node.model_dump_json())


def beat(root: Path, node: Node) -> None:
    """Keep a node's file fresh, and write it again if somebody removed it."""
    try:
        os.utime(_path(root, node.id))
    except FileNotFoundError:
        register(root, node)


def deregister(root: Path, node: Node) -> None:
    """Take a node's file away: it ends, or was found killed."""
    _path(root, node.id).unlink(missing_ok=True)


def living(root: Path, model: str | None = None, kind: str = KIND) -> list[Node]:
    """The nodes that have to answer for a model (None: for any); files of processes that were killed are removed.

    A process of this machine that is alive has to, however long it has been silent: one that was stopped still holds
    connections, and answers them with the old version when it goes on. See `silent` for those that are left out.
    """
    found = _registered(root, model, kind)
    return [node for node, age in found if node.is_here or age < LOST_SECONDS]


def silent(root: Path, model: str, kind: str = KIND) -> list[tuple[Node, float]]:
    """Nodes of other machines that nobody waits for, and for how many seconds they have not been heard of."""
    found = _registered(root, model, kind)
    return [(node, age) for node, age in found if not node.is_here and age >= LOST_SECONDS]


def _registered(root: Path, model: str | None, kind: str) -> list[tuple[Node, float]]:
    """Nodes and the ages of their files; those of processes that have ended here are removed."""
    found = []
    for path in sorted((root / FOLDER).glob("*.json")):
        with suppress(OSError, ValidationError):  # it deregisters just now, or is half of another version
            node = Node.model_validate_json(path.read_bytes())
            heard = path.stat().st_mtime
            age = time.time() - heard
            if node.is_here and (not is_alive(node.pid) or (age >= LOST_SECONDS and _began(node.pid) > heard)):
                deregister(root, node)
            elif node.kind == kind and (model is None or node.serves(model)):
                found.append((node, age))
    return found


def _began(pid: int) -> float:
    """When a process began, as `time.time()` counts; 0 where that cannot be told.

    After a restart of the machine the id of a node may be another process's, which must not be waited for: it began
    after the node's last beat.
    """
    with suppress(OSError, ValueError, IndexError, AttributeError):
        ticks = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
        return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + ticks / os.sysconf("SC_CLK_TCK")
    return 0.0


def _path(root: Path, node_id: str) -> Path:
    return root / FOLDER / f"{node_id}.json"
