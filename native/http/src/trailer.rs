//! Trailer sections: RFC 9112 section 7.1.2, RFC 9110 section 6.5.
//!
//! A trailer section is read byte by byte and written in canonical form as it is read, so that a
//! line that comes in pieces needs no buffer of its own. A field that must not pass is cut off
//! again once its name is known.

use crate::class::{self, TOKEN, VALUE};
use crate::{ChunkLimits, FieldId, ParseError};

/// Where in the section the next byte stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// At the start of a line.
    #[default]
    Line,
    /// Within a name.
    Name,
    /// Within the whitespace between colon and value.
    Gap,
    /// Within a value.
    Value,
    /// After the CR that ends a line.
    LineFeed,
    /// After the CR of the empty line.
    LastLineFeed,
}

/// A trailer section being read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trailers {
    /// Canonical lines of the fields that pass; the last one may be unfinished.
    lines: Vec<u8>,
    /// Where the unfinished line starts in `lines`.
    line_start: usize,
    /// Where its value starts.
    value_start: usize,
    place: Place,
    /// The current field does not pass.
    drops: bool,
    len_bytes: usize,
    count: usize,
}

impl Trailers {
    /// The canonical lines.
    pub(crate) fn lines(&self) -> &[u8] {
        &self.lines
    }

    /// Takes the next byte; tells whether it was the last of the section.
    pub(crate) fn take(&mut self, byte: u8, limits: &ChunkLimits) -> Result<bool, ParseError> {
        self.len_bytes += 1;
        if self.len_bytes > limits.trailers_max_bytes {
            return Err(ParseError::TrailersTooLarge);
        }
        match self.place {
            Place::Line => match byte {
                b'\r' => self.place = Place::LastLineFeed,
                b'\n' => return Err(ParseError::BareLf),
                b' ' | b'\t' => return Err(ParseError::ObsFold),
                b':' => return Err(ParseError::EmptyFieldName),
                _ if self.count == limits.trailer_fields_max_count => {
                    return Err(ParseError::TooManyTrailers);
                }
                _ if class::is(byte, TOKEN) => {
                    self.count += 1;
                    self.line_start = self.lines.len();
                    self.lines.push(byte);
                    self.place = Place::Name;
                }
                _ => return Err(ParseError::BadFieldName),
            },
            Place::Name => match byte {
                _ if class::is(byte, TOKEN) => self.lines.push(byte),
                b':' => self.end_name(),
                b'\n' => return Err(ParseError::BareLf),
                b'\r' => return Err(ParseError::MissingColon),
                b' ' | b'\t' => return Err(ParseError::WhitespaceBeforeColon),
                _ => return Err(ParseError::BadFieldName),
            },
            Place::Gap if matches!(byte, b' ' | b'\t') => {}
            Place::Gap | Place::Value => match byte {
                b'\r' => self.place = Place::LineFeed,
                b'\n' => return Err(ParseError::BareLf),
                _ if class::is(byte, VALUE) => {
                    self.place = Place::Value;
                    if !self.drops {
                        self.lines.push(byte);
                    }
                }
                _ => return Err(ParseError::BadFieldValue),
            },
            Place::LineFeed => {
                if byte != b'\n' {
                    return Err(ParseError::BareCr);
                }
                self.end_line();
            }
            Place::LastLineFeed => {
                return if byte == b'\n' {
                    Ok(true)
                } else {
                    Err(ParseError::BareCr)
                };
            }
        }
        Ok(false)
    }

    /// Keeps or cuts off the name that was read.
    fn end_name(&mut self) {
        self.drops = !passes(&self.lines[self.line_start..]);
        if self.drops {
            self.lines.truncate(self.line_start);
        } else {
            self.lines.extend_from_slice(b": ");
            self.value_start = self.lines.len();
        }
        self.place = Place::Gap;
    }

    /// Finishes the line of a field that passes.
    fn end_line(&mut self) {
        if !self.drops {
            let end = class::trimmed_end(&self.lines, self.value_start, self.lines.len());
            self.lines.truncate(end);
            self.lines.extend_from_slice(b"\r\n");
        }
        self.place = Place::Line;
    }
}

/// How the names of whole families that do not pass begin; lower case.
const DROPPED_PREFIXES: &[&str] = &["content-", "if-", "proxy-", "x-forwarded-", "x-gateway-"];

/// Other names that do not pass, besides all known fields; lower case, sorted.
const DROPPED: &[&str] = &[
    "accept-ranges",
    "age",
    "authentication-info",
    "cache-control",
    "expires",
    "http2-settings",
    "location",
    "max-forwards",
    "origin",
    "pragma",
    "range",
    "referer",
    "set-cookie",
    "strict-transport-security",
    "vary",
    "warning",
    "www-authenticate",
];

/// Bytes of a name that are looked at: more than any name that does not pass, or the beginning of
/// one, has.
const LOOKED_BYTES: usize = 32;

/// Whether a trailer field of that name is forwarded.
///
/// RFC 9110 section 6.5.1: no trailers for framing, routing, request modifiers, authentication,
/// response control or how to process the content; a recipient that merges trailers into the head
/// would act on them.
///
/// Stricter: the RFC asks this of senders. All fields that the gateway knows are dropped too, and
/// whatever is one of these when `_` is read as `-`.
fn passes(name: &[u8]) -> bool {
    let mut plain = [0; LOOKED_BYTES];
    for (to, from) in plain.iter_mut().zip(name) {
        *to = if *from == b'_' {
            b'-'
        } else {
            from.to_ascii_lowercase()
        };
    }
    if DROPPED_PREFIXES
        .iter()
        .any(|prefix| plain.starts_with(prefix.as_bytes()))
    {
        return false;
    }
    plain.get(..name.len()).is_none_or(|plain| {
        FieldId::of(plain) == FieldId::Other
            && DROPPED
                .binary_search_by(|dropped| dropped.as_bytes().cmp(plain))
                .is_err()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropped_names_are_sorted_and_short_enough_to_be_found() {
        assert!(DROPPED.is_sorted());
        let longest = DROPPED
            .iter()
            .chain(DROPPED_PREFIXES)
            .map(|name| name.len())
            .max();
        assert!(longest < Some(LOOKED_BYTES));
        assert!(FieldId::ALL.iter().all(|id| id.name().len() < LOOKED_BYTES));
    }

    #[test]
    fn names_that_pass() {
        for name in [
            "Grpc-Status",
            "X-Checksum",
            "Server-Timing",
            "Repr-Digest",
            "X_Sum",
            "ETag",
            "Hosts",
            "iffy",
        ] {
            assert!(passes(name.as_bytes()), "{name}");
        }
        assert!(passes(&[b'a'; 100]));
    }

    #[test]
    fn names_that_do_not_pass() {
        for name in [
            "Host",
            "HOST",
            "Content-Length",
            "content_length",
            "Transfer-Encoding",
            "Transfer_Encoding",
            "Trailer",
            "Authorization",
            "Set-Cookie",
            "set_cookie",
            "Cookie",
            "X-Forwarded-For",
            "X_Forwarded_For",
            "X-Forwarded-Prefix",
            "X-Real-IP",
            "Forwarded",
            "Connection",
            "Keep-Alive",
            "Upgrade",
            "TE",
            "Via",
            "Content-Type",
            "Content-Encoding",
            "Content-Range",
            "Content-Security-Policy-Report-Only",
            "If-Match",
            "Range",
            "Cache-Control",
            "Location",
            "Max-Forwards",
            "Expect",
            "Proxy-Authorization",
            "Proxy",
            "Date",
            "WWW-Authenticate",
            "X-Request-Id",
            "X-Gateway-Reason",
            "Proxy-Status",
        ] {
            assert!(!passes(name.as_bytes()), "{name}");
        }
        for id in FieldId::ALL {
            assert!(!passes(id.name().as_bytes()), "{}", id.name());
        }
    }
}
