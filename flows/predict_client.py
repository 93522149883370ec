"""A client of the Open Inference Protocol over REST, on the standard library alone: a serving node has little more.

One connection is kept. Tensors go as they lie in memory (the protocol's binary extension): a number is neither
rounded nor written out. Asking twice changes nothing on a server, so a connection that was closed between two requests
is opened again, and a server that has no room is asked again when it says so.
"""

import http.client
import json
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

import numpy as np

from tasks.foundations.errors import InputError, SlipwayError
from tasks.models.signature import TensorSpec
from tasks.serving import oip_wire

Array = np.ndarray[Any, Any]
TRIES = 6
LONGEST_WAIT_S = 10.0


class NoServer(SlipwayError):
    """Nobody answers at an address."""


@dataclass(frozen=True)
class Served:
    """What a server says of a model.

    Attributes:
        inputs: its inputs by name.
        outputs: names of its outputs.
    """

    inputs: dict[str, TensorSpec]
    outputs: list[str]


@dataclass(frozen=True)
class Outputs:
    """The answer to one request.

    Attributes:
        version: of the model that answered.
        arrays: output -> (rows, ...).
    """

    version: str
    arrays: dict[str, Array]


class Client:
    """One server, one connection; `timeout_s` is for one question with all its repetitions."""

    def __init__(self, url: str, timeout_s: float) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InputError(f"{url!r} is no address of a server. Expected one like http://127.0.0.1:8080.")
        try:
            port = parts.port
        except ValueError as error:
            raise InputError(f"{url!r} is no address of a server: {error}.") from error
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self.url = url.rstrip("/")
        self._connection = kind(parts.hostname, port, timeout=timeout_s)
        self._prefix = parts.path.rstrip("/")
        self._timeout_s = timeout_s

    def close(self) -> None:
        """Let the server have its connection back."""
        self._connection.close()

    def labelled(self, model: str, label: str) -> int:
        """The version that bears a label now; TensorFlow Serving's REST tells, the other protocol knows no labels.

        Raises:
            As `served`.
        """
        body, _ = self._ask("GET", f"/v1/models/{quote(model, safe='')}/labels/{quote(label, safe='')}")
        try:
            return int(json.loads(body)["model_version_status"][0]["version"])
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise SlipwayError(f"{self.url} does not say which version {label} is: {_start(body)!r}.") from error

    def served(self, model: str, version: int | None) -> Served:
        """Names, dtypes and shapes of a model.

        Raises:
            NoServer: nobody answers.
            InputError: the server has no such model or version.
            SlipwayError: it has it, but cannot answer, or speaks another protocol.
        """
        body, _ = self._ask("GET", _place(model, version))
        try:
            content = json.loads(body)
            inputs = {each["name"]: _spec(each) for each in content["inputs"]}
            return Served(inputs, [each["name"] for each in content["outputs"]])
        except (ValueError, KeyError, TypeError) as error:
            raise SlipwayError(f"{self.url} does not speak the Open Inference Protocol: {_start(body)!r}.") from error

    def infer(self, model: str, version: int | None, feeds: Mapping[str, Array]) -> Outputs:
        """Outputs of a model for one batch.

        Raises:
            NoServer: nobody answers.
            InputError: the server refuses the request.
            SlipwayError: it cannot answer it.
        """
        content, headers = oip_wire.request(feeds)
        body, length = self._ask("POST", f"{_place(model, version)}/infer", content, headers)
        try:
            return Outputs(*oip_wire.answer(body, length))
        except (ValueError, KeyError, TypeError, struct.error) as error:
            raise SlipwayError(f"{self.url} gave an answer that cannot be read ({error}): {_start(body)!r}.") from error

    def _ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[bytes, str | None]:
        """The body of a good answer, and the length of its JSON where tensors follow."""
        end = time.monotonic() + self._timeout_s
        for left in reversed(range(TRIES)):
            response = self._send(method, self._prefix + path, body, dict(headers or {}), end)
            content = self._read(response)
            wait = response.getheader("Retry-After", "")
            again = response.status == 503 and wait.isdecimal() and left
            if not again or time.monotonic() + int(wait) > end:
                break
            time.sleep(min(int(wait), LONGEST_WAIT_S))
        if response.status != 200:
            raise self._refusal(response.status, content)
        return content, response.getheader(oip_wire.HEADER_LENGTH)

    def _send(
        self, method: str, path: str, body: bytes | None, headers: dict[str, str], end: float
    ) -> http.client.HTTPResponse:
        kept = self._connection.sock is not None
        try:
            self._limit(end)
            self._connection.request(method, path, body, headers)
            return self._connection.getresponse()
        except TimeoutError as error:
            self._connection.close()
            raise self._silent() from error
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            if kept:  # closed by the server since the last answer
                return self._send(method, path, body, headers, end)
            raise NoServer(f"{self.url} does not answer: {_reason(error)}") from error

    def _read(self, response: http.client.HTTPResponse) -> bytes:
        try:
            return response.read()
        except TimeoutError as error:
            raise self._silent() from error
        except (OSError, http.client.HTTPException) as error:
            raise SlipwayError(f"{self.url} broke off in the middle of an answer: {_reason(error)}.") from error

    def _limit(self, end: float) -> None:
        left = max(end - time.monotonic(), 0.001)
        self._connection.timeout = left
        if self._connection.sock is not None:
            self._connection.sock.settimeout(left)

    def _silent(self) -> SlipwayError:
        return SlipwayError(
            f"{self.url} has not answered within {self._timeout_s:g} s. Allow more with --timeout-s, or ask for fewer "
            "rows at once with --batch-size."
        )

    def _refusal(self, status: int, content: bytes) -> SlipwayError:
        try:
            sentence = str(json.loads(content)["error"])
        except (ValueError, KeyError, TypeError):
            sentence = _start(content) or http.client.responses.get(status, "no reason given")
        advice = {413: " Ask for fewer rows at once with --batch-size.", 503: " Try again later."}.get(status, "")
        kind = InputError if 400 <= status < 500 else SlipwayError
        return kind(f"{self.url} answers {status}: {sentence.rstrip('.')}.{advice}")


def _place(model: str, version: int | None) -> str:
    path = f"/v2/models/{quote(model, safe='')}"
    return path if version is None else f"{path}/versions/{version}"


def _spec(tensor: dict[str, Any]) -> TensorSpec:
    sizes = tuple(int(size) if int(size) >= 0 else None for size in tensor["shape"])
    return TensorSpec(dtype=oip_wire.DATATYPES[tensor["datatype"]], shape=(None, *sizes[1:]))


def _reason(error: Exception) -> str:
    text = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return text or type(error).__name__


def _start(body: bytes) -> str:
    return body[:200].decode("utf-8", "replace").strip()
