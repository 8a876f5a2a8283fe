//! Request target: RFC 9112 section 3.2.
//!
//! The target is passed on byte for byte, so whatever the gateway routes by must be what the
//! upstream sees: what one of the two could decode, resolve or split further is refused here, not
//! repaired.

use crate::authority::is_authority;
use crate::class::{DOT, PERCENT, hex_digit};
use crate::{Method, ParseError, RequestHead, Span, TargetForm};

/// Judges the target at `span` and puts its parts into the head. All its bytes are known to be of
/// the class `TARGET`, and `classes` are all classes among them.
pub(crate) fn parse_target(
    buf: &[u8],
    span: Span,
    classes: u8,
    head: &mut RequestHead,
) -> Result<(), ParseError> {
    let target = span.of(buf);
    let start = span.start as usize;
    let end = span.end as usize;
    head.host = Span::default();
    head.query = Span::default();
    if head.method == Method::Connect {
        // RFC 9112 section 3.2.3: authority-form is for CONNECT, and CONNECT takes no other; the
        // port is required.
        if target.ends_with(b":") || !target.contains(&b':') || target.ends_with(b"]") {
            return Err(ParseError::BadTargetForm);
        }
        if !is_authority(target) {
            return Err(ParseError::BadAuthority);
        }
        head.form = TargetForm::Authority;
        head.host = span;
        head.path = Span::new(start, start);
        return Ok(());
    }
    let path_start = match target {
        [b'/', ..] => {
            head.form = TargetForm::Origin;
            start
        }
        b"*" => {
            // RFC 9112 section 3.2.4: asterisk-form is for a server-wide OPTIONS.
            if head.method != Method::Options {
                return Err(ParseError::BadTargetForm);
            }
            head.form = TargetForm::Asterisk;
            head.path = span;
            return Ok(());
        }
        _ => {
            head.form = TargetForm::Absolute;
            head.host = absolute_authority(target, start)?;
            head.host.end as usize
        }
    };
    let path_end = memchr::memchr(b'?', &buf[path_start..end]).map_or(end, |at| path_start + at);
    head.path = Span::new(path_start, path_end);
    head.query = Span::new(path_end, end);
    if classes & PERCENT != 0 {
        judge_escapes(target)?;
    }
    if classes & (PERCENT | DOT) != 0 && has_dot_segment(head.path.of(buf)) {
        return Err(ParseError::DotSegment);
    }
    Ok(())
}

/// The authority of an absolute-form target, as a span of the buffer in which the target begins at
/// `start`.
fn absolute_authority(target: &[u8], start: usize) -> Result<Span, ParseError> {
    let Some(separator) = memchr::memmem::find(target, b"://") else {
        return Err(ParseError::BadTargetForm);
    };
    // Stricter: a gateway serves no other scheme (RFC 9110 section 4.2).
    let scheme = &target[..separator];
    if !scheme.eq_ignore_ascii_case(b"http") && !scheme.eq_ignore_ascii_case(b"https") {
        return Err(ParseError::UnsupportedScheme);
    }
    let from = separator + 3;
    let rest = &target[from..];
    let authority = &rest[..memchr::memchr2(b'/', b'?', rest).unwrap_or(rest.len())];
    // RFC 9110 section 4.2.4: a recipient SHOULD treat user information as an error.
    if authority.contains(&b'@') {
        return Err(ParseError::Userinfo);
    }
    if !is_authority(authority) {
        return Err(ParseError::BadAuthority);
    }
    Ok(Span::new(start + from, start + from + authority.len()))
}

/// Refuses escapes that are none, and the one that ends a string for what is written in C.
fn judge_escapes(target: &[u8]) -> Result<(), ParseError> {
    for at in memchr::memchr_iter(b'%', target) {
        match escaped(&target[at..]) {
            None => return Err(ParseError::BadPercentEscape),
            // Stricter: RFC 3986 section 7.3 only warns of it.
            Some(0) => return Err(ParseError::EncodedNul),
            Some(_) => {}
        }
    }
    Ok(())
}

/// The byte that `%` and two hexadecimal digits at the start stand for.
fn escaped(bytes: &[u8]) -> Option<u8> {
    let &[_, high, low, ..] = bytes else {
        return None;
    };
    Some(hex_digit(high)? << 4 | hex_digit(low)?)
}

/// Whether any segment of the path is `.` or `..`, under every reading an upstream may have.
///
/// Stricter: RFC 3986 removes such segments from references; a request should have none. Whether a
/// server resolves them before or after it decodes, whether `%2f` and `%5c` separate, and whether
/// `;` ends a segment (`/..;/` in servlets), differs; each of them counts here. Escapes are known
/// to be well formed.
fn has_dot_segment(path: &[u8]) -> bool {
    // Dots since the segment began; `None` when the segment has anything else, or ended with `;`.
    let mut dots = Some(0);
    let mut at = 0;
    loop {
        let symbol = match path.get(at) {
            None => return matches!(dots, Some(1 | 2)),
            Some(b'%') => {
                let byte = escaped(&path[at..]).unwrap_or(b'%');
                at += 3;
                byte
            }
            Some(&byte) => {
                at += 1;
                byte
            }
        };
        match symbol {
            b'/' | b'\\' | b';' => {
                if matches!(dots, Some(1 | 2)) {
                    return true;
                }
                dots = (symbol != b';').then_some(0);
            }
            b'.' => dots = dots.map(|count: usize| count + 1),
            _ => dots = None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dot_segments_in_every_disguise() {
        for bad in [
            "/.",
            "/..",
            "/./",
            "/../",
            "/a/.",
            "/a/..",
            "/a/../b",
            "/a/./b",
            "/%2e",
            "/%2E%2e",
            "/.%2e/a",
            "/%2e./a",
            "/public/..%2fadmin",
            "/public%2f..%2Fadmin",
            "/a%5c..%5Cb",
            "/a/..;/b",
            "/a/..;x=1/b",
            "/a/.;",
            "/a/..%3b/b",
            "/%2e%2e%2f",
            "//..",
            "/..//a",
        ] {
            assert!(has_dot_segment(bad.as_bytes()), "{bad}");
        }
        for good in [
            "",
            "/",
            "//",
            "/a",
            "/.a",
            "/a.",
            "/...",
            "/a..b",
            "/..a",
            "/a../b",
            "/%2ea",
            "/a%2e",
            "/a;..",
            "/a;../b",
            "/a%2fb",
            "/a%5cb",
            "/%252e%252e/",
            "/.well-known/x",
            "/a.tar.gz",
            "/%2e%2e%2e/",
        ] {
            assert!(!has_dot_segment(good.as_bytes()), "{good}");
        }
    }

    #[test]
    fn escapes() {
        assert_eq!(judge_escapes(b"/a%20b%c3%A9%25"), Ok(()));
        for bad in ["/%", "/%2", "/a%zz", "/%2g", "/%%20", "/% 20"] {
            assert_eq!(
                judge_escapes(bad.as_bytes()),
                Err(ParseError::BadPercentEscape),
                "{bad}"
            );
        }
        assert_eq!(judge_escapes(b"/a%00b"), Err(ParseError::EncodedNul));
        assert_eq!(judge_escapes(b"/a%0"), Err(ParseError::BadPercentEscape));
    }
}
