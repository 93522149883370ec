"""What running TensorFlow Serving processes say over their gRPC port: what they have loaded and what requests get.

`GetModelStatus` knows the state of every version, but nothing of labels; which version a request gets, by label or
without one, is what `GetModelMetadata` answers. Requests are plain text, as the server's port is by default.

Nothing here imports TensorFlow (see `_tf_serving_protos`), and gRPC only when a server is really asked.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tasks.bundle.warmup import SIGNATURE_NAME
from tasks.foundations.record import Record
from tasks.serving._tf_serving_protos import protos
from tasks.serving.tf_serving_tensors import to_array, to_proto

Array = np.ndarray[Any, Any]

CALL_SECONDS = 5.0
PAUSE_SECONDS = 0.05
_NOBODY = ("NOT_FOUND", "INVALID_ARGUMENT", "FAILED_PRECONDITION")  # no such model, version or label


class State(Record):
    """What a server says about one version.

    Attributes:
        state: START, LOADING, AVAILABLE, UNLOADING or END.
        code: of the error that its load ended with, OK for none.
        message: of that error.
    """

    state: str
    code: str
    message: str

    def __str__(self) -> str:
        return self.state if self.code == "OK" else f"{self.state}, {self.code}: {self.message}"


class CallFailed(Exception):
    """A server did not answer, or answered with an error; the message says with which."""


class LoadFailed(Exception):
    """A server has given up loading a version; the message says why."""


class Server:
    """A client of one TensorFlow Serving process."""

    def __init__(self, address: str) -> None:
        import grpc

        self.address = address
        options = [
            ("grpc.max_receive_message_length", -1),
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 1000),
        ]
        self.channel = grpc.insecure_channel(address, options=options)
        self._protos = protos()
        self._models = self._protos.model_service_pb2_grpc.ModelServiceStub(self.channel)
        self._predictions = self._protos.prediction_service_pb2_grpc.PredictionServiceStub(self.channel)

    def state(self, model: str, version: int) -> State | None:
        """The state of a version, None if the server has never heard of it.

        Raises:
            CallFailed: no answer.
        """
        statuses = self._protos.get_model_status_pb2
        request = statuses.GetModelStatusRequest()
        request.model_spec.name = model
        request.model_spec.version.value = version
        answer = self._ask(self._models.GetModelStatus, request)
        if answer is None:
            return None
        (said,) = answer.model_version_status
        return State(
            state=statuses.ModelVersionStatus.State.Name(said.state),
            code=self._protos.error_codes_pb2.Code.Name(said.status.error_code),
            message=said.status.error_message,
        )

    def answering(self, model: str, label: str = "") -> int | None:
        """The version that requests with this label, or without one, get; None if they get none.

        Raises:
            CallFailed: no answer.
        """
        request = self._protos.get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        _name(request.model_spec, model, label)
        answer = self._ask(self._predictions.GetModelMetadata, request)
        return None if answer is None else int(answer.model_spec.version.value)

    def predict(self, model: str, label: str, feeds: dict[str, Array]) -> dict[str, Array]:
        """Run a model.

        Raises:
            CallFailed: no answer, or an error.
        """
        import grpc

        request = self._protos.predict_pb2.PredictRequest()
        _name(request.model_spec, model, label)
        request.model_spec.signature_name = SIGNATURE_NAME
        try:
            for name, values in feeds.items():
                request.inputs[name].CopyFrom(to_proto(values))
            answer = self._predictions.Predict(request, timeout=CALL_SECONDS)
            return {name: to_array(values) for name, values in answer.outputs.items()}
        except grpc.RpcError as error:
            raise CallFailed(f"Predict fails with {error.code().name}: {error.details()}") from error
        except ValueError as error:
            raise CallFailed(f"Predict is not possible: {error}") from error

    def _ask(self, method: Callable[..., Any], request: Any) -> Any:
        import grpc

        try:
            return method(request, timeout=CALL_SECONDS)
        except grpc.RpcError as error:
            if error.code().name in _NOBODY:
                return None
            raise CallFailed(f"it does not answer ({error.code().name}: {error.details()})") from error


def _name(spec: Any, model: str, label: str) -> None:
    spec.name = model
    if label:  # an empty one would be looked up too
        spec.version_label = label


@contextmanager
def connected(addresses: tuple[str, ...]) -> Iterator[list[Server]]:
    """Clients of servers, closed at the end."""
    servers = [Server(address) for address in addresses]
    try:
        yield servers
    finally:
        for server in servers:
            server.channel.close()


@dataclass
class Loading:
    """Asks whether a version is loaded, and does not take what a server still says of an earlier attempt for an answer.

    Attributes:
        model, version: what is asked for.
        patience_s: a server remembers how a version ended until it loads it again, so only an error that stays for
            this long counts.
        doubt_s: a version that was in use before may still be there and about to go, so one that was loaded from the
            first question on must stay for this long. 0 where it was to stay anyway.
    """

    model: str
    version: int
    patience_s: float
    doubt_s: float = 0.0
    _failed_since: dict[str, float] = field(default_factory=dict)
    _loaded_since: dict[str, float] = field(default_factory=dict)
    _came: set[str] = field(default_factory=set)

    def __call__(self, server: Server) -> str | None:
        """None if it is loaded, else what the server says.

        Raises:
            LoadFailed: loading has ended with an error.
            CallFailed: no answer.
        """
        state, now = server.state(self.model, self.version), time.monotonic()
        if state is not None and state.state == "AVAILABLE":
            since = self._loaded_since.setdefault(server.address, now)
            doubtful = server.address not in self._came and now - since < self.doubt_s
            return "it says AVAILABLE, as it did before" if doubtful else None
        self._came.add(server.address)
        if state is None or state.state != "END" or state.code == "OK":
            self._failed_since.pop(server.address, None)
            return f"it says {state}" if state else f"it does not know version {self.version} of {self.model}"
        if now - self._failed_since.setdefault(server.address, now) >= self.patience_s:
            raise LoadFailed(f"it says {state}")
        return f"it says {state}"


@dataclass
class Waited:
    """How waiting for several servers ended: address -> milliseconds until yes, or what it said instead."""

    ms: dict[str, float] = field(default_factory=dict)
    no: dict[str, str] = field(default_factory=dict)

    def complaint(self) -> str:
        """What the servers said that did not say yes."""
        return "; ".join(f"{address}: {said}" for address, said in self.no.items())


def wait(servers: list[Server], ask: Callable[[Server], str | None], limit_s: float) -> Waited:
    """Ask every server again and again until each has said yes, or has failed for good, or the time is over.

    Args:
        servers: whom to ask.
        ask: None for yes, else what the server says; may raise `CallFailed` (ask again) and `LoadFailed` (give up).
        limit_s: how long.
    """
    begun, waited, pending = time.monotonic(), Waited(), list(servers)
    while pending:
        for server in tuple(pending):
            try:
                said = ask(server)
            except CallFailed as error:
                said = str(error)
            except LoadFailed as error:
                waited.no[server.address] = str(error)
                pending.remove(server)
                continue
            if said is None:
                waited.ms[server.address] = (time.monotonic() - begun) * 1000
                waited.no.pop(server.address, None)
                pending.remove(server)
            else:
                waited.no[server.address] = said
        if not pending or time.monotonic() - begun >= limit_s:
            break
        time.sleep(PAUSE_SECONDS)
    return waited
