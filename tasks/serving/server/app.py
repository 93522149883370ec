"""The public port as an ASGI application: predictions on a short path of their own, everything else by Starlette.

Errors have one form, `{"error": sentence}`, in both protocols. No request's content is logged.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import orjson

from tasks.serving.server import oip, tfserving_rest
from tasks.serving.server.host import Host
from tasks.serving.server.hosted import Hosted
from tasks.serving.server.pages import pages
from tasks.serving.server.protocol import CAME
from tasks.serving.server.rejected import Rejected
from tasks.serving.server.resident import Resident
from tasks.serving.server.tensors import Array

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Header = tuple[bytes, bytes]
Answer = tuple[bytes, list[Header]]
Done = Callable[[int, bytes, list[Header]], None]

BODY_SECONDS = 30.0
LARGE_BYTES = 2**20
"""Larger bodies are decoded in a thread, one at a time: JSON takes up to 24 times its size while it is read."""
MOST_JSON_BYTES = 16 * 2**20
"""Larger tensors must come as bytes: JSON is read by one thread that nothing else can run beside."""
MOST_JSON_NUMBERS = 2**20
"""Of one answer; more must be asked for as bytes."""
BODIES = 4
"""So many of the largest bodies may be on their way at once; the next ones are told to wait."""
log = logging.getLogger(__name__)
JSON_TYPE: Header = (b"content-type", b"application/json")
HEAD = b"inference-header-content-length"
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


@dataclass(frozen=True, slots=True)
class _Question:
    """A prediction whose model is known.

    Attributes:
        call: what the path asks for.
        model: the model.
        resident: the version that answers.
        deadline: `time.monotonic()` seconds.
        head: length of the JSON before binary tensors, as the client wrote it.
        most: elements of all tensors.
    """

    call: Call
    model: Hosted
    resident: Resident
    deadline: float
    head: bytes | None
    most: int

    def decode(self, body: bytes) -> "oip.Infer | tfserving_rest.Predict":
        if self.call.protocol == OIP:
            return oip.decode(body, self.head, self.resident.signature, self.most)
        return tfserving_rest.decode(body, self.resident.signature, self.most)

    def encode(self, asked: "oip.Infer | tfserving_rest.Predict", outputs: dict[str, Array]) -> Answer:
        in_json = sum(values.size for name, values in outputs.items() if not _is_binary(asked, name))
        if in_json > MOST_JSON_NUMBERS:
            raise Rejected(
                "too_large",
                f"The answer has {in_json} numbers; at most {MOST_JSON_NUMBERS} can be written in JSON. Ask for fewer "
                "rows, or for binary outputs (`binary_data_output`).",
            )
        if isinstance(asked, oip.Infer):
            return oip.encode(asked, self.model.name, self.resident.version, outputs)
        return tfserving_rest.encode(asked, outputs), [JSON_TYPE]


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
        elif scope["method"] != "POST":
            await _send(send, 405, orjson.dumps({"error": "A prediction is a POST."}), [JSON_TYPE, (b"allow", b"POST")])
        else:
            await _send(send, *await self._predict(call, scope, receive))

    def begin(self, scope: Scope, body: bytes, done: Done) -> bool:
        """Answer a prediction whose whole body is there; neither a task nor a message is made for it.

        Args:
            scope: of the request.
            body: at most `LARGE_BYTES`.
            done: called once with status, body and headers, now or on a later turn of the event loop.

        Returns:
            False, and nothing is done, if it is no prediction.
        """
        call = parse(scope["path"]) if scope["method"] == "POST" else None
        if call is None:
            return False
        done = self._counted(call, scope, done)
        try:
            question = self._question(call, scope)
            self._ask(question, question.decode(body), done)
        except Rejected as no:
            self._refuse(call, no, done)
        except Exception as error:  # the client waits for an answer, whatever this is
            log.exception("a request to %s could not be answered", call.protocol)
            self._refuse(call, Rejected("model", f"The server failed: {type(error).__name__}."), done)
        return True

    async def _predict(self, call: Call, scope: Scope, receive: Receive) -> tuple[int, bytes, list[Header]]:
        """As `begin`, for a body that is still on its way, or large."""
        answer: asyncio.Future[tuple[int, bytes, list[Header]]] = asyncio.get_running_loop().create_future()
        done = self._counted(call, scope, lambda *told: answer.set_result(told))
        try:
            self._host.hosted(call.model)
            async with self._bodies.read(dict(scope["headers"]), receive) as body:
                question = self._question(call, scope)
                with question.resident.held():
                    self._ask(question, await self._decode(question, body), done)
                return await answer
        except Rejected as no:
            self._refuse(call, no, done)
        return await answer

    def _question(self, call: Call, scope: Scope) -> _Question:
        headers = dict(scope["headers"])
        if headers.get(b"content-encoding", b"identity").lower() != b"identity":
            raise Rejected("malformed", "The body is packed (Content-Encoding); send it as it is.")
        model = self._host.hosted(call.model)
        deadline = _came(scope) + model.served.deadline_ms / 1000
        resident = model.pick(call.version, call.label)
        model.line.check_room(deadline)
        head = headers.get(HEAD)
        return _Question(call, model, resident, deadline, head, self._host.settings.max_elements)

    def _ask(self, question: _Question, asked: "oip.Infer | tfserving_rest.Predict", done: Done) -> None:
        def told(given: "dict[str, Array] | Rejected") -> None:
            try:
                if isinstance(given, Rejected):
                    raise given
                body, headers = question.encode(asked, given)
            except Rejected as no:
                self._refuse(question.call, no, done)
            except Exception as error:  # noqa: BLE001 - the client waits for an answer, whatever this is
                failed = Rejected("model", f"The answer could not be written: {type(error).__name__}.")
                self._refuse(question.call, failed, done)
            else:
                done(200, body, headers)

        question.model.line.put(question.resident, asked.feeds, question.deadline, told)

    async def _decode(self, question: _Question, body: bytes) -> "oip.Infer | tfserving_rest.Predict":
        if len(body) <= LARGE_BYTES:
            return question.decode(body)
        return await asyncio.get_running_loop().run_in_executor(self._decoder, question.decode, body)

    def _refuse(self, call: Call, no: Rejected, done: Done) -> None:
        model = self._host.models.get(call.model)
        if model is not None:
            model.metrics.rejected(no.reason)
        done(*refusal(no))

    def _counted(self, call: Call, scope: Scope, done: Done) -> Done:
        """The answer, counted, and with a farewell while the process ends."""
        begin, model = _came(scope), self._host.models.get(call.model)

        def counted(status: int, body: bytes, headers: list[Header]) -> None:
            if self._host.draining:
                headers.append((b"connection", b"close"))
            if model is not None:
                model.metrics.answered(call.protocol, status, time.monotonic() - begin)
            done(status, body, headers)

        return counted


def _is_binary(asked: "oip.Infer | tfserving_rest.Predict", output: str) -> bool:
    """Whether an output needs not be written in JSON: as bytes, or not at all."""
    return isinstance(asked, oip.Infer) and asked.outputs.get(output, True)


def _came(scope: Scope) -> float:
    came: float = scope.get("state", {}).get(CAME) or time.monotonic()
    return came


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
    """The bodies that are on their way or being worked on, all together no larger than `BODIES` of the largest."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held = 0

    @asynccontextmanager
    async def read(self, headers: dict[bytes, bytes], receive: Receive) -> AsyncIterator[bytes]:
        """One whole body, which counts until the block ends.

        Raises:
            Rejected: it is too large, does not come to its end in time, or too many large ones are here.
        """
        most = self._most if HEAD in headers else min(self._most, MOST_JSON_BYTES)
        size = headers.get(b"content-length", b"0")
        if size.isdigit() and int(size) > most:
            raise _too_large(most)
        parts: list[bytes] = []
        try:
            try:
                async with asyncio.timeout(BODY_SECONDS):
                    await self._collect(parts, most, receive)
            except TimeoutError:
                raise Rejected("deadline", f"The body did not come to its end within {BODY_SECONDS:g} s.") from None
            yield b"".join(parts)
        finally:
            self._held -= sum(map(len, parts))

    async def _collect(self, parts: list[bytes], most: int, receive: Receive) -> None:
        length, more = 0, True
        while more:
            message = await _next(receive)
            parts.append(message.get("body", b""))
            more = message.get("more_body", False)
            length += len(parts[-1])
            self._held += len(parts[-1])
            if length > most:
                raise _too_large(most)
            if self._held > BODIES * self._most:
                raise Rejected("overload", "Too many large bodies are here. Try again after 1 s.", retry_after_s=1)


async def _next(receive: Receive) -> MutableMapping[str, Any]:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise Rejected("malformed", "The client left in the middle of its request.")
    return message


def _too_large(most: int) -> Rejected:
    return Rejected("too_large", f"The body is larger than {most} bytes, which is the most this server takes.")
