"""What runs under `otlp_endpoint`: a tracer, beside the dispatcher or worker, for as long as that runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from dispatcher.errors import InvalidSettings
from dispatcher.observe.tracing import Exporter, Tracer
from dispatcher.service import Deadline
from dispatcher.settings import Settings

_SECONDS = 2.0


@contextmanager
def traces(settings: Settings, service: str) -> Iterator[Tracer | None]:
    """Run a tracer within the block; None when no traces are asked for."""
    if settings.otlp_endpoint is None:
        yield None
        return
    exporter = _exporter(settings.otlp_endpoint, service, settings.instance)
    tracer = Tracer(exporter, settings.instance, share=settings.otlp_share)
    tracer.start()
    try:
        yield tracer
    finally:
        tracer.stop()
        tracer.join(Deadline(_SECONDS))


def _exporter(endpoint: str, service: str, instance: str) -> Exporter:
    """Return what sends spans. The packages it needs are slow to import, and not everybody's."""
    try:
        from dispatcher.observe.otlp import OtlpExporter  # noqa: PLC0415 - only where traces are asked for
    except ImportError as error:
        raise InvalidSettings(
            f"otlp_endpoint is set, and traces cannot be sent: {error}; "
            "install the extra: pip install 'kafka-cron-dispatcher[tracing]', or leave otlp_endpoint out"
        ) from error
    return OtlpExporter(endpoint, service, instance)
