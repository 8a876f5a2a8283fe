"""Configuration: one model of everything configurable, the ways to it, the engine's form of it."""

from gatewayx.config.compile import compile_engine
from gatewayx.config.fault import ConfigError, Fault
from gatewayx.config.health import HealthCheckConfig
from gatewayx.config.load import for_upstream, load_file, override
from gatewayx.config.model import AdminConfig, GatewayConfig, ProxyConfig
from gatewayx.config.store import StoreConfig
from gatewayx.config.tls import Identity
from gatewayx.config.validate import validate

__all__ = [
    "AdminConfig",
    "ConfigError",
    "Fault",
    "GatewayConfig",
    "HealthCheckConfig",
    "Identity",
    "ProxyConfig",
    "StoreConfig",
    "compile_engine",
    "for_upstream",
    "load_file",
    "override",
    "validate",
]
