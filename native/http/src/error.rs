//! Why bytes are refused. One variant is one rule.

use std::fmt;

/// A rule that a peer's bytes broke.
///
/// The status that a refused request is answered with is the engine's business; four families
/// matter to it: [`Self::TargetTooLong`] (414), [`Self::HeadTooLarge`] and [`Self::TooManyFields`]
/// (431), [`Self::UnsupportedVersion`] (505) and [`Self::UnknownExpectation`] (417). All others are
/// plain 400, or 502 when an upstream broke them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ParseError {
    // Lines of a head, of chunk sizes and of trailers.
    /// CR that is not followed by LF: RFC 9112 section 2.2.
    BareCr,
    /// LF that does not follow CR: RFC 9112 section 2.2 lets a recipient take it for a line end.
    BareLf,
    /// More empty lines before a request than are ignored: RFC 9112 section 2.2.
    TooManyEmptyLines,
    /// The head passes its limit of bytes: RFC 6585 section 5.
    HeadTooLarge,
    /// The head passes its limit of field lines: RFC 6585 section 5.
    TooManyFields,

    // Request line.
    /// The method is not a token: RFC 9110 section 9.1.
    BadMethod,
    /// The method is longer than any in use: RFC 9112 section 3.
    MethodTooLong,
    /// Nothing between the two spaces of the request line: RFC 9112 section 3.
    EmptyTarget,
    /// The target passes its limit of bytes: RFC 9112 section 3.
    TargetTooLong,
    /// A byte that no URI holds: RFC 9112 section 3.2, RFC 3986 appendix A.
    BadTargetByte,
    /// `#` in the target: RFC 9112 section 3.2.1.
    FragmentInTarget,
    /// `%` without two hexadecimal digits: RFC 3986 section 2.1.
    BadPercentEscape,
    /// `%00` in the target: RFC 3986 section 7.3.
    EncodedNul,
    /// A path segment that means "here" or "up": RFC 3986 section 5.2.4.
    DotSegment,
    /// A target form that the method does not take: RFC 9112 section 3.2.
    BadTargetForm,
    /// An absolute target of another scheme than http and https: RFC 9110 section 4.2.
    UnsupportedScheme,
    /// The target's authority is not `host[:port]`: RFC 9110 sections 4.2.1 and 4.2.2.
    BadAuthority,
    /// User information in the target's authority: RFC 9110 section 4.2.4.
    Userinfo,
    /// A request line of two parts, as in HTTP/0.9: RFC 9112 section 3.
    MissingVersion,
    /// Not `HTTP/` DIGIT `.` DIGIT: RFC 9112 section 2.3.
    BadVersion,
    /// A well-formed version other than 1.0 and 1.1: RFC 9110 section 15.6.6.
    UnsupportedVersion,

    // Status line.
    /// No single space where the status line has one: RFC 9112 section 4.
    BadStatusLine,
    /// Not three digits from 100 on: RFC 9110 section 15.
    BadStatus,
    /// A control character in the reason phrase: RFC 9112 section 4.
    BadReason,

    // Field lines.
    /// A field line that begins with whitespace: RFC 9112 sections 2.2 and 5.2.
    ObsFold,
    /// A field line that begins with a colon: RFC 9110 section 5.1.
    EmptyFieldName,
    /// A byte that is no token character in a name: RFC 9110 section 5.1.
    BadFieldName,
    /// Whitespace in a name or between name and colon: RFC 9112 section 5.1.
    WhitespaceBeforeColon,
    /// A field line without a colon: RFC 9112 section 5.
    MissingColon,
    /// A control character in a value: RFC 9110 section 5.5.
    BadFieldValue,

    // Host.
    /// HTTP/1.1 without Host: RFC 9112 section 3.2.
    MissingHost,
    /// More than one Host line: RFC 9112 section 3.2.
    DuplicateHost,
    /// Host is not `host[:port]`: RFC 9110 section 7.2.
    BadHost,

    // Framing.
    /// Content-Length is not a plain decimal number: RFC 9110 section 8.6.
    BadContentLength,
    /// Content-Length beyond what is counted: RFC 9110 section 8.6.
    ContentLengthTooLarge,
    /// More than one Content-Length line: RFC 9112 section 6.3.
    DuplicateContentLength,
    /// Transfer-Encoding together with Content-Length: RFC 9112 section 6.1.
    TransferEncodingWithLength,
    /// Transfer-Encoding in an HTTP/1.0 message: RFC 9112 section 6.1.
    TransferEncodingInHttp10,
    /// Transfer-Encoding in a 1xx or 204 response: RFC 9112 section 6.1.
    TransferEncodingForbidden,
    /// Content-Length above 0 in a 1xx or 204 response: RFC 9110 section 8.6.
    ContentLengthForbidden,
    /// Transfer-Encoding is anything but one line that says `chunked`: RFC 9112 sections 6.1 and 7.
    BadTransferEncoding,

    // Connection, Expect, Upgrade.
    /// A connection option that is no token: RFC 9110 section 7.6.1.
    BadConnectionOption,
    /// More connection options than are looked at: RFC 9110 section 7.6.1.
    TooManyConnectionOptions,
    /// Connection nominates a field that frames or routes the message: RFC 9110 section 7.6.1.
    NominatedFraming,
    /// An expectation other than 100-continue: RFC 9110 section 10.1.1.
    UnknownExpectation,
    /// Upgrade is no list of protocols: RFC 9110 section 7.8.
    BadUpgrade,
    /// More than one Upgrade line: RFC 9110 section 7.8.
    DuplicateUpgrade,
    /// An upgrade asked for by a request with a body: RFC 9110 section 7.8.
    UpgradeWithBody,

    // Chunked coding.
    /// A chunk size that is not 1*HEXDIG: RFC 9112 section 7.1.
    BadChunkSize,
    /// A chunk size beyond 64 bits: RFC 9112 section 7.1.
    ChunkSizeTooLarge,
    /// A chunk-size line that passes its limit: RFC 9112 section 7.1.1.
    ChunkLineTooLong,
    /// Not `;` name [`=` value]: RFC 9112 section 7.1.1.
    BadChunkExtension,
    /// The chunk extensions of the message pass their limit: RFC 9112 section 7.1.1.
    ChunkExtensionsTooLarge,
    /// Chunk data that is not followed by CRLF: RFC 9112 section 7.1.
    BadChunkEnd,
    /// The trailer section passes its limit of bytes: RFC 9112 section 7.1.2.
    TrailersTooLarge,
    /// The trailer section passes its limit of lines: RFC 9112 section 7.1.2.
    TooManyTrailers,
}

impl ParseError {
    /// A stable phrase for logs and for the `details` of an error body. Never contains peer bytes.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BareCr => "bare CR",
            Self::BareLf => "bare LF",
            Self::TooManyEmptyLines => "too many empty lines before the request line",
            Self::HeadTooLarge => "head too large",
            Self::TooManyFields => "too many header fields",
            Self::BadMethod => "invalid method",
            Self::MethodTooLong => "method too long",
            Self::EmptyTarget => "empty request target",
            Self::TargetTooLong => "request target too long",
            Self::BadTargetByte => "invalid character in the request target",
            Self::FragmentInTarget => "fragment in the request target",
            Self::BadPercentEscape => "malformed percent escape in the request target",
            Self::EncodedNul => "encoded NUL in the request target",
            Self::DotSegment => "dot segment in the request target",
            Self::BadTargetForm => "request target form not allowed for the method",
            Self::UnsupportedScheme => "unsupported scheme in the request target",
            Self::BadAuthority => "invalid authority in the request target",
            Self::Userinfo => "user information in the request target",
            Self::MissingVersion => "request line without a version",
            Self::BadVersion => "invalid HTTP version",
            Self::UnsupportedVersion => "unsupported HTTP version",
            Self::BadStatusLine => "invalid status line",
            Self::BadStatus => "invalid status code",
            Self::BadReason => "control character in the reason phrase",
            Self::ObsFold => "header line begins with whitespace",
            Self::EmptyFieldName => "empty header name",
            Self::BadFieldName => "invalid character in a header name",
            Self::WhitespaceBeforeColon => "whitespace in or after a header name",
            Self::MissingColon => "header line without a colon",
            Self::BadFieldValue => "control character in a header value",
            Self::MissingHost => "missing Host",
            Self::DuplicateHost => "more than one Host",
            Self::BadHost => "invalid Host",
            Self::BadContentLength => "invalid Content-Length",
            Self::ContentLengthTooLarge => "Content-Length too large",
            Self::DuplicateContentLength => "more than one Content-Length",
            Self::TransferEncodingWithLength => "both Transfer-Encoding and Content-Length",
            Self::TransferEncodingInHttp10 => "Transfer-Encoding in HTTP/1.0",
            Self::TransferEncodingForbidden => "Transfer-Encoding in a message without a body",
            Self::ContentLengthForbidden => "Content-Length in a message without a body",
            Self::BadTransferEncoding => "unsupported Transfer-Encoding",
            Self::BadConnectionOption => "invalid Connection",
            Self::TooManyConnectionOptions => "too many Connection options",
            Self::NominatedFraming => "Connection nominates a framing or routing header",
            Self::UnknownExpectation => "unknown expectation",
            Self::BadUpgrade => "invalid Upgrade",
            Self::DuplicateUpgrade => "more than one Upgrade",
            Self::UpgradeWithBody => "upgrade of a request with a body",
            Self::BadChunkSize => "invalid chunk size",
            Self::ChunkSizeTooLarge => "chunk size too large",
            Self::ChunkLineTooLong => "chunk-size line too long",
            Self::BadChunkExtension => "invalid chunk extension",
            Self::ChunkExtensionsTooLarge => "too many bytes of chunk extensions",
            Self::BadChunkEnd => "chunk data not followed by CRLF",
            Self::TrailersTooLarge => "trailers too large",
            Self::TooManyTrailers => "too many trailer fields",
        }
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::error::Error for ParseError {}
