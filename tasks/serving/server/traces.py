"""A span for every request, made when it is answered: until then it costs nothing, and then a few microseconds."""

import time
from typing import NamedTuple

from tasks.foundations.tracing import Traces, parent_of


class Asked(NamedTuple):
    """A request.

    Attributes:
        model: that was asked.
        protocol: by which it was asked.
        version: that answered, or would have; None where it is not known.
        traceparent: the client's header.
    """

    model: str
    protocol: str
    version: int | None
    traceparent: bytes | None


class RequestTraces:
    """Spans `infer <model>` of one process; below the client's own span where it sends `traceparent`."""

    def __init__(self) -> None:
        """Open the exporter.

        Raises:
            InputError: OpenTelemetry is not installed.
        """
        self._traces = Traces("slipway-serve")
        from opentelemetry.trace import SpanKind

        self._kind = SpanKind.SERVER

    def answered(self, asked: Asked, status: int, seconds: float) -> None:
        """One request.

        Args:
            asked: what it was.
            status: of the answer, as in HTTP.
            seconds: from its last byte to its answer.
        """
        from opentelemetry.trace import Status, StatusCode

        end = time.time_ns()
        span = self._traces.tracer.start_span(
            f"infer {asked.model}",
            context=parent_of(asked.traceparent.decode("latin-1") if asked.traceparent else None),
            kind=self._kind,
            start_time=end - int(seconds * 1e9),
            attributes={
                "slipway.model": asked.model,
                "slipway.protocol": asked.protocol,
                "http.response.status_code": status,
                **({"slipway.version": asked.version} if asked.version is not None else {}),
            },
        )
        if status >= 500:
            span.set_status(Status(StatusCode.ERROR))
        span.end(end)

    def close(self) -> None:
        """Send what is left."""
        self._traces.close()
