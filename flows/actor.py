"""Who acts, for the journal."""

import getpass
import os


def actor() -> str:
    """`SLIPWAY_ACTOR` (a CI job, a schedule), else the user's login name."""
    try:
        name = os.environ.get("SLIPWAY_ACTOR") or getpass.getuser()
    except (KeyError, OSError):
        name = f"uid {os.getuid()}"
    return name.encode("utf-8", "replace").decode()  # bytes that are no text cannot be written to the journal
