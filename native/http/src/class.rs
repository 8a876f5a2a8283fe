//! Byte classes, and the scans that all parsers are made of.
//!
//! Each scan returns the index of the first byte that does not belong, or the length of the buffer.

/// `tchar`: RFC 9110 section 5.6.2.
pub(crate) const TOKEN: u8 = 1 << 0;
/// May stand in a request target: a visible ASCII character that RFC 3986 does not exclude. `[` and
/// `]` are let through, as queries carry them everywhere.
pub(crate) const TARGET: u8 = 1 << 1;
/// May stand in a registered name of a host: `unreserved` of RFC 3986 section 2.3.
pub(crate) const HOST: u8 = 1 << 2;
/// `_`, which some upstreams read as `-`.
pub(crate) const UNDERSCORE: u8 = 1 << 3;
/// `%`
pub(crate) const PERCENT: u8 = 1 << 4;
/// `.`
pub(crate) const DOT: u8 = 1 << 5;
/// `qdtext` of RFC 9110 section 5.6.4.
pub(crate) const QDTEXT: u8 = 1 << 6;
/// May stand in a field value: HTAB, SP, VCHAR and obs-text.
pub(crate) const VALUE: u8 = 1 << 7;

static CLASS: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let byte = index as u8;
        let mut class = 0;
        let alphanumeric = byte.is_ascii_alphanumeric();
        if alphanumeric || is_in(byte, b"!#$%&'*+-.^_`|~") {
            class |= TOKEN;
        }
        // Stricter: RFC 3986 excludes these from URIs, many servers take them raw. A backslash is a
        // slash to some, the others are rewritten by some on the way.
        if byte.is_ascii_graphic() && !is_in(byte, b"\"<>\\^`{|}#") {
            class |= TARGET;
        }
        if alphanumeric || is_in(byte, b"-._~") {
            class |= HOST;
        }
        if byte == b'\t' || byte >= b' ' && byte != 0x7f {
            class |= VALUE;
            if byte != b'"' && byte != b'\\' {
                class |= QDTEXT;
            }
        }
        match byte {
            b'_' => class |= UNDERSCORE,
            b'%' => class |= PERCENT,
            b'.' => class |= DOT,
            _ => {}
        }
        table[index] = class;
        index += 1;
    }
    table
}

const fn is_in(byte: u8, set: &[u8]) -> bool {
    let mut index = 0;
    while index < set.len() {
        if set[index] == byte {
            return true;
        }
        index += 1;
    }
    false
}

/// Whether the byte belongs to any of the classes.
#[inline]
pub(crate) fn is(byte: u8, classes: u8) -> bool {
    CLASS[byte as usize] & classes != 0
}

/// Whether there is at least one byte and all belong to the class.
#[inline]
pub(crate) fn all(bytes: &[u8], class: u8) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&byte| is(byte, class))
}

/// All classes that occur among the bytes.
pub(crate) fn union(bytes: &[u8]) -> u8 {
    bytes
        .iter()
        .fold(0, |all, &byte| all | CLASS[byte as usize])
}

/// End of the bytes of one class, and all classes that occurred among them.
#[inline]
pub(crate) fn run(buf: &[u8], from: usize, class: u8) -> (usize, u8) {
    let mut seen = 0;
    let mut at = from;
    while let Some(&byte) = buf.get(at) {
        let classes = CLASS[byte as usize];
        if classes & class == 0 {
            break;
        }
        seen |= classes;
        at += 1;
    }
    (at, seen)
}

/// The value of a hexadecimal digit.
#[inline]
pub(crate) fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

/// End of SP and HTAB.
#[inline]
pub(crate) fn whitespace_end(buf: &[u8], from: usize) -> usize {
    let mut at = from;
    while matches!(buf.get(at), Some(b' ' | b'\t')) {
        at += 1;
    }
    at
}

/// End of the bytes that a field value may hold: the first control character but HTAB.
#[inline]
pub(crate) fn value_end(buf: &[u8], from: usize) -> usize {
    let mut at = from;
    while let Some(block) = buf.get(at..).and_then(<[u8]>::first_chunk) {
        let controls = controls_of(u64::from_le_bytes(*block));
        if controls == 0 {
            at += 8;
            continue;
        }
        at += controls.trailing_zeros() as usize / 8;
        if buf[at] != b'\t' {
            return at;
        }
        at += 1;
    }
    while buf.get(at).is_some_and(|&byte| is(byte, VALUE)) {
        at += 1;
    }
    at
}

/// Marks the high bit of the first (lowest) byte that is a control character, HTAB among them.
///
/// A difference of bytes below 0x80 has its high bit set when it is negative. The borrow that this
/// costs the next byte can only make wrong marks after a right one.
#[inline]
fn controls_of(block: u64) -> u64 {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    let below_space = block.wrapping_sub(0x20 * ONES);
    let delete = (block ^ (0x7f * ONES)).wrapping_sub(ONES);
    (below_space | delete) & !block & (0x80 * ONES)
}

/// The bytes without SP and HTAB at their end; the start has none.
#[inline]
pub(crate) fn trimmed_end(buf: &[u8], start: usize, end: usize) -> usize {
    let mut end = end;
    while end > start && matches!(buf[end - 1], b' ' | b'\t') {
        end -= 1;
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn value_end_agrees_with_the_byte_class_for_every_byte_at_every_place() {
        for byte in 0..=255 {
            for len in 0..20 {
                for place in 0..len {
                    let mut buf = vec![b'v'; len];
                    buf[place] = byte;
                    let expected = if is(byte, VALUE) { len } else { place };
                    assert_eq!(
                        value_end(&buf, 0),
                        expected,
                        "byte {byte} at {place} of {len}"
                    );
                }
            }
        }
    }

    #[test]
    fn value_end_finds_the_first_of_two() {
        for first in [0, b'\r', b'\n', 0x1f, 0x7f] {
            for second in [0, b'\t', b'\r', b' ', 0x7f, 0x80, 0xff] {
                assert_eq!(value_end(&[b'a', first, second, 1, 2, 3, 4, 5], 0), 1);
                assert_eq!(
                    value_end(&[b'\t', b'\t', 0xff, second.max(0x80), first, 3, 4, 5], 0),
                    4
                );
            }
        }
    }

    #[test]
    fn scans_from_the_end_stay_there() {
        assert_eq!(value_end(b"abc", 3), 3);
        assert_eq!(run(b"abc", 3, TOKEN), (3, 0));
        assert_eq!(whitespace_end(b"   ", 3), 3);
    }

    #[test]
    fn tokens_are_as_in_the_rfc() {
        let token: Vec<u8> = (0..=255).filter(|&byte| is(byte, TOKEN)).collect();
        let expected =
            b"!#$%&'*+-.0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ^_`abcdefghijklmnopqrstuvwxyz|~";
        assert_eq!(token, expected);
    }

    #[test]
    fn targets_are_uris_and_brackets() {
        let target: Vec<u8> = (0..=255).filter(|&byte| is(byte, TARGET)).collect();
        let expected =
            b"!$%&'()*+,-./0123456789:;=?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[]_abcdefghijklmnopqrstuvwxyz~";
        assert_eq!(target, expected);
    }
}
