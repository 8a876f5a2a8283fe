//! Naive twins, shared part: what a head's lines and fields say, by plain string work on a whole
//! head.
//!
//! Slow and obviously right. Bytes are read as Latin-1, so that one character is one byte.

use gatewayx_http::{FieldId, Version};

use crate::delivery::FieldView;

/// What a twin thinks of the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Opinion<T> {
    /// The message does not end here; the parser may want more or refuse what is there.
    Unfinished,
    Refused,
    Accepted(T),
}

pub(crate) fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| byte as char).collect()
}

pub(crate) fn bytes(text: &str) -> Vec<u8> {
    text.chars().map(|c| c as u8).collect()
}

pub(crate) fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c))
}

pub(crate) fn is_value(text: &str) -> bool {
    text.chars().all(|c| c == '\t' || c >= ' ' && c != '\x7f')
}

pub(crate) fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

/// Lines of a head without their ends, if CRLF ends each and none has a CR or LF within.
pub(crate) fn lines(head: &str) -> Option<Vec<&str>> {
    let lines: Vec<&str> = head.split("\r\n").collect();
    lines
        .iter()
        .all(|line| !line.contains(['\r', '\n']))
        .then_some(lines)
}

pub(crate) fn version(text: &str) -> Option<Version> {
    match text {
        "HTTP/1.0" => Some(Version::Http10),
        "HTTP/1.1" => Some(Version::Http11),
        _ => None,
    }
}

const HOP_BY_HOP: [&str; 10] = [
    "connection",
    "keep-alive",
    "proxy",
    "proxy-authenticate",
    "proxy-authentication-info",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
];

fn id(name: &str) -> FieldId {
    let known = FieldId::ALL
        .iter()
        .find(|id| id.name().eq_ignore_ascii_case(name));
    known.copied().unwrap_or(FieldId::Other)
}

/// The fields of these lines, but for what Connection nominates.
pub(crate) fn fields(lines: &[&str]) -> Option<Vec<FieldView>> {
    lines
        .iter()
        .map(|line| {
            let (name, value) = line.split_once(':')?;
            let value = trim(value);
            let alias = name.contains('_') && id(&name.replace('_', "-")) != FieldId::Other;
            let hop_by_hop = alias || HOP_BY_HOP.contains(&name.to_ascii_lowercase().as_str());
            (is_token(name) && is_value(value)).then(|| FieldView {
                name: bytes(name),
                value: bytes(value),
                id: id(name),
                hop_by_hop,
            })
        })
        .collect()
}

/// All values of the field.
pub(crate) fn values(fields: &[FieldView], id: FieldId) -> Vec<String> {
    fields
        .iter()
        .filter(|field| field.id == id)
        .map(|field| latin1(&field.value))
        .collect()
}

/// All list members in all values of the field, in lower case.
pub(crate) fn members(fields: &[FieldView], id: FieldId) -> Vec<String> {
    let joined = values(fields, id).join(",").to_ascii_lowercase();
    joined
        .split(',')
        .map(trim)
        .filter(|member| !member.is_empty())
        .map(String::from)
        .collect()
}

/// Content-Length and whether the message is chunked; `None` when that is refused.
pub(crate) fn framing(fields: &[FieldView], version: Version) -> Option<(Option<u64>, bool)> {
    let lengths = values(fields, FieldId::ContentLength);
    let codings = values(fields, FieldId::TransferEncoding);
    match (lengths.as_slice(), codings.as_slice()) {
        ([], []) => Some((None, false)),
        ([length], []) => {
            let digits =
                length.chars().all(|c| c.is_ascii_digit()) && (1..=20).contains(&length.len());
            let length: u64 = length.parse().ok().filter(|_| digits)?;
            (length < 1 << 63).then_some((Some(length), false))
        }
        ([], [coding]) => {
            let chunked = version == Version::Http11 && coding.eq_ignore_ascii_case("chunked");
            chunked.then_some((None, true))
        }
        _ => None,
    }
}

/// Marks what Connection nominates; returns its options, or `None` when it may not nominate one of
/// them.
pub(crate) fn connection(fields: &mut [FieldView]) -> Option<Vec<String>> {
    let options = members(fields, FieldId::Connection);
    let framing = ["host", "content-length", "transfer-encoding"];
    if options.len() > 32
        || options
            .iter()
            .any(|option| framing.contains(&option.as_str()))
    {
        return None;
    }
    for field in fields {
        field.hop_by_hop |= options.contains(&latin1(&field.name).to_ascii_lowercase());
    }
    Some(options)
}

/// The value of Upgrade if Connection nominates it; `None` when it is malformed.
pub(crate) fn upgrade(fields: &[FieldView], options: &[String]) -> Option<String> {
    let values = values(fields, FieldId::Upgrade);
    if values.is_empty() || !options.contains(&"upgrade".into()) {
        return Some(String::new());
    }
    let is_protocol = |protocol: &String| match protocol.split_once('/') {
        None => is_token(protocol),
        Some((name, version)) => is_token(name) && is_token(version),
    };
    let good = values.len() == 1 && members(fields, FieldId::Upgrade).iter().all(is_protocol);
    good.then(|| values[0].clone())
}

/// Whether this is `host[:port]`.
pub(crate) fn is_authority(text: &str) -> bool {
    let (host, port) = match text.rfind(']') {
        Some(end) => text.split_at(end + 1),
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    let host_is_good = match host.strip_prefix('[') {
        Some(literal) => literal
            .strip_suffix(']')
            .is_some_and(|ip| ip.parse::<core::net::Ipv6Addr>().is_ok()),
        None => host
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-._~".contains(c)),
    };
    let digits = port.strip_prefix(':').unwrap_or(port);
    let port_is_good = (port.is_empty() || port.starts_with(':'))
        && digits.len() <= 5
        && digits.chars().all(|c| c.is_ascii_digit())
        && (digits.is_empty() || digits.parse::<u16>().is_ok());
    (1..=255).contains(&host.len()) && host_is_good && port_is_good
}
