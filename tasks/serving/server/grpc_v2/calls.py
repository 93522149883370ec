"""The six calls of the protocol, between gRPC and a host's models. It imports gRPC: only `service.start` imports it."""

import logging
import time
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any

import grpc

from tasks.foundations.errors import InputError
from tasks.serving.server import oip
from tasks.serving.server.grpc_v2 import messages, open_inference_pb2, open_inference_pb2_grpc
from tasks.serving.server.rejected import Reason, Rejected
from tasks.serving.server.traces import Asked

if TYPE_CHECKING:
    from tasks.serving.server.host import Host
    from tasks.serving.server.hosted import Hosted
    from tasks.serving.server.resident import Resident

CODES: dict[Reason, grpc.StatusCode] = {
    "malformed": grpc.StatusCode.INVALID_ARGUMENT,
    "too_large": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "unknown": grpc.StatusCode.NOT_FOUND,
    "not_ready": grpc.StatusCode.UNAVAILABLE,
    "overload": grpc.StatusCode.UNAVAILABLE,
    "deadline": grpc.StatusCode.DEADLINE_EXCEEDED,
    "model": grpc.StatusCode.INTERNAL,
}
DETAILS_CHARS = 500
"""Of a status's sentence: it travels in a header, and clients refuse headers beyond 8 kB (12 bytes a character)."""

MOST_CALLS = 64
"""At once: each may hold a message of the largest size; more are answered RESOURCE_EXHAUSTED."""

log = logging.getLogger(__name__)


async def serve(host: "Host", address_host: str, port: int) -> tuple[Any, int]:
    """See `service.start`."""
    server = grpc.aio.server(
        maximum_concurrent_rpcs=MOST_CALLS,
        options=[
            ("grpc.max_receive_message_length", host.settings.max_body_bytes),
            ("grpc.max_send_message_length", -1),
            # gRPC's default is to share a port with whoever asks: a second server would silently take half of the
            # first one's clients. Only workers, which have a parent, are meant to.
            ("grpc.so_reuseport", int(host.settings.parent is not None)),
        ],
    )
    open_inference_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(Calls(host), server)
    address = f"[{address_host}]:{port}" if ":" in address_host else f"{address_host}:{port}"
    try:
        bound = server.add_insecure_port(address)
    except RuntimeError as error:
        raise InputError(
            f"Cannot listen on {address} for gRPC: the port is taken, or the address is none of this machine's. "
            "Choose another one."
        ) from error
    await server.start()
    return server, bound


class Calls(open_inference_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    """The service; its methods are named as the protocol names its calls."""

    def __init__(self, host: "Host") -> None:
        self._host = host

    async def ServerLive(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Whether the process answers at all."""
        return open_inference_pb2.ServerLiveResponse(live=True)

    async def ServerReady(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Whether every model that it should serve is in memory."""
        return open_inference_pb2.ServerReadyResponse(ready=self._host.ready)

    async def ModelReady(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Whether one model is in memory."""
        return await _answered(context, self._model_ready(request))

    async def ServerMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Name and version of the server."""
        told = oip.server_metadata()  # its extensions are of REST
        return open_inference_pb2.ServerMetadataResponse(name=told["name"], version=told["version"])

    async def ModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Inputs, outputs and versions of one model."""
        return await _answered(context, self._model_metadata(request))

    async def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802
        """One prediction."""
        return await _answered(context, self._counted(request, context.time_remaining(), _traceparent(context)))

    async def _model_ready(self, request: Any) -> Any:
        try:
            self._pick(request.name, request.version)
        except Rejected as no:
            if no.reason != "not_ready":
                raise
            return open_inference_pb2.ModelReadyResponse(ready=False)
        return open_inference_pb2.ModelReadyResponse(ready=True)

    async def _model_metadata(self, request: Any) -> Any:
        resident = self._pick(request.name, request.version)
        residents = sorted(self._host.hosted(request.name).residents)
        told = oip.model_metadata(request.name, residents, resident.signature)
        return open_inference_pb2.ModelMetadataResponse(**told)

    async def _counted(self, request: Any, remaining_s: float | None, traceparent: bytes | None) -> Any:
        began = time.monotonic()
        hosted = self._host.hosted(request.model_name)
        limit_s = hosted.served.deadline_ms / 1000
        try:
            answer = await self._infer(
                hosted, request, began + min(limit_s, limit_s if remaining_s is None else remaining_s)
            )
        except Rejected as no:
            hosted.metrics.rejected(no.reason)
            self._answered(hosted, no.status, began, Asked(request.model_name, "grpc", None, traceparent))
            raise
        version = int(answer.model_version)
        self._answered(hosted, 200, began, Asked(request.model_name, "grpc", version, traceparent))
        return answer

    def _answered(self, hosted: "Hosted", status: int, began: float, asked: Asked) -> None:
        seconds = time.monotonic() - began
        hosted.metrics.answered("grpc", status, seconds)
        if self._host.traces is not None:
            self._host.traces.answered(asked, status, seconds)

    async def _infer(self, hosted: "Hosted", request: Any, deadline: float) -> Any:
        """Nothing may be awaited between `pick` and `predict`: until then nobody knows that the version is in use."""
        resident = hosted.pick(messages.version_number(request.model_version))
        hosted.line.check_room(deadline)
        wanted = messages.wanted(request, resident.signature)
        feeds = messages.feeds(request, resident.signature, self._host.settings.max_elements)
        outputs = await hosted.predict(resident, feeds, deadline)
        return messages.response(request, resident.version, {name: outputs[name] for name in wanted})

    def _pick(self, model: str, version: str) -> "Resident":
        return self._host.hosted(model).pick(messages.version_number(version))


def _traceparent(context: Any) -> bytes | None:
    found = next((value for key, value in context.invocation_metadata() or () if key == "traceparent"), None)
    return found.encode("latin-1") if isinstance(found, str) else found


async def _answered(context: Any, answer: Awaitable[Any]) -> Any:
    """The answer, or the status that says why there is none."""
    try:
        return await answer
    except Rejected as no:
        code, details, retry_s = CODES[no.reason], no.message[:DETAILS_CHARS], no.retry_after_s
    except Exception:
        # gRPC itself would send the exception's text, whatever it holds, to the client.
        log.exception("A call over gRPC failed.")
        code, details, retry_s = grpc.StatusCode.INTERNAL, "The server failed; its log says how.", None
    trailing = () if retry_s is None else (("retry-pushback-ms", str(1000 * retry_s)),)
    return await context.abort(code, details, trailing)
