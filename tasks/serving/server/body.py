"""JSON bodies, as both REST protocols read and write them."""

from typing import Any

import orjson

from tasks.serving.server.rejected import Rejected
from tasks.serving.server.tensors import described


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
