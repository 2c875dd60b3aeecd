"""Spans to an OpenTelemetry collector by OTLP over HTTP. Imported where traces are asked for, and only there.

The packages are those of the extra `tracing`. Headers, certificates and compression are the library's own
settings (`OTEL_EXPORTER_OTLP_HEADERS`, …), attributes of the process `OTEL_RESOURCE_ATTRIBUTES`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from importlib.metadata import version
from urllib.parse import urlsplit

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from dispatcher.core.span import Context, Span

TIMEOUT_SECONDS = 3.0
_KINDS = {"fire": SpanKind.PRODUCER, "run": SpanKind.CONSUMER}
_PATH = "/v1/traces"


class OtlpExporter:
    """Sends spans to `endpoint`, an `http://host:4318`; `service` and `instance` say whose they are."""

    def __init__(self, endpoint: str, service: str, instance: str) -> None:
        told = version("kafka-cron-dispatcher")
        self._resource = Resource.create(
            {"service.name": service, "service.instance.id": instance, "service.version": told}
        )
        self._scope = InstrumentationScope("dispatcher", told)
        self._exporter = OTLPSpanExporter(_with_path(endpoint), timeout=TIMEOUT_SECONDS)

    def send(self, spans: Sequence[Span]) -> str | None:
        """Send spans; return why that failed, None when it did not."""
        done = self._exporter.export([self._readable(span) for span in spans])
        return None if done is SpanExportResult.SUCCESS else "the collector did not take them"

    def close(self) -> None:
        """Have a sending that waits give up, and send nothing more."""
        with contextlib.suppress(Exception):
            self._exporter.shutdown()  # type: ignore[no-untyped-call]  # the library types it not

    def _readable(self, span: Span) -> ReadableSpan:
        return ReadableSpan(
            span.name,
            context=_context(span.context, remote=False),
            parent=None if span.parent is None else _context(span.parent, remote=True),
            resource=self._resource,
            attributes=span.attributes,
            kind=_KINDS[span.name],
            status=Status(StatusCode.UNSET if span.error is None else StatusCode.ERROR, span.error),
            start_time=span.start * 1_000_000,
            end_time=span.end * 1_000_000,
            instrumentation_scope=self._scope,
        )


def _context(context: Context, *, remote: bool) -> SpanContext:
    return SpanContext(*context, is_remote=remote, trace_flags=TraceFlags(TraceFlags.SAMPLED))


def _with_path(endpoint: str) -> str:
    """Return the address for traces: that of a collector alone gets the path that the protocol names."""
    return endpoint if urlsplit(endpoint).path.strip("/") else endpoint.rstrip("/") + _PATH
