"""Everything that can be configured, as one model.

The same model is read from a file, from the admin API's body and from a stored row. Defaults are
here and nowhere else, and `docs/CONFIGURATION.md` is made from the descriptions. Field checks that
need one value live in `values.py`; rules between values live in `rules.py`. Models are immutable: a
changed configuration is a new one.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from gatewayx.config.access import PUBLIC, AccessRule
from gatewayx.config.auth import AuthConfig
from gatewayx.config.health import HealthCheckConfig
from gatewayx.config.rate_limit import RateLimitConfig
from gatewayx.config.resilience import (
    AdaptiveConfig,
    BreakerConfig,
    LoadBalancingConfig,
    QueueConfig,
    RetryConfig,
)
from gatewayx.config.section import Section
from gatewayx.config.slo import SloConfig
from gatewayx.config.store import StoreConfig
from gatewayx.config.tls import Identity, ListenerTls, UpstreamTls
from gatewayx.config.tracing import TracingConfig
from gatewayx.config.values import (
    AdminAddress,
    Count,
    Duration,
    HeaderFields,
    HostName,
    Kind,
    Label,
    ListenAddress,
    NetworkAddress,
    NonzeroCount,
    NonzeroSize,
    PathPrefix,
    Size,
    UpstreamUrl,
    Wait,
    WorkerCount,
    nonempty,
)


class ListenerConfig(Section):
    """One address that accepts requests."""

    address: ListenAddress = Field(
        description="Where to listen. Port 0 lets the system choose one."
    )
    tls: ListenerTls | None = None
    proxy_protocol: bool = Field(
        default=False,
        description=(
            "Whether connections begin with the PROXY protocol's header, version 1 or 2, that names"
            " the client; one without is closed. If there are `trusted_proxies`, only their word is"
            " taken."
        ),
    )

    @property
    def scheme(self) -> str:
        """Of the URLs that are served here."""
        return "http" if self.tls is None else "https"


class AdminConfig(Section):
    """The control plane: health, metrics and the configuration in force."""

    address: AdminAddress = Field(
        default="127.0.0.1:9901",
        description=(
            "Where the admin API listens: host:port, or `unix:PATH`. What other machines can reach"
            " needs `tls`, or `insecure`."
        ),
    )
    tls: Identity | None = None
    insecure: bool = Field(
        default=False,
        description="Whether to listen for other machines without TLS: tokens travel in the clear.",
    )
    hosts: Annotated[
        tuple[HostName, ...], Field(strict=False, max_length=64), Kind("list of host names")
    ] = Field(
        default=(),
        description=(
            "Names that browsers may call the admin API by, besides addresses, `localhost` and the"
            " name in `address`. Others are refused: a page could have had them point here."
        ),
    )
    token_file: str | None = Field(
        default=None,
        min_length=1,
        description=(
            "A file whose first line is the superuser token. `GATEWAYX_ADMIN_TOKEN` wins over it;"
            " without either, a token is made and printed once: at the first start with a store, at"
            " every start without."
        ),
    )

    @property
    def host_name(self) -> str:
        """The host in the address; empty for a socket of the file system."""
        return "" if self.address.startswith("unix:") else self.address.rpartition(":")[0]


class UpstreamTimeout(Section):
    """Deadlines of the stages of an exchange with the upstream. 0 waits for ever."""

    dial: Duration = Field(default=2, description="To connect. Past it: 504, `dial_timeout`.")
    tls_handshake: Duration = Field(
        default=5, description="To finish the TLS handshake. Past it: 504, `tls_timeout`."
    )
    response_header: Duration = Field(
        default=30,
        description=(
            "From the end of the request to the end of the response head. Past it: 504,"
            " `header_timeout`. Set 0 for inference that may think for long."
        ),
    )
    body_idle: Duration = Field(
        default=60,
        description="Between two pieces of a body. Past it the exchange is cut: `idle_timeout`.",
    )
    idle: Duration = Field(
        default=90, description="How long a pooled connection may stay unused before it is closed."
    )
    expect_continue: Duration = Field(
        default=1,
        description="How long to wait for 100 (Continue) before the body is sent all the same.",
    )
    total: Duration = Field(
        default=0, description="For the whole exchange. Past it: 504, or a cut response."
    )
    tunnel_idle: Duration = Field(
        default=3600, description="An upgraded connection without a byte either way is closed."
    )


class ProxyConfig(Section):
    """One route and the upstream behind it. Set either `upstream` or `upstreams`."""

    name: Label = Field(
        description="Unique. The `proxy` label of metrics, `proxy_name` in the log."
    )
    namespace: Label = Field(
        default="default", description="A group of proxies, for selectors of policies."
    )
    host: HostName | None = Field(
        default=None,
        description="Matches only requests for this host; a host that matches wins over none.",
    )
    path: PathPrefix = Field(
        default="/",
        description="Matches this path and everything beneath it; the longest match wins.",
    )
    upstream: UpstreamUrl | None = Field(
        default=None,
        description="Where requests go: http://host:port/base, or the same with https.",
    )
    upstreams: Annotated[
        tuple[UpstreamUrl, ...], Field(strict=False, max_length=64), Kind("list of URLs")
    ] = Field(
        default=(),
        description="The same, as a list; `load_balancing` says which one gets a request.",
    )
    strip_path: bool = Field(
        default=True, description="Whether `path` is taken off before the request is forwarded."
    )
    headers: HeaderFields = Field(
        default_factory=dict,
        description=(
            "Set on every forwarded request, in place of the caller's own. Values may hold"
            " references: `{env.NAME}`, `{secret.NAME}`, `@request.auth.NAME`, `@request.ip`,"
            " `@request.id`; see above."
        ),
    )
    pass_host: bool = Field(
        default=False, description="Forward the caller's Host in place of the upstream's own."
    )
    access_rule: AccessRule = Field(
        default=PUBLIC,
        description=(
            "Who may call: `true` everyone, empty the superuser only, else an expression such as"
            " `@request.auth.id != ''`; see above. Refused: 401 `auth_required`, or 403"
            " `access_denied`."
        ),
    )
    pass_authorization: Annotated[bool | None, Kind("boolean")] = Field(
        default=None,
        description=(
            "Whether the caller's Authorization goes on to the upstream. Without it: only where"
            " `access_rule` is `true`, so that an upstream that asks its callers itself still can,"
            " and credentials for the gateway stay with the gateway."
        ),
    )
    active: bool = Field(
        default=True, description="Switched off, the proxy answers as if it were not there: 404."
    )
    max_concurrent: Count = Field(
        default=0,
        description=(
            "Exchanges at a time, across all workers. Over it: 429, `limit_reached`. 0 = no limit."
        ),
    )
    retry_after: NonzeroCount = Field(default=1, description="`Retry-After` of a 429, in seconds.")
    request_body_max: Size = Field(
        default=0, description="Largest request body. Over it: 413. 0 = no limit."
    )
    websocket: bool = Field(
        default=False, description="Whether an upgrade is passed on. Switched off: 501."
    )
    accept_encoding: Annotated[Literal["pass", "strip"], Kind("`pass` or `strip`")] = Field(
        default="pass",
        description="`strip` removes Accept-Encoding, so that the upstream answers uncompressed.",
    )
    adaptive: AdaptiveConfig | None = None
    rate_limit: RateLimitConfig | None = None
    queue: QueueConfig | None = None
    circuit_breaker: BreakerConfig = BreakerConfig()
    retry: RetryConfig | None = None
    load_balancing: LoadBalancingConfig = LoadBalancingConfig()
    health_check: HealthCheckConfig | None = None
    timeout: UpstreamTimeout = UpstreamTimeout()
    tls: UpstreamTls = UpstreamTls()

    def upstream_urls(self) -> tuple[str, ...]:
        """The upstreams, however they were written."""
        return self.upstreams if self.upstream is None else (self.upstream,)


class DownstreamTimeout(Section):
    """How long a caller may take. None of these waits can be switched off."""

    request_head: Wait = Field(
        default=10, description="From the first byte to the end of the request head. Past it: 408."
    )
    request_body_idle: Wait = Field(
        default=30, description="Between two pieces of a request body. Past it: 408."
    )
    keep_alive: Wait = Field(
        default=75, description="Between two requests on a connection. Past it: close."
    )
    write_idle: Wait = Field(
        default=60,
        description="A caller that takes no bytes of its response for so long is cut off.",
    )
    linger: Wait = Field(
        default=2,
        description=(
            "How long a connection that the gateway closes is still read, so that the caller's last"
            " bytes do not destroy the answer."
        ),
    )


class DownstreamLimits(Section):
    """How much a caller may send before the body."""

    head: NonzeroSize = Field(
        default=64 << 10, description="Request line and fields together. Over it: 431."
    )
    target: NonzeroSize = Field(default=16 << 10, description="The request target. Over it: 414.")
    fields: NonzeroCount = Field(default=128, description="Number of fields. Over it: 431.")
    connections: Count = Field(
        default=0,
        description=(
            "Connections at a time, over all workers. One more is closed at once. 0 = no limit."
        ),
    )
    connections_per_address: Count = Field(
        default=0,
        description=(
            "Connections of one client address, an IPv6 /64, in each worker. One more is closed at"
            " once. 0 = no limit."
        ),
    )


class MinRate(Section):
    """Least average rates, in bytes a second. Waiting for the upstream does not count."""

    request_body: Size = Field(
        default=0,
        description="Of a request body since it was first waited for. Below it: 408. 0 = none.",
    )
    response: Size = Field(
        default=0,
        description="At which a caller takes what waits to be sent. Below it: a reset. 0 = none.",
    )
    grace: Wait = Field(default=5, description="How long a rate is not looked at.")


class DownstreamConfig(Section):
    """The callers' side."""

    timeout: DownstreamTimeout = DownstreamTimeout()
    limits: DownstreamLimits = DownstreamLimits()
    min_rate: MinRate = MinRate()


class UpstreamPoolConfig(Section):
    """Idle connections kept for reuse, in each worker."""

    idle_max: Count = Field(default=1000, description="Idle connections in all.")
    idle_per_host_max: Count = Field(
        default=100, description="Idle connections to one host and port."
    )


class DnsConfig(Section):
    """Names of upstreams, in each worker. All addresses of a name are used, in turn; the next one
    is tried when one fails or does not answer within 250 ms, all within `timeout.dial`.
    """

    ttl: Wait = Field(
        default=10,
        description="How long the addresses of a name are used before it is looked up again. While"
        " it has open connections that happens by itself, and those to addresses that it no longer"
        " has are closed.",
    )
    negative_ttl: Wait = Field(
        default=1, description="How long a name that was not found is not looked up again."
    )


class BufferConfig(Section):
    """Memory for bytes in flight, in each worker."""

    size: NonzeroSize = Field(default=32 << 10, description="One pooled buffer.")
    per_read: NonzeroCount = Field(
        default=4,
        description="Pooled buffers, side by side, that one read may fill. More make fewer system "
        "calls for large bodies; a worker holds them once, whatever the number of connections.",
    )
    high_water: NonzeroSize = Field(
        default=256 << 10,
        description="Unsent bytes of one side at which reading from the other side pauses.",
    )


class AccessLogConfig(Section):
    """One line for each request."""

    enabled: bool = Field(default=True, description="Whether it is written.")
    path: Annotated[str, Kind("path")] = Field(
        default="-", min_length=1, description="A file, or `-` for standard output."
    )
    format: Annotated[Literal["json"], Kind("`json`")] = Field(
        default="json", description="One JSON object a line."
    )


class GatewayConfig(Section):
    """The whole configuration."""

    listeners: Annotated[
        tuple[ListenerConfig, ...], Field(strict=False, max_length=64), AfterValidator(nonempty)
    ] = (ListenerConfig(address="127.0.0.1:8080"),)
    admin: AdminConfig = AdminConfig()
    workers: WorkerCount = Field(
        default="auto", description="Processes that carry traffic; `auto` is one for each CPU."
    )
    drain_timeout: Duration = Field(
        default=30,
        description=(
            "How long exchanges in flight may take to finish at a stop. 0 cuts them off at once."
        ),
    )
    drain_delay: Duration = Field(
        default=0,
        description=(
            "How long the gateway goes on as before at a stop, with `/ready` saying 503, so that a"
            " load balancer can send callers elsewhere before nobody listens any more."
        ),
    )
    trusted_proxies: Annotated[
        tuple[NetworkAddress, ...], Field(strict=False, max_length=1000), Kind("list of networks")
    ] = Field(
        default=(),
        description=(
            "Addresses and networks of proxies in front, such as `10.0.0.0/8`. What they say in"
            " `X-Forwarded-For`, `-Proto` and `-Host` is believed and passed on; what others say is"
            " replaced."
        ),
    )
    downstream: DownstreamConfig = DownstreamConfig()
    upstream_pool: UpstreamPoolConfig = UpstreamPoolConfig()
    dns: DnsConfig = DnsConfig()
    buffers: BufferConfig = BufferConfig()
    auth: AuthConfig = AuthConfig()
    access_log: AccessLogConfig = AccessLogConfig()
    slo: SloConfig = SloConfig()
    store: StoreConfig | None = None
    tracing: TracingConfig = TracingConfig()
    proxies: Annotated[tuple[ProxyConfig, ...], Field(strict=False, max_length=1000)] = ()
