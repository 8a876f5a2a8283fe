//! Response heads: RFC 9112 section 4, and the rules that span several fields of a response.

use crate::class;
use crate::connection::{parse_connection, parse_upgrade};
use crate::framing::{Declared, parse_framing};
use crate::lines::Census;
use crate::request::parse_version;
use crate::scan::read_head;
use crate::{Field, FieldId, HeadLimits, HeadScan, Method, ParseError, Span, Version};

/// How the body of a response is framed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ResponseFraming {
    /// No body: by status, by the request's method.
    #[default]
    None,
    /// Content-Length.
    Length(u64),
    /// Transfer-Encoding: chunked.
    Chunked,
    /// Whatever comes until the upstream closes: RFC 9112 section 6.3, rule 8.
    UntilClose,
}

/// What is odd about a response but leaves no doubt about its meaning; a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Oddities(u8);

impl Oddities {
    /// The status line ends after the code, without the space that belongs there.
    pub const NO_REASON: Self = Self(1 << 0);
    /// The status code is not registered with IANA.
    pub const UNKNOWN_STATUS: Self = Self(1 << 1);
    /// A known field is written like `cOntent-Type`.
    pub const ODD_CASE: Self = Self(1 << 2);
    /// HTTP/1.0 without Content-Length: the close ends the body.
    pub const HTTP10_NO_LENGTH: Self = Self(1 << 3);
    /// Connection has an option that is no token.
    pub const BAD_CONNECTION_OPTION: Self = Self(1 << 4);

    const PHRASES: [(Self, &'static str); 5] = [
        (Self::NO_REASON, "no reason phrase"),
        (Self::UNKNOWN_STATUS, "unknown status code"),
        (Self::ODD_CASE, "odd header case"),
        (Self::HTTP10_NO_LENGTH, "HTTP/1.0 without length"),
        (Self::BAD_CONNECTION_OPTION, "invalid connection option"),
    ];

    /// Whether nothing is odd.
    #[inline]
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether all of the other set are in this one.
    #[inline]
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Adds the other set.
    #[inline]
    pub const fn insert(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// A stable phrase for each member, for the warning.
    pub fn phrases(self) -> impl Iterator<Item = &'static str> {
        Self::PHRASES
            .into_iter()
            .filter(move |&(oddity, _)| self.contains(oddity))
            .map(|(_, phrase)| phrase)
    }
}

/// A response head. Reuse it for the next response, so that the list of fields is allocated once.
#[derive(Clone, Debug, Default)]
pub struct ResponseHead {
    /// Version of the message.
    pub version: Version,
    /// Status code, 100 to 999.
    pub status: u16,
    /// Reason phrase, may be empty.
    pub reason: Span,
    /// All field lines in order.
    pub fields: Vec<Field>,
    /// How the body is framed, with the method of the request in mind.
    pub framing: ResponseFraming,
    /// Whether the connection may serve another exchange after this one. False whenever the
    /// upstream says so, whenever the close ends the body or the protocol changes, and whenever an
    /// oddity casts doubt on where the message ends.
    pub keep_alive: bool,
    /// Value of Upgrade when the message is HTTP/1.1, Connection nominates `upgrade` and the value
    /// is good; else empty.
    pub upgrade: Span,
    /// What is odd about it.
    pub oddities: Oddities,
    /// Bytes of the buffer that the head takes.
    pub len: usize,
}

/// Parses a response head that begins at the start of `buf`, for a request of the given method.
///
/// Works as [`crate::parse_request`] does; interim (1xx) responses are heads of their own, without
/// a body.
///
/// # Errors
/// The first rule that the bytes break, as soon as they do. The connection cannot be used any more.
pub fn parse_response(
    buf: &[u8],
    scan: &mut HeadScan,
    limits: &HeadLimits,
    request_method: Method,
    head: &mut ResponseHead,
) -> Result<bool, ParseError> {
    let mut fields = std::mem::take(&mut head.fields);
    let lines = read_head(buf, scan, limits, &mut fields, |buf, scan| {
        parse_status_line(buf, scan, head)
    });
    head.fields = fields;
    let Some((len, census)) = lines? else {
        return Ok(false);
    };
    head.len = len;
    settle(buf, request_method, head, &census)?;
    Ok(true)
}

/// Length of `HTTP/1.1 200`.
const STATUS_END: usize = 12;

/// Reads the status line; returns where the first field line begins.
///
/// Stricter: no empty line may come before it. RFC 9112 section 2.2 has servers ignore one, for
/// clients of old; bytes before a response are left over from another.
fn parse_status_line(
    buf: &[u8],
    scan: &mut HeadScan,
    head: &mut ResponseHead,
) -> Result<Option<usize>, ParseError> {
    let Some(version) = parse_version(buf, 0)? else {
        return Ok(None);
    };
    match buf.get(8) {
        None => return Ok(None),
        Some(b' ') => {}
        Some(_) => return Err(ParseError::BadStatusLine),
    }
    let digits = &buf[9..buf.len().min(STATUS_END)];
    if digits.first() == Some(&b'0') || !digits.iter().all(u8::is_ascii_digit) {
        return Err(ParseError::BadStatus);
    }
    head.version = version;
    head.status = digits
        .iter()
        .fold(0, |status, digit| status * 10 + u16::from(digit - b'0'));
    head.oddities = Oddities::default();
    // RFC 9112 section 4: the space is required even when no phrase follows.
    let reason_start = match buf.get(STATUS_END) {
        None => return Ok(None),
        Some(b' ') => STATUS_END + 1,
        Some(b'\r') => {
            head.oddities.insert(Oddities::NO_REASON);
            STATUS_END
        }
        Some(b'\n') => return Err(ParseError::BareLf),
        Some(_) => return Err(ParseError::BadStatus),
    };
    let reason_end = class::value_end(buf, reason_start.max(scan.looked as usize));
    match (buf.get(reason_end), buf.get(reason_end + 1)) {
        (Some(b'\r'), Some(b'\n')) => {}
        (None, _) | (Some(b'\r'), None) => {
            scan.stop_in_start_line(reason_end);
            return Ok(None);
        }
        (Some(b'\r'), Some(_)) => return Err(ParseError::BareCr),
        (Some(b'\n'), _) => return Err(ParseError::BareLf),
        (Some(_), _) => return Err(ParseError::BadReason),
    }
    head.reason = Span::new(reason_start, reason_end);
    Ok(Some(reason_end + 2))
}

/// Judges what spans several fields, in this order: framing, Connection, Upgrade.
fn settle(
    buf: &[u8],
    request_method: Method,
    head: &mut ResponseHead,
    census: &Census,
) -> Result<(), ParseError> {
    let declared = parse_framing(buf, &head.fields, census, head.version)?;
    let options = parse_connection(buf, &mut head.fields, census)?;
    head.keep_alive = options.persists(head.version);
    if options.malformed {
        head.oddities.insert(Oddities::BAD_CONNECTION_OPTION);
        head.keep_alive = false;
    }
    head.upgrade = Span::default();
    if head.version == Version::Http11 {
        let upgrade = parse_upgrade(buf, &head.fields, census, options);
        // Only where the protocol changes does it matter to which; elsewhere it is advice.
        head.upgrade = if head.status == 101 {
            upgrade?
        } else {
            upgrade.unwrap_or_default()
        };
    }
    settle_framing(declared, request_method, head)?;
    if !is_registered(head.status) {
        head.oddities.insert(Oddities::UNKNOWN_STATUS);
    }
    if head.fields.iter().any(|field| has_odd_case(buf, field)) {
        head.oddities.insert(Oddities::ODD_CASE);
    }
    Ok(())
}

/// The rules of RFC 9112 section 6.3 in their order.
fn settle_framing(
    declared: Declared,
    request_method: Method,
    head: &mut ResponseHead,
) -> Result<(), ParseError> {
    let is_interim = head.status < 200;
    if is_interim || head.status == 204 {
        if declared == Declared::Chunked {
            return Err(ParseError::TransferEncodingForbidden);
        }
        head.framing = ResponseFraming::None;
        // Stricter: RFC 9110 section 8.6 says MUST NOT be sent; whoever sends it may send the bytes
        // too, and they would be read as the next response. A length of 0 is harmless and dropped.
        if declared != Declared::Nothing {
            if declared != Declared::Length(0) {
                return Err(ParseError::ContentLengthForbidden);
            }
            for field in head
                .fields
                .iter_mut()
                .filter(|field| field.id == FieldId::ContentLength)
            {
                field.hop_by_hop = true;
            }
        }
        head.keep_alive &= head.status != 101;
        return Ok(());
    }
    if request_method == Method::Connect && head.status < 300 {
        head.framing = ResponseFraming::None;
        head.keep_alive = false;
        return Ok(());
    }
    if request_method == Method::Head || head.status == 304 {
        head.framing = ResponseFraming::None;
        return Ok(());
    }
    head.framing = match declared {
        Declared::Length(length) => ResponseFraming::Length(length),
        Declared::Chunked => ResponseFraming::Chunked,
        Declared::Nothing => {
            if head.version == Version::Http10 {
                head.oddities.insert(Oddities::HTTP10_NO_LENGTH);
            }
            head.keep_alive = false;
            ResponseFraming::UntilClose
        }
    };
    Ok(())
}

/// Whether the IANA registry has the code.
const fn is_registered(status: u16) -> bool {
    matches!(
        status,
        100..=104 | 200..=208 | 226 | 300..=308 | 400..=418 | 421..=426 | 428 | 429 | 431 | 451 | 500..=508 | 510 | 511
    )
}

/// Whether a word of a known field's name mixes cases otherwise than by beginning with a capital.
fn has_odd_case(buf: &[u8], field: &Field) -> bool {
    if field.id == FieldId::Other {
        return false;
    }
    field.name.of(buf).split(|&byte| byte == b'-').any(|word| {
        let tail = &word[1..];
        tail.iter().any(u8::is_ascii_uppercase) && !word.iter().all(u8::is_ascii_uppercase)
    })
}
