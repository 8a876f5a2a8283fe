"""Whether spans are exported, and the message when what that needs is not installed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewayx.config import ConfigError, Fault
from gatewayx.config.tracing import TracingConfig

if TYPE_CHECKING:
    from gatewayx.tracing import SpanExport


def open_spans(tracing: TracingConfig, workers: int) -> SpanExport | None:
    """Start the export that `tracing` asks for, on the running loop; `None` when it asks for none.

    Raises:
        ConfigError: When OpenTelemetry is not installed.
    """
    if not tracing.enabled or tracing.otlp_endpoint is None:
        return None
    try:
        from gatewayx.tracing import SpanExport
    except ImportError:
        message = "needs OpenTelemetry: pip install 'gatewayx[otlp]'"
        raise ConfigError([Fault("tracing.otlp_endpoint", message)]) from None
    export = SpanExport(tracing, workers)
    export.start()
    return export
