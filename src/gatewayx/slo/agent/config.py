"""The agent's configuration: one model, read from YAML, JSON or TOML, checked whole.

Durations are seconds, sizes bytes. ``token`` may be written as ``{env.NAME}`` so that the file
holds no secret. Every limit says what happens when it is hit.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic import model_validator as checked_whole

from gatewayx.slo.agent.delta import EXPIRY_S
from gatewayx.slo.agent.filter import EXCLUDED_NAMESPACES

_ENVIRONMENT = re.compile(r"\{env\.([A-Za-z_][A-Za-z0-9_]*)\}")

Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]


def _checked_url(url: str) -> str:
    if not re.fullmatch(r"https?://[^\s/]+(/\S*)?", url):
        raise ValueError("must be an http:// or https:// URL")
    return url


Url = Annotated[str, AfterValidator(_checked_url)]


class Section(BaseModel):
    """Base of every section: immutable, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class KubernetesRoutes(Section):
    """Routes from the cluster's own API: Ingress and Traefik's IngressRoute."""

    url: Url = "https://kubernetes.default.svc"
    credentials_dir: Path = Path("/var/run/secrets/kubernetes.io/serviceaccount")
    """Where ``token`` and ``ca.crt`` are; both are read anew at every refresh."""


class Routes(Section):
    """Where routes come from. Both sources together are allowed; the file's entries win."""

    file: Path | None = None
    kubernetes: KubernetesRoutes | None = None
    refresh: Seconds = 60.0


class AgentConfig(Section):
    """Everything that the agent can be told."""

    cluster_id: Annotated[str, Field(min_length=1, max_length=253)]
    agent_name: Annotated[str, Field(min_length=1, max_length=200)] = "agent"
    """The state directory adds a random part to it, so two installations never share an id."""
    otel_metrics_url: Url = "http://otel-collector.otel.svc:8889/metrics"
    otel_health_url: Url | None = "http://otel-collector.otel.svc:13133"
    """Asked before every scrape; null where the source has no health check."""
    metrics_token: SecretStr | None = None
    """For a metrics URL that asks for one, as a gateway's admin listener does."""
    master_url: Url
    token: SecretStr | None = None
    interval: Seconds = 15.0
    scrape_timeout: Seconds = 5.0
    """For one scrape as a whole, health check included."""
    scrape_size_max: Annotated[int, Field(ge=1024)] = 256 * 2**20
    """Largest text (bytes, after decompression). A larger one is a failed scrape."""
    send_timeout: Seconds = 10.0
    exporter_expiry: Seconds = EXPIRY_S
    """A gap longer than this makes the next scrape a baseline."""
    exclude_namespaces: tuple[str, ...] = EXCLUDED_NAMESPACES
    routes: Routes = Routes()
    state_dir: Path = Path("/var/lib/gatewayx/slo-agent")
    buffer_size_max: Annotated[int, Field(ge=0)] = 256 * 2**20
    """Snapshots kept for an absent master (bytes on disk, compressed). Then the oldest go."""
    backoff_min: Seconds = 1.0
    backoff_max: Seconds = 60.0
    metrics_address: str | None = "127.0.0.1:9108"
    """Where the agent's own metrics are served; null for nowhere."""

    @checked_whole(mode="after")
    def _fits_together(self) -> Self:
        if self.backoff_max < self.backoff_min:
            raise ValueError("backoff_max is less than backoff_min")
        if self.exporter_expiry <= self.interval:
            raise ValueError("exporter_expiry must exceed interval, or every scrape is a baseline")
        if self.metrics_address is not None:
            address_parts(self.metrics_address)
        return self


class ConfigError(ValueError):
    """The configuration is not valid; the message lists every fault with its place."""


def load_config(path: Path, environment: Mapping[str, str] | None = None) -> AgentConfig:
    """Reads the agent's configuration from a file.

    Raises:
        ConfigError: it cannot be read or is not valid.
    """
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".toml":
            document: Any = tomllib.loads(text)
        elif path.suffix == ".json":
            document = json.loads(text)
        else:
            document = yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: {error}") from error
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: must be a mapping")
    try:
        return AgentConfig.model_validate(
            _with_environment(document, os.environ if environment is None else environment)
        )
    except ValidationError as error:
        faults = (
            f"{path}: {'.'.join(map(str, fault['loc'])) or 'agent'}: {fault['msg']}"
            for fault in error.errors(include_url=False, include_input=False)
        )
        raise ConfigError("\n".join(faults)) from None
    except KeyError as error:
        raise ConfigError(f"{path}: environment variable {error} is not set") from None


def address_parts(address: str) -> tuple[str, int]:
    """Splits ``host:port``.

    Raises:
        ValueError: it is not such an address.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65_535:
        raise ValueError(f"{address!r} is not an address like 127.0.0.1:9108")
    return host.strip("[]"), int(port)


def _with_environment(value: Any, environment: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return _ENVIRONMENT.sub(lambda found: environment[found[1]], value)
    if isinstance(value, dict):
        return {key: _with_environment(item, environment) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_environment(item, environment) for item in value]
    return value
