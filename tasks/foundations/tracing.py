"""OpenTelemetry: spans of a release and of requests, sent to a collector over OTLP.

The SDK itself reads where to (`OTEL_EXPORTER_OTLP_ENDPOINT`, `..._HEADERS`, `OTEL_SERVICE_NAME`; specification of the
OTLP exporter). Here it is only opened, and only for whoever asks: without it nothing is imported, nothing costs time.
"""

from typing import Any

from tasks.foundations.errors import InputError


class Traces:
    """An open exporter.

    Attributes:
        tracer: OpenTelemetry's tracer.
    """

    def __init__(self, service: str) -> None:
        """Open it; nothing is connected yet, and a collector that is away costs spans only.

        Raises:
            InputError: the packages are not installed.
        """
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        except ImportError as error:
            raise InputError(
                f"OTEL_EXPORTER_OTLP_ENDPOINT is set, and {error.name} is not installed. Install Slipway with its "
                "extra `otel`, or unset the variable."
            ) from error
        # OTEL_SERVICE_NAME, where it is set, wins inside `create`.
        self._provider = TracerProvider(resource=Resource.create({"service.name": service}), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self.tracer = self._provider.get_tracer("slipway")

    def close(self) -> None:
        """Send what is left, for a few seconds at most."""
        self._provider.shutdown()


def parent_of(traceparent: str | None) -> Any:
    """The context that a W3C `traceparent` header names, None for a trace that begins here."""
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract({"traceparent": traceparent}) if traceparent else None
