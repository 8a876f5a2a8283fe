"""What the engine is given, and the short ways to a configuration."""

import json
from pathlib import Path

import pytest

from gatewayx.config import ConfigError, compile_engine, for_upstream, load_file, override, validate

FULL = """\
downstream:
  timeout: {request_head: 1.5, request_body_idle: 2, keep_alive: 3, write_idle: 4, linger: 5}
  limits: {head: 8KiB, target: 2KiB, fields: 40, connections: 9000, connections_per_address: 50}
  min_rate: {request_body: 500, response: 1KiB, grace: 3}
trusted_proxies: [10.0.0.0/8]
upstream_pool: {idle_max: 7, idle_per_host_max: 3}
buffers: {size: 16KiB, high_water: 1MiB}
access_log: {enabled: false}
tracing: {enabled: true, sample_percent: 1.25, otlp_endpoint: "http://127.0.0.1:4318/v1/traces"}
auth:
  jwt: [{issuer: me, audience: [a], secret: 0123456789abcdef0123456789abcdef, id_claim: uid,
    leeway: 5}]
  tokens: [{id: ci, claims: {role: x},
    sha256: abababababababababababababababababababababababababababababababab}]
proxies:
  - name: sidecar
    namespace: ai
    host: API.example.com
    path: /api/proxy/sidecar/
    upstream: http://[::1]:8001/v1/
    strip_path: false
    headers: {Authorization: "Bearer {env.SIDECAR_KEY}", X-Two: "{env.A}-{env.B}-{c}",
      X-User: "u=@request.auth.id"}
    access_rule: "@request.auth.id != ''"
    max_concurrent: 10
    retry_after: 3
    active: false
    websocket: true
    accept_encoding: strip
    pass_host: true
    request_body_max: 10MiB
    timeout: {dial: 0.25, tls_handshake: 1, response_header: 0, body_idle: 2, idle: 3,
      expect_continue: 4, total: 5, tunnel_idle: 6}
    rate_limit: {requests: 100, per: 60, burst: 20, key: "header:X-Tenant"}
    queue: {size: 7, timeout: 0.5, order: lifo, priority_header: X-Priority}
    adaptive: {limit_min: 3, interval: 0.5, samples_min: 15, tolerance_percent: 40,
      measure_every: 30}
    circuit_breaker: {enabled: true, failure_threshold: 2, recovery_timeout: 1.5,
      recovery_jitter_percent: 10, half_open_requests: 3, failure_statuses: [500, 529],
      header: true, window: {length: 20, volume_min: 50, failure_percent: 30, slow_percent: 40,
      slow_after: 0.25}}
    retry: {attempts: 3, retry_on: [timeout], statuses: [503], backoff: 0.01, backoff_max: 0.1,
      budget_percent: 10, budget_floor: 1, body_max: 1KiB}
  - name: other
    upstreams: ["http://127.0.0.1:8002", "http://127.0.0.1:8003"]
    load_balancing: {algorithm: consistent_hash, weights: [2, 1], hash_header: X-User,
      slow_start: 9, ejection: {failures: 3, time: 1, time_max: 2, percent_max: 40}}
"""

COMPILED = {
    "proxies": [
        {
            "name": "sidecar",
            "namespace": "ai",
            "block": 1,
            "host": "api.example.com",
            "path": "/api/proxy/sidecar",
            "upstreams": [
                {
                    "host": "::1",
                    "port": 8001,
                    "tls": None,
                    "authority": "[::1]:8001",
                    "base_path": "/v1",
                    "weight": 1,
                }
            ],
            "strip_path": False,
            "headers": [["Authorization", "Bearer key"], ["X-Two", "1-2-{c}"]],
            "header_templates": [
                {
                    "name": "X-User",
                    "parts": [{"text": "u="}, {"claim": {"name": "id", "optional": False}}],
                }
            ],
            "access_rule": "@request.auth.id != ''",
            "pass_authorization": False,
            "max_concurrent": 10,
            "adaptive": {
                "limit_min": 3,
                "interval_ms": 500,
                "samples_min": 15,
                "tolerance_percent": 40,
                "measure_every": 30,
            },
            "retry_after_seconds": 3,
            "active": False,
            "websocket": True,
            "strip_accept_encoding": True,
            "pass_host": True,
            "request_body_max_bytes": 10 << 20,
            "timeout": {
                "dial_ms": 250,
                "tls_handshake_ms": 1000,
                "response_header_ms": 0,
                "body_idle_ms": 2000,
                "idle_ms": 3000,
                "expect_continue_ms": 4000,
                "total_ms": 5000,
                "tunnel_idle_ms": 6000,
            },
            "rate_limit": {
                "requests": 100,
                "per_ms": 60000,
                "burst": 20,
                "key": {"header": "X-Tenant"},
            },
            "queue": {
                "size": 7,
                "timeout_ms": 500,
                "order": "lifo",
                "priority_header": "X-Priority",
            },
            "circuit_breaker": {
                "failure_threshold": 2,
                "recovery_timeout_ms": 1500,
                "recovery_jitter_percent": 10,
                "half_open_requests": 3,
                "failure_statuses": [500, 529],
                "header": True,
                "window": {
                    "window_ms": 20000,
                    "volume_min": 50,
                    "failure_percent": 30,
                    "slow_percent": 40,
                    "slow_after_ms": 250,
                },
            },
            "retry": {
                "attempts": 3,
                "on_connect_failure": False,
                "on_reset": False,
                "on_timeout": True,
                "on_statuses": [503],
                "backoff_ms": 10,
                "backoff_max_ms": 100,
                "budget_percent": 10,
                "budget_floor": 1,
                "body_max_bytes": 1024,
            },
            "load_balancing": {
                "algorithm": "round_robin",
                "hash_header": None,
                "slow_start_ms": 0,
                "eject_after_failures": 0,
                "eject_ms": 30000,
                "eject_max_ms": 300000,
                "eject_max_percent": 50,
            },
        },
        {
            "name": "other",
            "namespace": "default",
            "block": 2,
            "host": None,
            "path": "/",
            "upstreams": [
                {
                    "host": "127.0.0.1",
                    "port": 8002,
                    "tls": None,
                    "authority": "127.0.0.1:8002",
                    "base_path": "",
                    "weight": 2,
                },
                {
                    "host": "127.0.0.1",
                    "port": 8003,
                    "tls": None,
                    "authority": "127.0.0.1:8003",
                    "base_path": "",
                    "weight": 1,
                },
            ],
            "strip_path": True,
            "headers": [],
            "header_templates": [],
            "access_rule": "true",
            "pass_authorization": True,
            "max_concurrent": 0,
            "adaptive": None,
            "retry_after_seconds": 1,
            "active": True,
            "websocket": False,
            "strip_accept_encoding": False,
            "pass_host": False,
            "request_body_max_bytes": 0,
            "timeout": {
                "dial_ms": 2000,
                "tls_handshake_ms": 5000,
                "response_header_ms": 30000,
                "body_idle_ms": 60000,
                "idle_ms": 90000,
                "expect_continue_ms": 1000,
                "total_ms": 0,
                "tunnel_idle_ms": 3600000,
            },
            "rate_limit": None,
            "queue": None,
            "circuit_breaker": None,
            "retry": None,
            "load_balancing": {
                "algorithm": "consistent_hash",
                "hash_header": "X-User",
                "slow_start_ms": 9000,
                "eject_after_failures": 3,
                "eject_ms": 1000,
                "eject_max_ms": 2000,
                "eject_max_percent": 40,
            },
        },
    ],
    "downstream": {
        "request_head_ms": 1500,
        "request_body_idle_ms": 2000,
        "keep_alive_ms": 3000,
        "write_idle_ms": 4000,
        "linger_ms": 5000,
        "head_max_bytes": 8192,
        "target_max_bytes": 2048,
        "fields_max": 40,
        "connections_max": 9000,
        "connections_per_address_max": 50,
        "request_body_min_bytes_per_s": 500,
        "response_min_bytes_per_s": 1 << 10,
        "min_rate_grace_ms": 3000,
    },
    "listeners": {},
    "trusted_proxies": ["10.0.0.0/8"],
    "upstream_tls": {},
    "upstream_pool": {"idle_max": 7, "idle_per_host_max": 3},
    "buffer": {"high_water_bytes": 1 << 20},
    "auth": {
        "issuers": [
            {
                "issuer": "me",
                "audience": ["a"],
                "algorithms": ["HS256"],
                "keys": [{"secret": "0123456789abcdef0123456789abcdef"}],
                "id_claim": "uid",
                "leeway_seconds": 5,
            }
        ],
        "tokens": [{"id": "ci", "digest": {"sha256": "ab" * 32}, "claims": {"role": "x"}}],
    },
    "access_log": {"enabled": False},
    "tracing": {"sample_per_million": 12500, "spans": True},
    "server_name": "gatewayx",
}


def test_every_setting_reaches_the_engine(tmp_path: Path) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_text(FULL)
    environ = {"SIDECAR_KEY": "key", "A": "1", "B": "2"}
    compiled = compile_engine(load_file(path, environ), environ)
    assert json.loads(json.dumps(compiled)) == COMPILED


def test_resolved_values_are_not_resolved_again() -> None:
    proxy = {"name": "a", "upstream": "http://a", "headers": {"X": "{env.A}"}}
    environ = {"A": "{env.B}", "B": "secret"}
    compiled = compile_engine(validate({"proxies": [proxy]}, environ), environ)
    assert compiled["proxies"][0]["headers"] == [["X", "{env.B}"]]


def test_compile_needs_the_variables_again() -> None:
    proxy = {"name": "a", "upstream": "http://a", "headers": {"X": "{env.A}"}}
    config = validate({"proxies": [proxy]}, {"A": "1"})
    with pytest.raises(ConfigError, match="variable A, which is unset"):
        compile_engine(config, {})


def test_compile_refuses_what_was_built_past_the_rules() -> None:
    config = for_upstream("http://a")
    twins = config.model_copy(update={"proxies": config.proxies * 2})
    with pytest.raises(ConfigError, match="already the name"):
        compile_engine(twins, {})


def test_for_upstream_sends_every_path_to_one_place() -> None:
    config = for_upstream("http://127.0.0.1:8001/base", listen="127.0.0.1:0")
    (proxy,) = compile_engine(config, {})["proxies"]
    assert proxy["path"] == "/"
    assert proxy["upstreams"][0]["base_path"] == "/base"
    assert config.listeners[0].address == "127.0.0.1:0"


def test_for_upstream_blames_the_options() -> None:
    with pytest.raises(ConfigError) as caught:
        for_upstream("127.0.0.1:8001", listen="8080")
    assert {fault.path for fault in caught.value.faults} == {"--upstream", "--listen"}


def test_override_puts_options_over_a_file() -> None:
    config = override(for_upstream("http://a"), listen="b:1", admin="localhost:2", workers=3)
    assert [listener.address for listener in config.listeners] == ["b:1"]
    assert config.admin.address == "localhost:2"
    assert config.workers == 3
    assert override(config) == config


def test_override_blames_the_options() -> None:
    with pytest.raises(ConfigError) as caught:
        override(for_upstream("http://a"), listen="x", admin="y", workers=0)
    assert {fault.path for fault in caught.value.faults} == {"--listen", "--admin", "--workers"}
