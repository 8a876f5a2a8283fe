//! A configured proxy as the engine works with it: what is known once a configuration is loaded is computed
//! here, not once a request.

use std::cell::Cell;

use gatewayx_http::Oddities;
use gatewayx_telemetry::{Cells, Region};

use crate::config::{ProxyConfig, UpstreamConfig};

/// Where connections are opened to. Proxies that lead to the same place share its idle connections.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Whether TLS is spoken.
    pub tls: bool,
}

impl Target {
    pub(crate) fn of(upstream: &UpstreamConfig) -> Self {
        Self {
            host: upstream.host.clone(),
            port: upstream.port,
            tls: upstream.tls,
        }
    }
}

/// One upstream of a proxy.
pub(crate) struct ProxyTarget {
    /// Index into the engine's targets.
    pub(crate) id: u32,
    /// `Host: ...\r\n`.
    pub(crate) host_line: Vec<u8>,
    /// Put before the path.
    pub(crate) base_path: Vec<u8>,
    /// `host:port`, for the log.
    pub(crate) authority: Vec<u8>,
}

/// One proxy of the running configuration.
pub(crate) struct Proxy {
    pub(crate) cfg: ProxyConfig,
    pub(crate) targets: Vec<ProxyTarget>,
    /// The path to remove, without a trailing slash; empty when nothing is removed.
    pub(crate) strip: Vec<u8>,
    /// Configured header lines.
    pub(crate) header_lines: Vec<u8>,
    /// Their names in lower case, with `-` for `_`: a caller's field of such a name is dropped, also in
    /// the spelling that CGI and WSGI cannot tell apart.
    pub(crate) header_names: Vec<Vec<u8>>,
    /// Oddities of its upstreams that an operator has been told of.
    pub(crate) warned: Cell<Oddities>,
    /// This worker's metrics of the proxy.
    pub(crate) cells: Cells,
    /// The cells that all workers share: permits in use.
    pub(crate) shared: Cells,
}

impl Proxy {
    pub(crate) fn new(cfg: ProxyConfig, region: &Region, slot: u32, targets: Vec<u32>) -> Self {
        let targets = cfg
            .upstreams
            .iter()
            .zip(targets)
            .map(|(upstream, id)| ProxyTarget {
                id,
                host_line: format!("Host: {}\r\n", upstream.authority).into_bytes(),
                base_path: upstream.base_path.clone().into_bytes(),
                authority: format!("{}:{}", upstream.host, upstream.port).into_bytes(),
            })
            .collect();
        let strip = if cfg.strip_path {
            cfg.path.trim_end_matches('/')
        } else {
            ""
        };
        let header_lines = cfg
            .headers
            .iter()
            .flat_map(|(name, value)| format!("{name}: {value}\r\n").into_bytes())
            .collect();
        let header_names = cfg
            .headers
            .iter()
            .map(|(name, _)| canonical(name.as_bytes()))
            .collect();
        Self {
            targets,
            strip: strip.as_bytes().to_vec(),
            header_lines,
            header_names,
            warned: Cell::default(),
            cells: region.cells(slot, cfg.block),
            shared: region.shared(cfg.block),
            cfg,
        }
    }

    /// Whether the configuration sets this header, in any spelling.
    #[inline]
    pub(crate) fn sets_header(&self, name: &[u8]) -> bool {
        self.header_names.iter().any(|set| {
            set.len() == name.len()
                && set
                    .iter()
                    .zip(name)
                    .all(|(&set, &byte)| set == canonical_byte(byte))
        })
    }
}

fn canonical(name: &[u8]) -> Vec<u8> {
    name.iter().map(|&byte| canonical_byte(byte)).collect()
}

fn canonical_byte(byte: u8) -> u8 {
    if byte == b'_' {
        b'-'
    } else {
        byte.to_ascii_lowercase()
    }
}
