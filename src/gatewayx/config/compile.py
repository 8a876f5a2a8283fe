"""From the user's model to the engine's: plain numbers, resolved values, nothing left to decide.

The engine reads milliseconds and bytes and knows no defaults. Whatever built the `GatewayConfig`,
this is the last gate before the engine, so the rules between values are checked here once more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from gatewayx.config.access import is_public
from gatewayx.config.auth import KeySets, compile_auth
from gatewayx.config.model import DownstreamConfig, GatewayConfig, ProxyConfig, UpstreamTimeout
from gatewayx.config.rate_limit import RateLimitConfig
from gatewayx.config.resilience import (
    AdaptiveConfig,
    BreakerConfig,
    BreakerWindowConfig,
    LoadBalancingConfig,
    QueueConfig,
    RetryCondition,
    RetryConfig,
)
from gatewayx.config.templates import constant, parts
from gatewayx.config.tls import UpstreamTls
from gatewayx.config.tls_files import listener_form, upstream_form
from gatewayx.config.tracing import SAMPLES_MAX, TracingConfig
from gatewayx.config.validate import validate
from gatewayx.config.values import upstream_address

SERVER_NAME = "gatewayx"
"""How the gateway calls itself in Via."""


def compile_engine(
    config: GatewayConfig,
    environ: Mapping[str, str],
    *,
    secrets: Mapping[str, str] | None = None,
    key_sets: KeySets | None = None,
) -> dict[str, Any]:
    """Build what the engine reads, ready for JSON.

    Args:
        config: The user's model.
        environ: Where `{env.NAME}` is looked up.
        secrets: Where `{secret.NAME}` is looked up; without it there are no secrets.
        key_sets: What has been fetched from each `jwks_url`.

    Raises:
        ConfigError: When a rule is broken, or a variable that a value needs is not in `environ`.
    """
    secrets = secrets or {}
    config = validate(config.model_dump(), environ, secrets=secrets)
    trusts = _Trusts()
    return {
        "proxies": [
            _proxy(proxy, block, environ, secrets, trusts)
            for block, proxy in enumerate(config.proxies, start=1)
        ],
        "listeners": {
            listener.address: {
                "tls": None if listener.tls is None else listener_form(listener.tls),
                "proxy_protocol": listener.proxy_protocol,
            }
            for listener in config.listeners
            if listener.tls is not None or listener.proxy_protocol
        },
        "trusted_proxies": list(config.trusted_proxies),
        "upstream_tls": trusts.forms,
        "downstream": _downstream(config.downstream),
        "upstream_pool": {
            "idle_max": config.upstream_pool.idle_max,
            "idle_per_host_max": config.upstream_pool.idle_per_host_max,
        },
        "buffer": {"high_water_bytes": config.buffers.high_water},
        "auth": compile_auth(config.auth, environ, key_sets or {}),
        "access_log": {"enabled": config.access_log.enabled},
        "tracing": _tracing(config.tracing),
        "server_name": SERVER_NAME,
    }


class _Trusts:
    """How upstreams are trusted, each content once, however many proxies share it."""

    def __init__(self) -> None:
        self.forms: dict[str, dict[str, Any]] = {}
        self._known: dict[UpstreamTls, str] = {}

    def key(self, tls: UpstreamTls) -> str:
        settings = tls.model_copy(update={"server_name": None})
        if settings not in self._known:
            key, form = upstream_form(settings)
            self._known[settings] = key
            self.forms[key] = form
        return self._known[settings]


def _proxy(
    proxy: ProxyConfig,
    block: int,
    environ: Mapping[str, str],
    secrets: Mapping[str, str],
    trusts: _Trusts,
) -> dict[str, Any]:
    headers = {name: parts(value, environ, secrets) for name, value in proxy.headers.items()}
    public = is_public(proxy.access_rule)
    return {
        "name": proxy.name,
        "namespace": proxy.namespace,
        "block": block,
        "host": proxy.host,
        "path": proxy.path,
        "upstreams": _upstreams(proxy, trusts),
        "strip_path": proxy.strip_path,
        "headers": [
            [name, value]
            for name, pieces in headers.items()
            if (value := constant(pieces)) is not None
        ],
        "header_templates": [
            {"name": name, "parts": pieces}
            for name, pieces in headers.items()
            if constant(pieces) is None
        ],
        "access_rule": proxy.access_rule,
        "pass_authorization": public
        if proxy.pass_authorization is None
        else proxy.pass_authorization,
        "max_concurrent": proxy.max_concurrent,
        "adaptive": None if proxy.adaptive is None else _adaptive(proxy.adaptive),
        "retry_after_seconds": proxy.retry_after,
        "active": proxy.active,
        "websocket": proxy.websocket,
        "strip_accept_encoding": proxy.accept_encoding == "strip",
        "pass_host": proxy.pass_host,
        "request_body_max_bytes": proxy.request_body_max,
        "timeout": _upstream_timeout(proxy.timeout),
        "rate_limit": None if proxy.rate_limit is None else _rate_limit(proxy.rate_limit),
        "queue": None if proxy.queue is None else _queue(proxy.queue),
        "circuit_breaker": _breaker(proxy.circuit_breaker),
        "retry": None if proxy.retry is None else _retry(proxy.retry),
        "load_balancing": _load_balancing(proxy.load_balancing),
    }


def _upstreams(proxy: ProxyConfig, trusts: _Trusts) -> list[dict[str, Any]]:
    urls = proxy.upstream_urls()
    weights = proxy.load_balancing.weights or (1,) * len(urls)
    return [
        _upstream(url, weight, proxy.tls, trusts) for url, weight in zip(urls, weights, strict=True)
    ]


def _upstream(url: str, weight: int, tls: UpstreamTls, trusts: _Trusts) -> dict[str, Any]:
    address = upstream_address(url)
    secured = None
    if address.tls:
        secured = {"settings": trusts.key(tls), "server_name": tls.server_name or address.host}
    return {
        "host": address.host,
        "port": address.port,
        "tls": secured,
        "authority": address.authority,
        "base_path": address.base_path,
        "weight": weight,
    }


def _adaptive(adaptive: AdaptiveConfig) -> dict[str, Any]:
    return {
        "limit_min": adaptive.limit_min,
        "interval_ms": _ms(adaptive.interval),
        "samples_min": adaptive.samples_min,
        "tolerance_percent": adaptive.tolerance_percent,
        "measure_every": adaptive.measure_every,
    }


def _rate_limit(limit: RateLimitConfig) -> dict[str, Any]:
    return {
        "requests": limit.requests,
        "per_ms": _ms(limit.per),
        "burst": limit.burst or limit.requests,
        "key": limit.engine_key(),
    }


def _queue(queue: QueueConfig) -> dict[str, Any]:
    return {
        "size": queue.size,
        "timeout_ms": _ms(queue.timeout),
        "order": queue.order,
        "priority_header": queue.priority_header,
    }


def _breaker(breaker: BreakerConfig) -> dict[str, Any] | None:
    if not breaker.enabled:
        return None
    return {
        "failure_threshold": breaker.failure_threshold,
        "recovery_timeout_ms": _ms(breaker.recovery_timeout),
        "recovery_jitter_percent": breaker.recovery_jitter_percent,
        "half_open_requests": breaker.half_open_requests,
        "failure_statuses": list(breaker.failure_statuses or range(500, 600)),
        "header": breaker.header,
        "window": None if breaker.window is None else _breaker_window(breaker.window),
    }


def _breaker_window(window: BreakerWindowConfig) -> dict[str, Any]:
    return {
        "window_ms": _ms(window.length),
        "volume_min": window.volume_min,
        "failure_percent": window.failure_percent,
        "slow_percent": window.slow_percent,
        "slow_after_ms": _ms(window.slow_after),
    }


def _retry(retry: RetryConfig) -> dict[str, Any]:
    return {
        "attempts": retry.attempts,
        **{
            f"on_{condition}": condition in retry.retry_on for condition in get_args(RetryCondition)
        },
        "on_statuses": list(retry.statuses),
        "backoff_ms": _ms(retry.backoff),
        "backoff_max_ms": _ms(retry.backoff_max),
        "budget_percent": retry.budget_percent,
        "budget_floor": retry.budget_floor,
        "body_max_bytes": retry.body_max,
    }


def _load_balancing(balancing: LoadBalancingConfig) -> dict[str, Any]:
    return {
        "algorithm": balancing.algorithm,
        "hash_header": balancing.hash_header,
        "slow_start_ms": _ms(balancing.slow_start),
        "eject_after_failures": balancing.ejection.failures,
        "eject_ms": _ms(balancing.ejection.time),
        "eject_max_ms": _ms(balancing.ejection.time_max),
        "eject_max_percent": balancing.ejection.percent_max,
    }


def _upstream_timeout(timeout: UpstreamTimeout) -> dict[str, int]:
    return {
        "dial_ms": _ms(timeout.dial),
        "tls_handshake_ms": _ms(timeout.tls_handshake),
        "response_header_ms": _ms(timeout.response_header),
        "body_idle_ms": _ms(timeout.body_idle),
        "idle_ms": _ms(timeout.idle),
        "expect_continue_ms": _ms(timeout.expect_continue),
        "total_ms": _ms(timeout.total),
        "tunnel_idle_ms": _ms(timeout.tunnel_idle),
    }


def _downstream(downstream: DownstreamConfig) -> dict[str, int]:
    timeout, limits = downstream.timeout, downstream.limits
    return {
        "request_head_ms": _ms(timeout.request_head),
        "request_body_idle_ms": _ms(timeout.request_body_idle),
        "keep_alive_ms": _ms(timeout.keep_alive),
        "write_idle_ms": _ms(timeout.write_idle),
        "linger_ms": _ms(timeout.linger),
        "head_max_bytes": limits.head,
        "target_max_bytes": limits.target,
        "fields_max": limits.fields,
        "connections_max": limits.connections,
        "connections_per_address_max": limits.connections_per_address,
        "request_body_min_bytes_per_s": downstream.min_rate.request_body,
        "response_min_bytes_per_s": downstream.min_rate.response,
        "min_rate_grace_ms": _ms(downstream.min_rate.grace),
    }


def _tracing(tracing: TracingConfig) -> dict[str, Any] | None:
    if not tracing.enabled:
        return None
    return {
        "sample_per_million": round(tracing.sample_percent * SAMPLES_MAX / 100),
        "spans": tracing.otlp_endpoint is not None,
    }


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
