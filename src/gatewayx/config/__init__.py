"""Configuration: one model of everything configurable, the ways to it, the engine's form of it."""

from gatewayx.config.compile import compile_engine
from gatewayx.config.fault import ConfigError, Fault
from gatewayx.config.health import HealthCheckConfig
from gatewayx.config.load import for_upstream, load_file, override
from gatewayx.config.model import AdminConfig, AdminTls, GatewayConfig, ProxyConfig
from gatewayx.config.store import StoreConfig
from gatewayx.config.validate import validate

__all__ = [
    "AdminConfig",
    "AdminTls",
    "ConfigError",
    "Fault",
    "GatewayConfig",
    "HealthCheckConfig",
    "ProxyConfig",
    "StoreConfig",
    "compile_engine",
    "for_upstream",
    "load_file",
    "override",
    "validate",
]
