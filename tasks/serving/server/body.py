"""JSON bodies, as both REST protocols read and write them."""

from typing import Any

import orjson

from tasks.serving.server.rejected import Rejected
from tasks.serving.server.tensors import described

KEPT_BYTES = 64 * 1024


def kept(body: bytes, content: object) -> object:
    """What a small body was read as, None for others.

    Whoever holds it puts off that thousands of numbers are let go, which takes as long as half of reading them, until
    the answer is on its way. Of large bodies that wait in line it would fill the memory.
    """
    return content if len(body) <= KEPT_BYTES else None


def read(body: bytes) -> dict[str, Any]:
    """The JSON object that a body is."""
    if not body:
        raise Rejected("malformed", "The body is empty, expected a JSON object.")
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Rejected("malformed", f"The body is not JSON: {error}.") from None
    if not isinstance(content, dict):
        raise Rejected("malformed", f"The body is {described(content)}, expected a JSON object.")
    return content


def may_hold_booleans(body: bytes) -> bool:
    """False only where a JSON text cannot hold a boolean.

    A body of numbers rarely has an r or an l, and one letter is found twenty times faster than a word.
    """
    return (b"r" in body and b"true" in body) or (b"l" in body and b"false" in body)


def error(message: str) -> bytes:
    """The body of every answer that is none."""
    return orjson.dumps({"error": message})
