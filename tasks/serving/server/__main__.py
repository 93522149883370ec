"""`python -m tasks.serving.server SETTINGS [FD]`: one serving process, started by another one.

SETTINGS is a `ServeSettings` as JSON; FD is a listening socket that was inherited. One JSON line on stdout says where
it answers, or why it cannot.
"""

import json
import socket
import sys
from typing import Any

from tasks.foundations.errors import SlipwayError
from tasks.serving.server.run import run, run_one
from tasks.serving.server.settings import ServeSettings


def main() -> int:
    """Serve; gives the exit code."""
    settings = ServeSettings.model_validate_json(sys.argv[1])
    try:
        if len(sys.argv) > 2:
            run_one(settings, socket.socket(fileno=int(sys.argv[2])), _say)
        else:
            run(settings, _say)
    except SlipwayError as error:
        _say({"error": str(error)})
        return error.exit_code
    return 0


def _say(content: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(content) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
