"""Spans on their way out: from the workers' pipes to a collector. Imported only where needed."""

from gatewayx.tracing.exporter import SpanExport

__all__ = ["SpanExport"]
