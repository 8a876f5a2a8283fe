//! Request heads: RFC 9112 sections 2 and 3, and the rules that span several fields of a request.

use crate::class::{self, TARGET, TOKEN};
use crate::connection::{parse_connection, parse_upgrade};
use crate::framing::{Declared, parse_framing};
use crate::lines::{Census, members, value_of};
use crate::scan::read_head;
use crate::target::parse_target;
use crate::{Field, FieldId, HeadLimits, HeadScan, ParseError, Span};

/// Empty lines before a request that are passed over. RFC 9112 section 2.2 asks for at least one.
const EMPTY_LINES_MAX_COUNT: usize = 4;

/// Longest method. The longest registered one, UPDATEREDIRECTREF, has 17.
///
/// Stricter: no limit in the RFC. A method goes into logs, and a flood of letters should end early.
const METHOD_MAX_BYTES: usize = 32;

/// A request method: RFC 9110 section 9.3, RFC 5789.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Method {
    /// `GET`
    #[default]
    Get,
    /// `HEAD`
    Head,
    /// `POST`
    Post,
    /// `PUT`
    Put,
    /// `DELETE`
    Delete,
    /// `CONNECT`
    Connect,
    /// `OPTIONS`
    Options,
    /// `TRACE`
    Trace,
    /// `PATCH`
    Patch,
    /// Any other token. Methods are case-sensitive, so `get` is one.
    Other,
}

impl Method {
    /// The method of that name.
    #[inline]
    #[must_use]
    pub fn of(name: &[u8]) -> Self {
        match name {
            b"GET" => Self::Get,
            b"HEAD" => Self::Head,
            b"POST" => Self::Post,
            b"PUT" => Self::Put,
            b"DELETE" => Self::Delete,
            b"CONNECT" => Self::Connect,
            b"OPTIONS" => Self::Options,
            b"TRACE" => Self::Trace,
            b"PATCH" => Self::Patch,
            _ => Self::Other,
        }
    }

    /// Whether it only reads: RFC 9110 section 9.2.1.
    #[must_use]
    pub const fn is_safe(self) -> bool {
        matches!(self, Self::Get | Self::Head | Self::Options | Self::Trace)
    }

    /// Whether sending it twice does what sending it once does: RFC 9110 section 9.2.2. Not known,
    /// hence not so, for [`Self::Other`].
    #[must_use]
    pub const fn is_idempotent(self) -> bool {
        self.is_safe() || matches!(self, Self::Put | Self::Delete)
    }
}

/// The four forms of a request target: RFC 9112 section 3.2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TargetForm {
    /// `/path?query`
    #[default]
    Origin,
    /// `http://host/path?query`
    Absolute,
    /// `*`
    Asterisk,
    /// `host:port`, of CONNECT
    Authority,
}

/// Version of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    #[default]
    Http11,
}

/// How the body of a request is framed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Framing {
    /// No body, and nothing said about one.
    #[default]
    None,
    /// Content-Length, also when it is 0.
    Length(u64),
    /// Transfer-Encoding: chunked.
    Chunked,
}

impl Framing {
    /// Whether at least one byte follows the head.
    #[inline]
    #[must_use]
    pub const fn has_bytes(self) -> bool {
        !matches!(self, Self::None | Self::Length(0))
    }
}

/// A request head. Reuse it for the next request, so that the list of fields is allocated once.
#[derive(Clone, Debug, Default)]
pub struct RequestHead {
    /// The method.
    pub method: Method,
    /// The method as it was sent.
    pub method_span: Span,
    /// Form of the target.
    pub form: TargetForm,
    /// Begins with `/`; empty for an absolute form without path and for an authority form; `*` for
    /// asterisk form.
    pub path: Span,
    /// The query with its `?`, or empty.
    pub query: Span,
    /// `host[:port]` that the request is for: the target's if it has one, else Host; empty only for
    /// HTTP/1.0 without Host.
    pub host: Span,
    /// Version of the message.
    pub version: Version,
    /// All field lines in order.
    pub fields: Vec<Field>,
    /// How the body is framed.
    pub framing: Framing,
    /// Whether the peer leaves the connection open, by version and Connection.
    pub keep_alive: bool,
    /// The peer waits for 100 (Continue): HTTP/1.1, and a body follows.
    pub expect_continue: bool,
    /// Value of Upgrade when the message is HTTP/1.1 and Connection nominates `upgrade`; else
    /// empty.
    pub upgrade: Span,
    /// TE says that trailers are welcome: HTTP/1.1 only.
    pub te_trailers: bool,
    /// Bytes of the buffer that the head takes, leading empty lines included.
    pub len: usize,
}

/// Parses a request head that begins at the start of `buf`.
///
/// `Ok(true)`: the head is whole and `head` is filled. `Ok(false)`: more bytes are needed; pass the
/// same bytes and more with the same `scan`. `head` holds nothing of use then, and may serve
/// another connection between.
///
/// # Errors
/// The first rule that the bytes break, as soon as they do. The connection cannot be used any more.
pub fn parse_request(
    buf: &[u8],
    scan: &mut HeadScan,
    limits: &HeadLimits,
    head: &mut RequestHead,
) -> Result<bool, ParseError> {
    let mut fields = std::mem::take(&mut head.fields);
    let lines = read_head(buf, scan, limits, &mut fields, |buf, scan| {
        parse_request_line(buf, scan, limits, head)
    });
    head.fields = fields;
    let Some((len, census)) = lines? else {
        return Ok(false);
    };
    head.len = len;
    settle(buf, head, &census)?;
    Ok(true)
}

/// Reads empty lines and the request line; returns where the first field line begins.
fn parse_request_line(
    buf: &[u8],
    scan: &mut HeadScan,
    limits: &HeadLimits,
    head: &mut RequestHead,
) -> Result<Option<usize>, ParseError> {
    let mut start = 0;
    while buf.get(start) == Some(&b'\r') {
        if start >= 2 * EMPTY_LINES_MAX_COUNT {
            return Err(ParseError::TooManyEmptyLines);
        }
        match buf.get(start + 1) {
            None => return Ok(None),
            Some(b'\n') => start += 2,
            Some(_) => return Err(ParseError::BareCr),
        }
    }

    let method_window = &buf[..buf.len().min(start + METHOD_MAX_BYTES + 1)];
    let (method_end, _) = class::run(method_window, start, TOKEN);
    if method_end - start > METHOD_MAX_BYTES {
        return Err(ParseError::MethodTooLong);
    }
    match buf.get(method_end) {
        None => return Ok(None),
        Some(b' ') if method_end > start => {}
        Some(b'\n') => return Err(ParseError::BareLf),
        Some(_) => return Err(ParseError::BadMethod),
    }

    let target_start = method_end + 1;
    let looked = scan.looked as usize;
    let (target_end, mut classes) = class::run(buf, target_start.max(looked), TARGET);
    if target_end - target_start > limits.target_max_bytes {
        return Err(ParseError::TargetTooLong);
    }
    // The target is the only part without a small bound of its own, hence the only one not to look
    // at again.
    match buf.get(target_end) {
        None => {
            scan.stop_in_start_line(target_end);
            return Ok(None);
        }
        // Stricter: RFC 9112 section 3 lets a recipient split at any whitespace.
        Some(b' ') if target_end == target_start => return Err(ParseError::EmptyTarget),
        Some(b' ') => {}
        Some(b'\r') => return Err(ParseError::MissingVersion),
        Some(b'\n') => return Err(ParseError::BareLf),
        Some(b'#') => return Err(ParseError::FragmentInTarget),
        Some(_) => return Err(ParseError::BadTargetByte),
    }

    let version_start = target_end + 1;
    let version_end = version_start + 8;
    let Some(version) = parse_version(buf, version_start)? else {
        scan.stop_in_start_line(target_end);
        return Ok(None);
    };
    match (buf.get(version_end), buf.get(version_end + 1)) {
        (Some(b'\r'), Some(b'\n')) => {}
        (None, _) | (Some(b'\r'), None) => {
            scan.stop_in_start_line(target_end);
            return Ok(None);
        }
        (Some(b'\r'), Some(_)) => return Err(ParseError::BareCr),
        (Some(b'\n'), _) => return Err(ParseError::BareLf),
        (Some(_), _) => return Err(ParseError::BadVersion),
    }

    if looked > target_start {
        classes = class::union(&buf[target_start..target_end]);
    }
    head.version = version;
    head.method_span = Span::new(start, method_end);
    head.method = Method::of(&buf[start..method_end]);
    parse_target(buf, Span::new(target_start, target_end), classes, head)?;
    Ok(Some(version_end + 2))
}

/// `HTTP/` DIGIT `.` DIGIT at `start`, or `None` when the bytes end within.
#[inline]
pub(crate) fn parse_version(buf: &[u8], start: usize) -> Result<Option<Version>, ParseError> {
    match buf.get(start..start + 8) {
        Some(b"HTTP/1.1") => Ok(Some(Version::Http11)),
        Some(b"HTTP/1.0") => Ok(Some(Version::Http10)),
        _ => odd_version(buf.get(start..).unwrap_or_default()),
    }
}

/// A version that is incomplete, malformed or unsupported.
#[cold]
fn odd_version(bytes: &[u8]) -> Result<Option<Version>, ParseError> {
    // `d` stands for a digit, which the name has none of.
    for (&byte, &expected) in bytes.iter().zip(b"HTTP/d.d") {
        if byte != expected && !(expected == b'd' && byte.is_ascii_digit()) || byte == b'd' {
            return Err(ParseError::BadVersion);
        }
    }
    if bytes.len() < 8 {
        Ok(None)
    } else {
        Err(ParseError::UnsupportedVersion)
    }
}

/// Judges what spans several fields, in this order: Host, framing, Connection, Expect, Upgrade.
fn settle(buf: &[u8], head: &mut RequestHead, census: &Census) -> Result<(), ParseError> {
    settle_host(buf, head, census)?;
    head.framing = match parse_framing(buf, &head.fields, census, head.version)? {
        Declared::Nothing => Framing::None,
        Declared::Length(length) => Framing::Length(length),
        Declared::Chunked => Framing::Chunked,
    };
    let options = parse_connection(buf, &mut head.fields, census)?;
    if options.malformed {
        return Err(ParseError::BadConnectionOption);
    }
    head.keep_alive = options.persists(head.version);
    head.expect_continue = false;
    head.upgrade = Span::default();
    head.te_trailers = false;
    if head.version == Version::Http11 {
        head.expect_continue = expects_continue(buf, head, census)?;
        head.te_trailers = census.seen.contains(FieldId::Te) && takes_trailers(buf, &head.fields);
        head.upgrade = parse_upgrade(buf, &head.fields, census, options)?;
        // Stricter: RFC 9110 section 7.8 has the body sent before the protocol changes; upstreams
        // differ in whether they read it first, and what they leave becomes bytes of the other
        // protocol.
        if !head.upgrade.is_empty() && head.framing.has_bytes() {
            return Err(ParseError::UpgradeWithBody);
        }
    }
    Ok(())
}

/// RFC 9112 section 3.2: exactly one valid Host in HTTP/1.1. A target's own authority wins (section
/// 3.2.2).
///
/// Stricter: more than one Host is refused in HTTP/1.0 too, and an empty one always, as it would
/// select whatever route happens to be the default.
fn settle_host(buf: &[u8], head: &mut RequestHead, census: &Census) -> Result<(), ParseError> {
    if !census.seen.contains(FieldId::Host) {
        return match head.version {
            Version::Http10 => Ok(()),
            Version::Http11 => Err(ParseError::MissingHost),
        };
    }
    if census.repeated.contains(FieldId::Host) {
        return Err(ParseError::DuplicateHost);
    }
    let host = value_of(&head.fields, FieldId::Host);
    if !crate::authority::is_authority(host.of(buf)) {
        return Err(ParseError::BadHost);
    }
    if head.host.is_empty() {
        head.host = host;
    }
    Ok(())
}

/// RFC 9110 section 10.1.1: other expectations MAY be answered with 417; a request without a body
/// MUST NOT expect 100 (Continue), and none is due.
fn expects_continue(buf: &[u8], head: &RequestHead, census: &Census) -> Result<bool, ParseError> {
    if !census.seen.contains(FieldId::Expect) {
        return Ok(false);
    }
    let mut expectations = head
        .fields
        .iter()
        .filter(|field| field.id == FieldId::Expect);
    if expectations.all(|field| field.value.of(buf).eq_ignore_ascii_case(b"100-continue")) {
        Ok(head.framing.has_bytes())
    } else {
        Err(ParseError::UnknownExpectation)
    }
}

/// Whether a TE line has the member `trailers`: RFC 9110 section 10.1.4. Whether Connection
/// nominates TE, as senders must see to, changes nothing about what this sender understands.
fn takes_trailers(buf: &[u8], fields: &[Field]) -> bool {
    fields
        .iter()
        .filter(|field| field.id == FieldId::Te)
        .any(|field| {
            members(field.value.of(buf)).any(|member| member.eq_ignore_ascii_case(b"trailers"))
        })
}
