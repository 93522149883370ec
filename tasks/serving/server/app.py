"""The public port as an ASGI application: predictions on a short path of their own, everything else by Starlette.

Errors have one form, `{"error": sentence}`, in both protocols. No request's content is logged.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, ParamSpec, TypeVar

import orjson

from tasks.serving.server import oip, tfserving_rest
from tasks.serving.server.host import Host
from tasks.serving.server.pages import pages
from tasks.serving.server.protocol import CAME
from tasks.serving.server.rejected import Rejected

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Header = tuple[bytes, bytes]
Answer = tuple[bytes, list[Header]]
P = ParamSpec("P")
T = TypeVar("T")

BODY_SECONDS = 30.0
LARGE_BYTES = 2**20
"""Larger bodies are decoded in a thread, one at a time: JSON takes up to 24 times its size while it is read."""
BODIES = 4
"""So many of the largest bodies may be on their way at once; the next ones are told to wait."""
JSON_TYPE: Header = (b"content-type", b"application/json")
OIP, TFS = "v2", "v1"


@dataclass(frozen=True, slots=True)
class Call:
    """A prediction that a path asks for.

    Attributes:
        protocol: `v2` or `v1`.
        model: as the client wrote it.
        version: None for the one in production.
        label: of TensorFlow Serving's paths.
    """

    protocol: str
    model: str
    version: int | None = None
    label: str | None = None


class App:
    """See the module."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._pages = pages(host)
        self._bodies = Bodies(host.settings.max_body_bytes)
        self._decoder = ThreadPoolExecutor(1, "decode")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        call = parse(scope["path"]) if scope["type"] == "http" else None
        if call is None:
            await self._pages(scope, receive, send)
            return
        if scope["method"] != "POST":
            await _send(send, 405, orjson.dumps({"error": "A prediction is a POST."}), [JSON_TYPE, (b"allow", b"POST")])
            return
        begin = scope.get("state", {}).get(CAME) or time.monotonic()
        model = self._host.models.get(call.model)
        status, headers = 200, list[Header]()
        try:
            body, headers = await self._answer(call, scope, receive)
        except Rejected as no:
            status, body, headers = refusal(no)
            if model is not None:
                model.metrics.rejected(no.reason)
        if self._host.draining:
            headers.append((b"connection", b"close"))
        await _send(send, status, body, headers)
        if model is not None:
            model.metrics.answered(call.protocol, status, time.monotonic() - begin)

    async def _answer(self, call: Call, scope: Scope, receive: Receive) -> Answer:
        headers = dict(scope["headers"])
        model = self._host.hosted(call.model)
        body = await self._bodies.read(headers, receive)
        came = scope.get("state", {}).get(CAME) or time.monotonic()
        deadline = came + model.served.deadline_ms / 1000
        resident = model.pick(call.version, call.label)
        model.line.check_room(deadline)
        most = self._host.settings.max_elements
        if call.protocol == OIP:
            head = headers.get(b"inference-header-content-length")
            asked = await self._decode(len(body), oip.decode, body, head, resident.signature, most)
            outputs = await model.predict(resident, asked.feeds, deadline)
            return oip.encode(asked, model.name, resident.version, outputs)
        question = await self._decode(len(body), tfserving_rest.decode, body, resident.signature, most)
        outputs = await model.predict(resident, question.feeds, deadline)
        return tfserving_rest.encode(question, outputs), [JSON_TYPE]

    async def _decode(self, size: int, decode: Callable[P, T], *arguments: P.args, **more: P.kwargs) -> T:
        if size <= LARGE_BYTES:
            return decode(*arguments, **more)
        work = partial(decode, *arguments, **more)
        return await asyncio.get_running_loop().run_in_executor(self._decoder, work)


async def _send(send: Send, status: int, body: bytes, headers: list[Header]) -> None:
    headers.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def parse(path: str) -> Call | None:
    """The prediction that a path of a POST names; None for every other path."""
    if path.endswith("/infer") and path.startswith("/v2/models/"):
        return _place(OIP, path[len("/v2/models/") : -len("/infer")])
    if path.endswith(":predict") and path.startswith("/v1/models/"):
        return _place(TFS, path[len("/v1/models/") : -len(":predict")])
    return None


def _place(protocol: str, rest: str) -> Call | None:
    """`M`, `M/versions/N` or, for TensorFlow Serving, `M/labels/L`."""
    parts = rest.split("/")
    if len(parts) == 1:
        return Call(protocol, rest)
    if len(parts) != 3:
        return None
    model, kind, word = parts
    if kind == "versions" and word.isascii() and word.isdecimal() and len(word) < 19:
        return Call(protocol, model, version=int(word))
    return Call(protocol, model, label=word) if kind == "labels" and protocol == TFS else None


def refusal(no: Rejected) -> tuple[int, bytes, list[Header]]:
    """Status, body and headers of a request that is not answered."""
    headers = [JSON_TYPE]
    if no.retry_after_s is not None:
        headers.append((b"retry-after", str(no.retry_after_s).encode()))
    if no.reason in ("too_large", "deadline"):  # the rest of the body may still be on its way
        headers.append((b"connection", b"close"))
    return no.status, orjson.dumps({"error": no.message}), headers


class Bodies:
    """The bodies that are on their way, none larger than `most`, all together no larger than `BODIES` of those."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._under_way = 0

    async def read(self, headers: dict[bytes, bytes], receive: Receive) -> bytes:
        """One whole body.

        Raises:
            Rejected: it is too large, packed, or does not come to its end in time.
        """
        if headers.get(b"content-encoding", b"identity") != b"identity":
            raise Rejected("malformed", "The body is packed (Content-Encoding); send it as it is.")
        size = headers.get(b"content-length", b"0")
        if size.isdigit() and int(size) > self._most:
            raise _too_large(self._most)
        message = await _next(receive)
        body: bytes = message.get("body", b"")
        if not message.get("more_body"):
            return body
        parts = [body]
        try:
            async with asyncio.timeout(BODY_SECONDS):
                while message.get("more_body"):
                    message = await _next(receive)
                    parts.append(message.get("body", b""))
                    self._count(parts)
        except TimeoutError:
            raise Rejected("deadline", f"The body did not come to its end within {BODY_SECONDS:g} s.") from None
        finally:
            self._under_way -= sum(map(len, parts[1:]))
        return b"".join(parts)

    def _count(self, parts: list[bytes]) -> None:
        self._under_way += len(parts[-1])
        if sum(map(len, parts)) > self._most:
            raise _too_large(self._most)
        if self._under_way > BODIES * self._most:
            raise Rejected("overload", "Too many large bodies are on their way. Try again after 1 s.", retry_after_s=1)


async def _next(receive: Receive) -> MutableMapping[str, Any]:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise Rejected("malformed", "The client left in the middle of its request.")
    return message


def _too_large(most: int) -> Rejected:
    return Rejected("too_large", f"The body is larger than {most} bytes, which is the most this server takes.")
