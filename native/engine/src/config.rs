//! The compiled configuration, as the control plane hands it over. All values are checked there; here
//! they are only typed. Durations are milliseconds, `0` waits for ever; sizes are bytes.

use serde::Deserialize;

/// Everything the engine is told.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Routes and how to serve them.
    pub proxies: Vec<ProxyConfig>,
    /// What callers may do.
    #[serde(default)]
    pub downstream: DownstreamConfig,
    /// Idle upstream connections.
    #[serde(default)]
    pub upstream_pool: PoolConfig,
    /// Flow control.
    #[serde(default)]
    pub buffer: BufferConfig,
    /// Access log.
    #[serde(default)]
    pub access_log: AccessLogConfig,
    /// The pseudonym in `Via`.
    #[serde(default = "default_server_name")]
    pub server_name: String,
}

/// One proxy: what it matches and where it leads.
#[derive(Clone, Debug, Deserialize)]
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
    /// Most exchanges at once; 0 = no limit.
    #[serde(default)]
    pub max_concurrent: u32,
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
}

/// One target of a proxy.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpstreamConfig {
    /// Name or address to connect to.
    pub host: String,
    /// Port to connect to.
    pub port: u16,
    /// Speak TLS to it.
    #[serde(default)]
    pub tls: bool,
    /// Value of `Host`.
    pub authority: String,
    /// Put before every path, without a trailing slash.
    #[serde(default)]
    pub base_path: String,
}

/// Deadlines of a proxy.
#[derive(Clone, Debug, Deserialize)]
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
#[derive(Clone, Debug, Deserialize)]
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
        }
    }
}

/// Bounds of the idle pool.
#[derive(Clone, Debug, Deserialize)]
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
#[derive(Clone, Debug, Deserialize)]
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
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AccessLogConfig {
    /// One JSON line a request.
    pub enabled: bool,
}

fn default_server_name() -> String {
    "gatewayx".to_owned()
}

fn default_namespace() -> String {
    "default".to_owned()
}

fn default_retry_after() -> u32 {
    1
}

fn default_true() -> bool {
    true
}
