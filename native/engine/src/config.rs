//! The compiled configuration, as the control plane hands it over. All values are checked there; here
//! they are only typed. Durations are milliseconds, `0` waits for ever; sizes are bytes.

use std::collections::HashMap;

use gatewayx_auth::config::AuthConfig;
use gatewayx_policy::Network;
use serde::de::Error;
use serde::{Deserialize, Deserializer};

use crate::tls::{ClientTls, ServerTls, TargetTls};

/// Everything the engine is told.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Routes and how to serve them.
    pub proxies: Vec<ProxyConfig>,
    /// What is special about addresses that are listened on.
    #[serde(default)]
    pub listeners: HashMap<String, ListenerConfig>,
    /// Peers whose `X-Forwarded-*` and PROXY headers are believed.
    #[serde(default, deserialize_with = "networks")]
    pub trusted_proxies: Vec<Network>,
    /// What targets have to show, by the key that [`TargetTls::settings`] names.
    #[serde(default)]
    pub upstream_tls: HashMap<String, ClientTls>,
    /// What callers may do.
    #[serde(default)]
    pub downstream: DownstreamConfig,
    /// Idle upstream connections.
    #[serde(default)]
    pub upstream_pool: PoolConfig,
    /// Flow control.
    #[serde(default)]
    pub buffer: BufferConfig,
    /// Credentials of callers.
    #[serde(default)]
    pub auth: AuthConfig,
    /// Makes it unforeseeable where a caller's rate is kept; the same in all workers.
    #[serde(default)]
    pub rate_limit_seed: u64,
    /// Access log.
    #[serde(default)]
    pub access_log: AccessLogConfig,
    /// Distributed traces; `None` lets their fields pass.
    #[serde(default)]
    pub tracing: Option<TracingConfig>,
    /// The pseudonym in `Via`.
    #[serde(default = "default_server_name")]
    pub server_name: String,
}

/// What is special about an address that is listened on.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct ListenerConfig {
    /// Speak TLS to callers.
    pub tls: Option<ServerTls>,
    /// Connections begin with the PROXY protocol's header.
    pub proxy_protocol: bool,
}

fn networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Network>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    let read = |text: &String| {
        Network::parse(text).ok_or_else(|| D::Error::custom(format!("no network: {text}")))
    };
    texts.iter().map(read).collect()
}

/// One proxy: what it matches and where it leads.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct ProxyConfig {
    /// Unique name, the `proxy` label of metrics.
    pub name: String,
    /// Namespace for selectors.
    #[serde(default = "default_namespace")]
    pub namespace: String,
    /// Metrics block, unique; block 0 is the gateway's own.
    pub block: u32,
    /// Host to match, lower case, without a port; `None` matches any.
    #[serde(default)]
    pub host: Option<String>,
    /// Path prefix, matched by whole segments; no trailing slash but for `/`.
    pub path: String,
    /// Where requests go.
    pub upstreams: Vec<UpstreamConfig>,
    /// Remove `path` from what is sent upstream.
    #[serde(default)]
    pub strip_path: bool,
    /// Set on every request upstream, replacing the caller's own.
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    /// The same, where values differ from request to request.
    #[serde(default)]
    pub header_templates: Vec<HeaderTemplateConfig>,
    /// Who may call.
    #[serde(default = "default_access_rule")]
    pub access_rule: String,
    /// Send the caller's `Authorization` upstream.
    #[serde(default = "default_true")]
    pub pass_authorization: bool,
    /// Most exchanges at once; 0 = no limit.
    #[serde(default)]
    pub max_concurrent: u32,
    /// `None` keeps the limit at `max_concurrent`.
    #[serde(default)]
    pub adaptive: Option<AdaptiveConfig>,
    /// `Retry-After` of a 429.
    #[serde(default = "default_retry_after")]
    pub retry_after_seconds: u32,
    /// An inactive proxy answers 404.
    #[serde(default = "default_true")]
    pub active: bool,
    /// Allow WebSocket upgrades.
    #[serde(default)]
    pub websocket: bool,
    /// Remove `Accept-Encoding`, so that the upstream answers uncompressed.
    #[serde(default)]
    pub strip_accept_encoding: bool,
    /// Send the caller's `Host` instead of the upstream's.
    #[serde(default)]
    pub pass_host: bool,
    /// Largest request body; 0 = no limit. The caller sees 413.
    #[serde(default)]
    pub request_body_max_bytes: u64,
    /// Deadlines.
    #[serde(default)]
    pub timeout: TimeoutConfig,
    /// How often callers may come.
    #[serde(default)]
    pub rate_limit: Option<RateLimitConfig>,
    /// Where requests over `max_concurrent` wait; `None` refuses them at once.
    #[serde(default)]
    pub queue: Option<QueueConfig>,
    /// `None` never opens.
    #[serde(default)]
    pub circuit_breaker: Option<CircuitBreakerConfig>,
    /// `None` retries nothing but what a late close of a pooled connection explains.
    #[serde(default)]
    pub retry: Option<RetryConfig>,
    /// How an upstream is chosen.
    #[serde(default)]
    pub load_balancing: LoadBalancingConfig,
}

/// How the limit moves below `max_concurrent`.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct AdaptiveConfig {
    /// Least limit, at least 1.
    pub limit_min: u32,
    /// Least time between two changes.
    pub interval_ms: u64,
    /// Responses that a change needs.
    pub samples_min: u32,
    /// How much slower than without load the upstream may answer.
    pub tolerance_percent: u32,
    /// Changes from one measurement without load to the next.
    pub measure_every: u32,
}

/// How often callers may come.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct RateLimitConfig {
    /// Requests within `per_ms`.
    pub requests: u32,
    /// The time that they are counted in.
    pub per_ms: u64,
    /// Most at once.
    pub burst: u32,
    /// Whose requests are counted together.
    pub key: RateKey,
}

/// Whose requests are counted together.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum RateKey {
    /// All of the proxy.
    Proxy,
    /// Those from one address.
    Ip,
    /// Those of one caller who is known; others go by their address.
    AuthId,
    /// Those with one value of this field; without it they go by their address.
    Header(String),
}

/// A header field that is put together for each request.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct HeaderTemplateConfig {
    /// Name of the field.
    pub name: String,
    /// Its value, piece by piece.
    pub parts: Vec<TemplatePart>,
}

/// One piece of a header's value.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum TemplatePart {
    /// The same for every request.
    Text(String),
    /// The request's id.
    RequestId,
    /// The caller's address.
    Ip,
    /// A claim of the caller's credential; the items of a list are joined by commas.
    Claim {
        /// Which one.
        name: String,
        /// A request without it is served, with nothing in its place; else it is refused.
        #[serde(default)]
        optional: bool,
    },
}

/// Where requests wait for a permit.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct QueueConfig {
    /// Most that wait, in each worker; over it 429 `queue_full`.
    pub size: usize,
    /// Longest wait; 503 `queue_timeout`.
    pub timeout_ms: u64,
    /// Who is served first.
    #[serde(default)]
    pub order: QueueOrder,
    /// A request field of one digit, 0 to 9: the higher are served before the lower.
    #[serde(default)]
    pub priority_header: Option<String>,
}

/// Who is served first.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum QueueOrder {
    /// Who has waited longest.
    #[default]
    Fifo,
    /// Who came last: under overload the newest still has a caller who waits.
    Lifo,
}

/// When a proxy stops sending requests upstream.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct CircuitBreakerConfig {
    /// Failures in a row that open it; 0: none do.
    pub failure_threshold: u32,
    /// How long it stays open, at least.
    pub recovery_timeout_ms: u64,
    /// How much longer it may stay open, drawn each time.
    #[serde(default)]
    pub recovery_jitter_percent: u32,
    /// Probes that decide.
    pub half_open_requests: u32,
    /// Status codes that are failures.
    #[serde(default = "default_failure_statuses")]
    pub failure_statuses: Vec<u16>,
    /// Say `X-Circuit-Breaker: closed` or `half-open` on every response.
    #[serde(default)]
    pub header: bool,
    /// Shares of failed and slow calls that open it too.
    #[serde(default)]
    pub window: Option<BreakerWindowConfig>,
}

/// When the share of failed or slow calls opens the breaker.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct BreakerWindowConfig {
    /// How far back calls count.
    pub window_ms: u64,
    /// Calls below which no share says anything.
    pub volume_min: u32,
    /// Failed calls of all; 0 never opens.
    pub failure_percent: u32,
    /// Slow calls of all; 0 never opens.
    pub slow_percent: u32,
    /// A call is slow when its response begins later than this after the request was whole.
    pub slow_after_ms: u64,
}

/// Which failed attempts are repeated, and how.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct RetryConfig {
    /// Attempts in all, the first one included.
    pub attempts: u32,
    /// Dials that failed or timed out: nothing was sent, so any method may be repeated.
    #[serde(default)]
    pub on_connect_failure: bool,
    /// The connection ended before a response.
    #[serde(default)]
    pub on_reset: bool,
    /// No response head in time.
    #[serde(default)]
    pub on_timeout: bool,
    /// Responses of these codes.
    #[serde(default)]
    pub on_statuses: Vec<u16>,
    /// Wait before the second attempt; doubled for each that follows, and drawn between half and the whole.
    pub backoff_ms: u64,
    /// Longest wait.
    pub backoff_max_ms: u64,
    /// Retries as a share of the requests of the last ten seconds.
    pub budget_percent: u32,
    /// Retries in ten seconds that are always allowed.
    pub budget_floor: u32,
    /// Largest request body that is kept to be sent again.
    pub body_max_bytes: usize,
}

/// How an upstream is chosen.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct LoadBalancingConfig {
    /// By which rule.
    pub algorithm: LoadBalancingAlgorithm,
    /// What consistent hashing hashes: a header of this name, else the caller's address.
    pub hash_header: Option<String>,
    /// How long an upstream that comes back gets less than its share.
    pub slow_start_ms: u64,
    /// Failures in a row that set an upstream aside; 0 never does.
    pub eject_after_failures: u32,
    /// How long the first time.
    pub eject_ms: u64,
    /// Longest time.
    pub eject_max_ms: u64,
    /// Most upstreams that may be aside at once.
    pub eject_max_percent: u32,
}

/// By which rule an upstream is chosen.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum LoadBalancingAlgorithm {
    /// In turn, by weight.
    #[default]
    RoundRobin,
    /// The one with the fewest exchanges for its weight.
    LeastConnections,
    /// The less loaded of two drawn at random.
    RandomOfTwo,
    /// By the hash of a header or of the caller's address.
    ConsistentHash,
}

/// One target of a proxy.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct UpstreamConfig {
    /// Name or address to connect to.
    pub host: String,
    /// Port to connect to.
    pub port: u16,
    /// Speak TLS to it.
    #[serde(default)]
    pub tls: Option<TargetTls>,
    /// Value of `Host`.
    pub authority: String,
    /// Put before every path, without a trailing slash.
    #[serde(default)]
    pub base_path: String,
    /// Share of the traffic.
    #[serde(default = "default_weight")]
    pub weight: u32,
}

/// Deadlines of a proxy.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct TimeoutConfig {
    /// To open a connection; 504 `dial_timeout`.
    pub dial_ms: u64,
    /// To finish a TLS handshake.
    pub tls_handshake_ms: u64,
    /// From the end of the request to the response head; 504 `header_timeout`.
    pub response_header_ms: u64,
    /// Between two pieces of a response body; the response is cut, `idle_timeout`.
    pub body_idle_ms: u64,
    /// How long an unused upstream connection is kept.
    pub idle_ms: u64,
    /// How long a caller that expects 100 waits for the upstream's word.
    pub expect_continue_ms: u64,
    /// The whole exchange; 504 `total_timeout`, or the response is cut.
    pub total_ms: u64,
    /// A tunnel without a byte either way is closed.
    pub tunnel_idle_ms: u64,
}

impl Default for TimeoutConfig {
    fn default() -> Self {
        Self {
            dial_ms: 2_000,
            tls_handshake_ms: 5_000,
            response_header_ms: 30_000,
            body_idle_ms: 60_000,
            idle_ms: 90_000,
            expect_continue_ms: 1_000,
            total_ms: 0,
            tunnel_idle_ms: 3_600_000,
        }
    }
}

/// What callers may do, and for how long.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct DownstreamConfig {
    /// Absolute, from the first byte (or the opening) to the end of the head; 408, or a plain close when
    /// nothing was sent.
    pub request_head_ms: u64,
    /// Between two pieces of a request body; 408.
    pub request_body_idle_ms: u64,
    /// Between two requests; a plain close.
    pub keep_alive_ms: u64,
    /// Without progress while bytes wait to be sent to the caller; a reset.
    pub write_idle_ms: u64,
    /// How long a closed connection is still read, so that the last response is not lost to a reset.
    pub linger_ms: u64,
    /// Largest head; 431.
    pub head_max_bytes: usize,
    /// Longest request target; 414.
    pub target_max_bytes: usize,
    /// Most fields in a head; 431.
    pub fields_max: usize,
    /// Most connections, over all workers; 0 = no limit. One more is closed at once.
    pub connections_max: u32,
    /// Most connections of one client address, in this worker; 0 = no limit.
    pub connections_per_address_max: u32,
    /// Least average rate of a request body, from its first byte on; 0 = none. 408.
    pub request_body_min_bytes_per_s: u64,
    /// Least average rate at which what is unsent has to be taken; 0 = none. A reset.
    pub response_min_bytes_per_s: u64,
    /// How long these rates are not looked at.
    pub min_rate_grace_ms: u64,
}

impl Default for DownstreamConfig {
    fn default() -> Self {
        Self {
            request_head_ms: 10_000,
            request_body_idle_ms: 30_000,
            keep_alive_ms: 75_000,
            write_idle_ms: 60_000,
            linger_ms: 2_000,
            head_max_bytes: 64 * 1024,
            target_max_bytes: 16 * 1024,
            fields_max: 128,
            connections_max: 0,
            connections_per_address_max: 0,
            request_body_min_bytes_per_s: 0,
            response_min_bytes_per_s: 0,
            min_rate_grace_ms: 5_000,
        }
    }
}

/// Bounds of the idle pool.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct PoolConfig {
    /// Idle connections in all.
    pub idle_max: usize,
    /// Idle connections to one target.
    pub idle_per_host_max: usize,
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self {
            idle_max: 1000,
            idle_per_host_max: 100,
        }
    }
}

/// Flow control.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct BufferConfig {
    /// Unsent bytes on one side above which the other side is not read.
    pub high_water_bytes: usize,
}

impl Default for BufferConfig {
    fn default() -> Self {
        Self {
            high_water_bytes: 64 * 1024,
        }
    }
}

/// Access log switch.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct AccessLogConfig {
    /// One JSON line a request.
    pub enabled: bool,
}

/// Distributed traces.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct TracingConfig {
    /// Of a million traces that begin here, so many are sampled; a caller's decision is kept.
    pub sample_per_million: u32,
    /// Record the spans of sampled exchanges.
    pub spans: bool,
}

fn default_server_name() -> String {
    "gatewayx".to_owned()
}

fn default_namespace() -> String {
    "default".to_owned()
}

fn default_access_rule() -> String {
    "true".to_owned()
}

fn default_retry_after() -> u32 {
    1
}

fn default_true() -> bool {
    true
}

fn default_weight() -> u32 {
    1
}

fn default_failure_statuses() -> Vec<u16> {
    (500..=599).collect()
}
