"""`pointer.json`: the one small file that decides which version a serving node runs.

It is replaced as a whole, so a reader sees the old or the new content and never a part; its serial only grows, so a
late writer cannot take production back.
"""

import json
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from tasks.foundations.errors import Conflict, SlipwayError
from tasks.foundations.files import sync, write_whole
from tasks.foundations.record import Record

NAME = "pointer.json"
WITHDRAWN = "withdrawn.json"


class Pointer(Record):
    """Content of `pointer.json`.

    Attributes:
        serial: the journal's serial of the move that wrote it; a node refuses a lower one than it has seen.
        version: the version to serve, the name of the folder beside the file.
        digest: digest of that folder's content.
        previous: the version that a rollback would go to, None if there is none: worth keeping resident.
        previous_digest: digest of that version's folder; without it a node cannot keep it ready.
        settings: how the serving kind treats requests; empty for its defaults.
    """

    serial: int = Field(ge=0, lt=2**63)
    version: int = Field(ge=0, lt=2**63)
    digest: str
    previous: int | None = None
    previous_digest: str | None = None
    settings: dict[str, Any] = {}


def read(base: Path) -> Pointer | None:
    """The pointer in a model's serving folder, None if there is none.

    Raises:
        SlipwayError: the file is not a pointer, or cannot be read.
    """
    path = base / NAME
    try:
        return Pointer.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SlipwayError(
            f"{path} cannot be read: {error.strerror}. Mend it, or remove it and run `reconcile`."
        ) from error
    except ValidationError as error:
        raise SlipwayError(
            f"{path} is not a pointer: something other than Slipway has changed it. Run `reconcile`, which writes it "
            "anew."
        ) from error


def present(base: Path) -> Pointer | None:
    """As `read`, and None for a file that is not a pointer: for whoever writes it anew, as the journal says."""
    try:
        return read(base)
    except SlipwayError:
        return None


def write(base: Path, pointer: Pointer) -> None:
    """Replace the pointer by one atomic act that survives a power cut.

    Raises:
        Conflict: the present pointer has a higher serial, or the same serial and other content.
    """
    now = present(base)
    if now == pointer:
        return
    if now is not None and now.serial >= pointer.serial:
        raise Conflict(
            f"{base / NAME} already follows move {now.serial} (version {now.version}); "
            f"move {pointer.serial} (version {pointer.version}) is older and was refused. Look at `status`."
        )
    write_whole(base / NAME, pointer.model_dump_json())


def remove(base: Path) -> None:
    """Take the pointer away, if there is one: nothing is to be served any more.

    What it followed is written down first, so that a node can tell this from a pointer that was lost.
    """
    now = present(base)
    if now is not None:
        write_whole(base / WITHDRAWN, json.dumps({"serial": now.serial}))
    (base / NAME).unlink(missing_ok=True)
    if base.is_dir():
        sync(base)


def withdrawn(base: Path) -> int | None:
    """The move whose pointer was the last one to be taken away, None if none ever was."""
    try:
        return int(json.loads((base / WITHDRAWN).read_bytes())["serial"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
