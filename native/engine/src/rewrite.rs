//! Heads as they leave the gateway. What was parsed as ranges is written in canonical form: one space, one
//! `Content-Length` in decimal, no hop-by-hop field, the gateway's own fields in place of any that a caller
//! could forge. Sources: RFC 9110 section 7.6, RFC 9112 sections 3.2 and 6.

use gatewayx_auth::Caller;
use gatewayx_http::{
    Field, FieldId, Framing, Method, RequestHead, ResponseFraming, ResponseHead, TargetForm,
    Version,
};

use crate::admission::chain;
use crate::proxy::{Proxy, ProxyTarget};
use crate::rate_limit::{Quota, is_quota_field, write_quota};
use crate::trace::{self, Trace};

/// What the gateway says of itself and of the caller.
pub(crate) struct Identity<'a> {
    /// Whom the request comes from.
    pub(crate) client: &'a [u8],
    /// What the peer says of the client is believed.
    pub(crate) peer_trusted: bool,
    /// Address that the connection comes from.
    pub(crate) peer: &'a [u8],
    /// Scheme the caller used.
    pub(crate) scheme: &'static str,
    /// Id of the exchange.
    pub(crate) request_id: &'a [u8],
    /// Its place in a trace, while tracing is on.
    pub(crate) trace: Option<&'a Trace>,
    /// `Via: 1.1 name\r\n`.
    pub(crate) via_line: &'a [u8],
    /// The caller, where the proxy had to know.
    pub(crate) caller: Option<&'a Caller>,
}

/// How the body goes on to the caller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum OutFraming {
    /// No body.
    #[default]
    None,
    /// As many bytes as announced.
    Length,
    /// Chunked by the gateway.
    Chunked,
    /// The close ends it: for HTTP/1.0 callers.
    UntilClose,
}

/// A request head in its parts: `METHOD `, the target's path and query, and the field lines.
#[derive(Default)]
pub(crate) struct HeadParts {
    pub(crate) bytes: Vec<u8>,
    pub(crate) method_end: usize,
    pub(crate) target_end: usize,
    /// The target is `*`, to which no path is prefixed.
    pub(crate) is_asterisk: bool,
    /// The fields hold the caller's `Host`.
    pub(crate) has_host: bool,
}

/// How many more intermediaries an `OPTIONS` request may pass (RFC 9110 section 7.6.2).
pub(crate) fn max_forwards(src: &[u8], head: &RequestHead) -> Option<u64> {
    let field = head
        .fields
        .iter()
        .find(|field| field.name.of(src).eq_ignore_ascii_case(b"max-forwards"))?;
    std::str::from_utf8(field.value.of(src)).ok()?.parse().ok()
}

/// Writes the request head for an upstream yet to be chosen.
pub(crate) fn write_request(
    parts: &mut HeadParts,
    src: &[u8],
    head: &RequestHead,
    proxy: &Proxy,
    upgrade: bool,
    identity: &Identity<'_>,
) {
    let out = &mut parts.bytes;
    out.extend_from_slice(head.method_span.of(src));
    out.push(b' ');
    parts.method_end = out.len();
    // Origin form, whatever form the caller used (RFC 9112 section 3.2.2). The route matched the prefix to
    // be removed by whole segments.
    let whole_path = head.path.of(src);
    let options = head.method == Method::Options;
    // RFC 9112 section 3.2.4: the last proxy sends `*` for an absolute target without a path.
    parts.is_asterisk = options && (head.form == TargetForm::Asterisk || whole_path.is_empty());
    if parts.is_asterisk {
        out.push(b'*');
    } else {
        let path = whole_path.get(proxy.strip.len()..).unwrap_or_default();
        if path.is_empty() {
            out.push(b'/');
        }
        out.extend_from_slice(path);
        out.extend_from_slice(head.query.of(src));
    }
    parts.target_end = out.len();
    let host = head.host.of(src);
    parts.has_host = proxy.cfg.pass_host && !host.is_empty();
    if parts.has_host {
        write_field(out, b"Host", host);
    }
    let forwards = if options {
        max_forwards(src, head)
    } else {
        None
    };
    for field in &head.fields {
        if is_replaced(field, src, proxy) {
            continue;
        }
        let name = field.name.of(src);
        if identity
            .trace
            .is_some_and(|trace| trace::replaces(trace, name))
        {
            continue;
        }
        if forwards.is_some() && name.eq_ignore_ascii_case(b"max-forwards") {
            continue;
        }
        write_field(out, name, field.value.of(src));
    }
    if let Some(forwards) = forwards {
        out.extend_from_slice(b"Max-Forwards: ");
        write_decimal(out, forwards.saturating_sub(1));
        out.extend_from_slice(b"\r\n");
    }
    match head.framing {
        Framing::None => {}
        Framing::Length(len_bytes) => write_length(out, len_bytes),
        Framing::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
    }
    if head.expect_continue {
        out.extend_from_slice(b"Expect: 100-continue\r\n");
    }
    if upgrade {
        out.extend_from_slice(b"Connection: upgrade\r\nUpgrade: websocket\r\n");
    }
    write_forwarded(out, src, head, host, identity);
    write_field(out, b"X-Request-Id", identity.request_id);
    if let Some(trace) = identity.trace {
        trace.write_field(out);
    }
    out.extend_from_slice(identity.via_line);
    out.extend_from_slice(&proxy.header_lines);
    for template in &proxy.templates {
        template.write(out, identity);
    }
    out.extend_from_slice(b"\r\n");
}

/// Who is asked, how and by whom: as the connection shows it, or as a trusted proxy in front tells it.
fn write_forwarded(
    out: &mut Vec<u8>,
    src: &[u8],
    head: &RequestHead,
    host: &[u8],
    identity: &Identity<'_>,
) {
    let told = |id: FieldId, is_good: fn(&[u8]) -> bool| {
        let mut fields = head
            .fields
            .iter()
            .filter(|field| identity.peer_trusted && field.id == id && !field.hop_by_hop);
        match (fields.next(), fields.next()) {
            (Some(only), None) => Some(only.value.of(src)).filter(|value| is_good(value)),
            _ => None,
        }
    };
    out.extend_from_slice(b"X-Forwarded-For: ");
    if identity.peer_trusted {
        let mut addresses: Vec<_> = chain(src, head).collect();
        addresses.reverse();
        for address in addresses {
            out.extend_from_slice(address.to_string().as_bytes());
            out.extend_from_slice(b", ");
        }
    }
    out.extend_from_slice(identity.peer);
    out.extend_from_slice(b"\r\n");
    let is_scheme = |value: &[u8]| value == b"http" || value == b"https";
    let scheme = told(FieldId::XForwardedProto, is_scheme).unwrap_or(identity.scheme.as_bytes());
    write_field(out, b"X-Forwarded-Proto", scheme);
    let is_host = |value: &[u8]| {
        (1..=255).contains(&value.len())
            && value
                .iter()
                .all(|&byte| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte))
    };
    let host = told(FieldId::XForwardedHost, is_host).unwrap_or(host);
    if !host.is_empty() {
        write_field(out, b"X-Forwarded-Host", host);
    }
}

/// Appends a request head for the upstream that was chosen.
pub(crate) fn write_head_for(out: &mut Vec<u8>, parts: &HeadParts, target: &ProxyTarget) {
    out.extend_from_slice(&parts.bytes[..parts.method_end]);
    if !parts.is_asterisk {
        out.extend_from_slice(&target.base_path);
    }
    out.extend_from_slice(&parts.bytes[parts.method_end..parts.target_end]);
    out.extend_from_slice(b" HTTP/1.1\r\n");
    if !parts.has_host {
        out.extend_from_slice(&target.host_line);
    }
    out.extend_from_slice(&parts.bytes[parts.target_end..]);
}

#[inline]
fn is_replaced(field: &Field, src: &[u8], proxy: &Proxy) -> bool {
    if field.hop_by_hop {
        return true;
    }
    match field.id {
        FieldId::Host
        | FieldId::ContentLength
        | FieldId::TransferEncoding
        | FieldId::Expect
        | FieldId::Forwarded
        | FieldId::XForwardedFor
        | FieldId::XForwardedHost
        | FieldId::XForwardedPort
        | FieldId::XForwardedProto
        | FieldId::XRealIp
        | FieldId::XRequestId => return true,
        FieldId::Authorization if !proxy.cfg.pass_authorization => return true,
        FieldId::AcceptEncoding if proxy.cfg.strip_accept_encoding => return true,
        _ => {}
    }
    proxy.sets_header(field.name.of(src))
}

/// How a response's body is framed for the caller.
pub(crate) fn out_framing(framing: ResponseFraming, version: Version) -> OutFraming {
    match (framing, version) {
        (ResponseFraming::None, _) => OutFraming::None,
        (ResponseFraming::Length(_), _) => OutFraming::Length,
        (_, Version::Http11) => OutFraming::Chunked,
        (_, Version::Http10) => OutFraming::UntilClose,
    }
}

/// What the gateway adds to a response.
pub(crate) struct Additions<'a> {
    pub(crate) framing: OutFraming,
    pub(crate) connection: Connection,
    /// Value of `X-Circuit-Breaker`.
    pub(crate) circuit_state: Option<&'static str>,
    /// What the rate limit left; in place of what the upstream says of its own.
    pub(crate) quota: Option<Quota>,
    pub(crate) request_id: &'a [u8],
    pub(crate) via_line: &'a [u8],
}

/// Appends the response head for the caller.
pub(crate) fn write_response(
    out: &mut Vec<u8>,
    src: &[u8],
    head: &ResponseHead,
    additions: &Additions<'_>,
) {
    let framing = additions.framing;
    write_status(out, head.status, head.reason.of(src));
    // RFC 9110 section 8.6: no Content-Length in 1xx and 204; else without a body (HEAD, 304) it tells
    // what a GET would have carried.
    let passes_length = framing == OutFraming::None && head.status >= 200 && head.status != 204;
    for field in &head.fields {
        if field.hop_by_hop || matches!(field.id, FieldId::TransferEncoding | FieldId::XRequestId) {
            continue;
        }
        if field.id == FieldId::ContentLength && !passes_length {
            continue;
        }
        let name = field.name.of(src);
        if additions.quota.is_some() && is_quota_field(name) {
            continue;
        }
        write_field(out, name, field.value.of(src));
    }
    match framing {
        OutFraming::Length => {
            if let ResponseFraming::Length(len_bytes) = head.framing {
                write_length(out, len_bytes);
            }
        }
        OutFraming::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        OutFraming::None | OutFraming::UntilClose => {}
    }
    if head.status >= 200 {
        write_field(out, b"X-Request-Id", additions.request_id);
        out.extend_from_slice(additions.via_line);
        if let Some(quota) = &additions.quota {
            write_quota(out, quota);
        }
        if let Some(state) = additions.circuit_state {
            write_field(out, b"X-Circuit-Breaker", state.as_bytes());
        }
    }
    additions.connection.write(out);
    out.extend_from_slice(b"\r\n");
}

/// The gateway's `Connection` field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Connection {
    /// Nothing to say: HTTP/1.1 stays open.
    Implied,
    /// An HTTP/1.0 caller that asked for it.
    KeepAlive,
    /// Closed after this message.
    Close,
    /// The protocol changes.
    Upgrade,
}

impl Connection {
    pub(crate) fn write(self, out: &mut Vec<u8>) {
        out.extend_from_slice(match self {
            Self::Implied => b"".as_slice(),
            Self::KeepAlive => b"Connection: keep-alive\r\n",
            Self::Close => b"Connection: close\r\n",
            Self::Upgrade => b"Connection: upgrade\r\nUpgrade: websocket\r\n",
        });
    }
}

/// Appends a status line; an unusual code keeps whatever reason it came with.
pub(crate) fn write_status(out: &mut Vec<u8>, status: u16, reason: &[u8]) {
    out.extend_from_slice(b"HTTP/1.1 ");
    write_decimal(out, u64::from(status));
    out.push(b' ');
    out.extend_from_slice(reason);
    out.extend_from_slice(b"\r\n");
}

#[inline]
pub(crate) fn write_field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

pub(crate) fn write_length(out: &mut Vec<u8>, len_bytes: u64) {
    out.extend_from_slice(b"Content-Length: ");
    write_decimal(out, len_bytes);
    out.extend_from_slice(b"\r\n");
}

pub(crate) fn write_decimal(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals() {
        for value in [0, 7, 10, 65_535, u64::MAX] {
            let mut out = Vec::new();
            write_decimal(&mut out, value);
            assert_eq!(out, value.to_string().as_bytes());
        }
    }

    #[test]
    fn bodies_are_chunked_only_for_callers_who_know_chunks() {
        let chunked = ResponseFraming::Chunked;
        assert_eq!(out_framing(chunked, Version::Http11), OutFraming::Chunked);
        assert_eq!(
            out_framing(chunked, Version::Http10),
            OutFraming::UntilClose
        );
        assert_eq!(
            out_framing(ResponseFraming::UntilClose, Version::Http11),
            OutFraming::Chunked
        );
        assert_eq!(
            out_framing(ResponseFraming::Length(3), Version::Http10),
            OutFraming::Length
        );
    }
}
