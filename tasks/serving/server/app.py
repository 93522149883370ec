"""The public port as an ASGI application: predictions on a short path of their own, everything else by Starlette.

Errors have one form, `{"error": sentence}`, in both protocols. No request's content is logged.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import orjson

from tasks.serving.server import oip, tfserving_rest
from tasks.serving.server.bodies import Bodies, Receive, check_size
from tasks.serving.server.host import Host
from tasks.serving.server.hosted import Hosted
from tasks.serving.server.line import Line
from tasks.serving.server.pages import pages
from tasks.serving.server.paths import OIP, Call, parse, parse_target
from tasks.serving.server.protocol import CAME, Done, Header
from tasks.serving.server.rejected import Rejected
from tasks.serving.server.resident import Resident
from tasks.serving.server.tensors import Array
from tasks.serving.server.traces import Asked

Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

LARGE_BYTES = 2**20
"""Larger bodies are decoded in a thread, one at a time: JSON takes up to 24 times its size while it is read."""
MOST_JSON_NUMBERS = 2**20
"""Of one answer; more must be asked for as bytes."""
log = logging.getLogger(__name__)
JSON_TYPE: Header = (b"content-type", b"application/json")
HEAD = b"inference-header-content-length"


class App:
    """See the module."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._pages = pages(host)
        self._bodies = Bodies(host.settings.max_body_bytes)
        self._decoder = ThreadPoolExecutor(1, "decode")
        self.recognise = parse_target

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        call = parse(scope["path"]) if scope["type"] == "http" else None
        if call is None:
            await self._pages(scope, receive, send)
        elif scope["method"] != "POST":
            await _send(send, 405, orjson.dumps({"error": "A prediction is a POST."}), [JSON_TYPE, (b"allow", b"POST")])
        else:
            await _send(send, *await self._predict(call, scope, receive))

    def begin(self, call: Call, headers: list[Header], body: bytes, came: float, done: Done) -> None:
        """Answer a prediction whose whole body is there; neither a task nor a message is made for it.

        Args:
            call: what the path asks for.
            headers: of the request, names in lower case.
            body: short enough to be decoded here.
            came: when its last byte did, `time.monotonic()` seconds.
            done: called once with status, body and headers, now or on a later turn of the event loop.
        """
        prediction = _Prediction(self._host, call, dict(headers), came, done)
        try:
            check_size(len(body), self._bodies.most(prediction.is_binary))
            prediction.find_model()
            prediction.decode(body)
            prediction.ask()
        except Rejected as no:
            prediction.refuse(no)
        except Exception as error:  # noqa: BLE001 - the client waits for an answer, whatever this is
            prediction.fail(error)

    async def _predict(self, call: Call, scope: Scope, receive: Receive) -> tuple[int, bytes, list[Header]]:
        """As `begin`, for a body that is still on its way, or large."""
        answer: asyncio.Future[tuple[int, bytes, list[Header]]] = asyncio.get_running_loop().create_future()
        headers: dict[bytes, bytes] = dict(scope["headers"])
        came = scope.get("state", {}).get(CAME)
        prediction = _Prediction(self._host, call, headers, came, lambda *told: answer.set_result(told))
        try:
            self._host.hosted(call.model)
            size = headers.get(b"content-length", b"")
            async with self._bodies.read(size, prediction.is_binary, receive) as body:
                prediction.came = scope.get("state", {}).get(CAME) or time.monotonic()
                resident = prediction.find_model()
                with resident.held():
                    await self._decode(prediction, body)
                    prediction.ask()
                return await answer
        except Rejected as no:
            prediction.refuse(no)
        except Exception as error:  # noqa: BLE001 - as in `begin`
            prediction.fail(error)
        return await answer

    async def _decode(self, prediction: "_Prediction", body: bytes) -> None:
        if len(body) <= LARGE_BYTES:
            prediction.decode(body)
        else:
            await asyncio.get_running_loop().run_in_executor(self._decoder, prediction.decode, body)


class _Prediction:
    """One request, from its path to its answer, which is given once."""

    __slots__ = ("_asked", "_call", "_deadline", "_done", "_headers", "_host", "_line", "_model", "_resident", "came")
    _asked: "oip.Infer | tfserving_rest.Predict"
    _deadline: float
    _line: Line
    _resident: Resident

    def __init__(self, host: Host, call: Call, headers: dict[bytes, bytes], came: float | None, done: Done) -> None:
        self._host = host
        self._call = call
        self._headers = headers
        self._done = done
        self._model: Hosted | None = host.models.get(call.model)
        self.came = came or time.monotonic()

    @property
    def is_binary(self) -> bool:
        """Whether its body says that it has tensors as bytes."""
        return HEAD in self._headers

    def find_model(self) -> Resident:
        """The version that will answer, if the request may wait for it.

        Raises:
            Rejected: there is none, or the line is too long.
        """
        if self._headers.get(b"content-encoding", b"identity").lower() != b"identity":
            raise Rejected("malformed", "The body is packed (Content-Encoding); send it as it is.")
        self._model = model = self._host.hosted(self._call.model)
        self._deadline = self.came + model.served.deadline_ms / 1000
        self._resident = model.pick(self._call.version, self._call.label)
        self._line = model.line
        self._line.check_room(self._deadline)
        return self._resident

    def decode(self, body: bytes) -> None:
        """Read what is asked; may run in a thread.

        Raises:
            Rejected: the body is not what the model takes.
        """
        signature, most = self._resident.signature, self._host.settings.max_elements
        if self._call.protocol == OIP:
            self._asked = oip.decode(body, self._headers.get(HEAD), signature, most)
        else:
            self._asked = tfserving_rest.decode(body, signature, most)

    def ask(self) -> None:
        """Put it in the line.

        Raises:
            Rejected: the line is too long.
        """
        self._line.put(self._resident, self._asked.feeds, self._deadline, self._told)

    def refuse(self, no: Rejected) -> None:
        """Answer that there is no answer."""
        if self._model is not None:
            self._model.metrics.rejected(no.reason)
        self._answer(*refusal(no))

    def fail(self, error: Exception) -> None:
        """Answer that something went wrong which nobody foresaw; what it was stays in the log."""
        log.error("a prediction failed", exc_info=error)
        self.refuse(Rejected("model", f"The server failed: {type(error).__name__}."))

    def _told(self, given: "dict[str, Array] | Rejected") -> None:
        if isinstance(given, Rejected):
            self.refuse(given)
            return
        try:
            body, headers = self._encode(given)
        except Rejected as no:
            self.refuse(no)
        except Exception as error:  # noqa: BLE001 - as in `begin`
            self.fail(error)
        else:
            self._answer(200, body, headers)

    def _encode(self, outputs: dict[str, Array]) -> tuple[bytes, list[Header]]:
        in_json = 0
        for name, values in outputs.items():
            if not _is_binary(self._asked, name):
                in_json += values.size
        if in_json > MOST_JSON_NUMBERS:
            raise Rejected(
                "too_large",
                f"The answer has {in_json} numbers; at most {MOST_JSON_NUMBERS} can be written in JSON. Ask for fewer "
                "rows, or for binary outputs (`binary_data_output`).",
            )
        if isinstance(self._asked, oip.Infer):
            return oip.encode(self._asked, self._call.model, self._resident.version, outputs)
        return tfserving_rest.encode(self._asked, outputs), [JSON_TYPE]

    def _answer(self, status: int, body: bytes, headers: list[Header]) -> None:
        """With a farewell while the process ends."""
        if self._host.draining:
            headers.append((b"connection", b"close"))
        self._done(status, body, headers)
        if self._model is not None:
            seconds = time.monotonic() - self.came
            self._model.metrics.answered(self._call.protocol, status, seconds)
            if self._host.traces is not None:
                self._host.traces.answered(self._span(), status, seconds)

    def _span(self) -> Asked:
        resident = getattr(self, "_resident", None)  # there from `find_model` on
        version = resident.version if resident is not None else None
        return Asked(self._call.model, self._call.protocol, version, self._headers.get(b"traceparent"))


def _is_binary(asked: "oip.Infer | tfserving_rest.Predict", output: str) -> bool:
    """Whether an output needs not be written in JSON: as bytes, or not at all."""
    return isinstance(asked, oip.Infer) and asked.outputs.get(output, True)


async def _send(send: Send, status: int, body: bytes, headers: list[Header]) -> None:
    headers.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def refusal(no: Rejected) -> tuple[int, bytes, list[Header]]:
    """Status, body and headers of a request that is not answered."""
    headers = [JSON_TYPE]
    if no.retry_after_s is not None:
        headers.append((b"retry-after", str(no.retry_after_s).encode()))
    if no.reason in ("too_large", "deadline"):  # the rest of the body may still be on its way
        headers.append((b"connection", b"close"))
    return no.status, orjson.dumps({"error": no.message}), headers
