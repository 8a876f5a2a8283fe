//! Field lines: RFC 9112 section 5, RFC 9110 section 5.
//!
//! One pass: a name is a run of one byte class, a value ends at the first control character, and
//! both ends tell by the byte found there whether the line is good.

use crate::class::{self, TOKEN, UNDERSCORE};
use crate::field::FieldSet;
use crate::{Field, FieldId, HeadLimits, HeadScan, ParseError, Span};

/// Which known fields the head holds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Census {
    /// At least once.
    pub(crate) seen: FieldSet,
    /// More than once.
    pub(crate) repeated: FieldSet,
}

impl Census {
    #[inline]
    fn add(&mut self, id: FieldId) {
        if self.seen.insert(id) {
            self.repeated.insert(id);
        }
    }
}

/// Reads field lines from `start`, or from where `scan` stands, up to the end of the head.
///
/// Returns the length of the head, or `None` when it does not end in the buffer; `scan` then
/// remembers how far it was read. After a resumed call `fields` and `census` hold the later lines
/// only, and the first of those wrongly: such a call gives a verdict, not a head.
pub(crate) fn parse_fields(
    buf: &[u8],
    start: usize,
    scan: &mut HeadScan,
    limits: &HeadLimits,
    fields: &mut Vec<Field>,
    census: &mut Census,
) -> Result<Option<usize>, ParseError> {
    let mut line = start;
    let mut count = scan.count as usize;
    // Not zero in the first line after a resumption only.
    let mut colon = scan.colon as usize;
    // Where that resumption began; all later lines are behind it.
    let looked = if scan.line == 0 {
        0
    } else {
        scan.looked as usize
    };
    loop {
        match buf.get(line) {
            None => {
                scan.stop_in_field(line, 0, buf.len(), count);
                return Ok(None);
            }
            Some(b'\r') => match buf.get(line + 1) {
                None => {
                    scan.stop_in_field(line, 0, buf.len(), count);
                    return Ok(None);
                }
                Some(b'\n') => return Ok(Some(line + 2)),
                Some(_) => return Err(ParseError::BareCr),
            },
            Some(_) => {}
        }
        if count >= limits.fields_max_count {
            return Err(ParseError::TooManyFields);
        }
        let mut classes = 0;
        if colon == 0 {
            (colon, classes) = class::run(buf, line.max(looked), TOKEN);
            match buf.get(colon) {
                None => {
                    scan.stop_in_field(line, 0, buf.len(), count);
                    return Ok(None);
                }
                Some(b':') if colon > line => {}
                Some(&byte) => return Err(misplaced_in_name(byte, colon == line)),
            }
        }
        // After a resumption this is not the value's start; only the verdict on the line counts
        // then.
        let value = class::whitespace_end(buf, looked.max(colon + 1));
        let end = class::value_end(buf, value);
        match (buf.get(end), buf.get(end + 1)) {
            (Some(b'\r'), Some(b'\n')) => {}
            (None, _) | (Some(b'\r'), None) => {
                scan.stop_in_field(line, colon, end, count);
                return Ok(None);
            }
            (Some(b'\r'), Some(_)) => return Err(ParseError::BareCr),
            (Some(b'\n'), _) => return Err(ParseError::BareLf),
            (Some(_), _) => return Err(ParseError::BadFieldValue),
        }
        let name = &buf[line..colon];
        let id = FieldId::of(name);
        census.add(id);
        fields.push(Field {
            name: Span::new(line, colon),
            value: Span::new(value, class::trimmed_end(buf, value, end)),
            id,
            hop_by_hop: id.is_hop_by_hop() || classes & UNDERSCORE != 0 && FieldId::is_alias(name),
        });
        count += 1;
        line = end + 2;
        colon = 0;
    }
}

/// The rule that a byte breaks by ending a field name.
#[cold]
fn misplaced_in_name(byte: u8, at_start: bool) -> ParseError {
    match byte {
        b'\n' => ParseError::BareLf,
        b' ' | b'\t' if at_start => ParseError::ObsFold,
        b' ' | b'\t' => ParseError::WhitespaceBeforeColon,
        b':' => ParseError::EmptyFieldName,
        b'\r' => ParseError::MissingColon,
        _ => ParseError::BadFieldName,
    }
}

/// The only value of a field that the census has seen once.
#[inline]
pub(crate) fn value_of(fields: &[Field], id: FieldId) -> Span {
    fields
        .iter()
        .find(|field| field.id == id)
        .map_or_else(Span::default, |field| field.value)
}

/// Splits a list value: members without the whitespace around them, empty ones left out (RFC 9110
/// section 5.6.1).
pub(crate) fn members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|&byte| byte == b',')
        .map(|member| {
            let start = class::whitespace_end(member, 0);
            &member[start..class::trimmed_end(member, start, member.len())]
        })
        .filter(|member| !member.is_empty())
}
