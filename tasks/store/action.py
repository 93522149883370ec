"""The action index: what a step once produced, so that a crashed or repeated release resumes.

An entry is trusted only if the artifact's digest still verifies. Failures are never remembered.
"""

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tasks.foundations.builds import installed
from tasks.foundations.errors import SlipwayError
from tasks.foundations.record import Record
from tasks.store.artifact import Artifact
from tasks.store.digest import digest_entries, digest_file
from tasks.store.store import Store

TASKS = Path(__file__).parents[1]


class Action(Record):
    """Everything that the outcome of a step depends on.

    Attributes:
        step: name of the step.
        inputs: digests of what it reads, by role.
        settings: its own settings.
        seed: the release's seed.
        libraries: distribution name -> version of every library that does the work.
        sources: digest of the source of the rooms that do the work.
        user_sources: digest of every module imported from the config's folder, empty where none matters.
        cpu: CPU class where results depend on it, else empty.
    """

    step: str
    inputs: dict[str, str]
    settings: dict[str, Any]
    seed: int
    libraries: dict[str, str]
    sources: str
    user_sources: str = ""
    cpu: str = ""

    def key(self) -> str:
        """sha256 (hex) of the canonical JSON of all fields."""
        return hashlib.sha256(json.dumps(self.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()


def lookup(store: Store, action: Action) -> Artifact | None:
    """The artifact of an earlier run of the same action if it is still there and still verifies, else None."""
    content = store.read(f"actions/{action.key()}.json")
    if content is None:
        return None
    try:
        artifact = Artifact.model_validate_json(content)
        store.path(artifact.digest)
    except (ValidationError, SlipwayError):  # a damaged entry is as good as none
        return None
    return artifact


def remember(store: Store, action: Action, artifact: Artifact) -> None:
    """Enter a published artifact in the index."""
    store.write(f"actions/{action.key()}.json", artifact.model_dump_json())


@cache
def versions(*libraries: str) -> dict[str, str]:
    """Installed versions, by distribution name."""
    return dict(installed(library) for library in libraries)


@cache
def source_digest(*rooms: str) -> str:
    """sha256 over the source files of rooms under `tasks/`, so that changed code never meets an old result."""
    files = (path for room in sorted(rooms) for path in (TASKS / room).rglob("*.py"))
    return digest_entries({path.relative_to(TASKS).as_posix(): digest_file(path) for path in files})
