//! Where a body ends: `Content-Length` and `Transfer-Encoding`, RFC 9112 section 6.

use crate::lines::{Census, value_of};
use crate::{Field, FieldId, ParseError, Version};

/// Longest Content-Length that is read: the digits of 2^64 - 1.
const LENGTH_MAX_DIGITS: usize = 20;

/// What the framing fields of a head say, whatever its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Declared {
    /// Neither field.
    Nothing,
    /// Content-Length alone.
    Length(u64),
    /// Transfer-Encoding alone, and it is chunked.
    Chunked,
}

/// Reads both fields and refuses whatever two recipients could understand differently.
pub(crate) fn parse_framing(
    buf: &[u8],
    fields: &[Field],
    census: &Census,
    version: Version,
) -> Result<Declared, ParseError> {
    let has_length = census.seen.contains(FieldId::ContentLength);
    if census.seen.contains(FieldId::TransferEncoding) {
        // Stricter: RFC 9112 section 6.1 lets Transfer-Encoding override Content-Length. A
        // recipient on the way that goes by the length sees another message (request smuggling).
        if has_length {
            return Err(ParseError::TransferEncodingWithLength);
        }
        // RFC 9112 section 6.1: faulty framing, and an HTTP/1.0 hop may not have known the field.
        if version == Version::Http10 {
            return Err(ParseError::TransferEncodingInHttp10);
        }
        // Stricter: other codings, and lists over several lines, are legal. Nobody sends them, and
        // recipients disagree on empty members, parameters, quotes and repetition.
        let only = !census.repeated.contains(FieldId::TransferEncoding);
        let coding = value_of(fields, FieldId::TransferEncoding).of(buf);
        return if only && coding.eq_ignore_ascii_case(b"chunked") {
            Ok(Declared::Chunked)
        } else {
            Err(ParseError::BadTransferEncoding)
        };
    }
    if !has_length {
        return Ok(Declared::Nothing);
    }
    // Stricter: RFC 9112 section 6.3 lets a recipient merge equal values.
    if census.repeated.contains(FieldId::ContentLength) {
        return Err(ParseError::DuplicateContentLength);
    }
    parse_length(value_of(fields, FieldId::ContentLength).of(buf)).map(Declared::Length)
}

/// `1*DIGIT`; leading zeros are no other number, and the value is written anew before it is
/// forwarded.
///
/// Stricter: at most 2^63 - 1, as many recipients count in signed 64-bit numbers, in at most 20
/// digits.
fn parse_length(value: &[u8]) -> Result<u64, ParseError> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(ParseError::BadContentLength);
    }
    if value.len() > LENGTH_MAX_DIGITS {
        return Err(ParseError::ContentLengthTooLarge);
    }
    value
        .iter()
        .try_fold(0_u64, |length, digit| {
            length.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
        })
        .filter(|&length| i64::try_from(length).is_ok())
        .ok_or(ParseError::ContentLengthTooLarge)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths() {
        use ParseError::{BadContentLength as Bad, ContentLengthTooLarge as TooLarge};
        for (value, expected) in [
            ("0", Ok(0)),
            ("5", Ok(5)),
            ("005", Ok(5)),
            ("010", Ok(10)),
            ("00000000000000000005", Ok(5)),
            ("9223372036854775807", Ok(i64::MAX as u64)),
            ("9223372036854775808", Err(TooLarge)),
            ("18446744073709551615", Err(TooLarge)),
            ("18446744073709551621", Err(TooLarge)),
            ("000000000000000000005", Err(TooLarge)),
            ("99999999999999999999999999", Err(TooLarge)),
            ("", Err(Bad)),
            ("+5", Err(Bad)),
            ("-1", Err(Bad)),
            ("0x5", Err(Bad)),
            ("5 5", Err(Bad)),
            ("5.0", Err(Bad)),
            ("5,5", Err(Bad)),
            (",5", Err(Bad)),
            ("5,", Err(Bad)),
            ("five", Err(Bad)),
            ("\"5\"", Err(Bad)),
            ("5_0", Err(Bad)),
            ("1e3", Err(Bad)),
            ("\u{665}", Err(Bad)),
        ] {
            assert_eq!(parse_length(value.as_bytes()), expected, "{value}");
        }
    }
}
