//! `host [":" port]`: RFC 9110 section 7.2, RFC 3986 section 3.2.

use core::net::Ipv6Addr;

use crate::class::{self, HOST};

/// Longest host that is taken: the longest domain name in text is 253 octets, RFC 1035 section
/// 2.3.4.
const HOST_MAX_BYTES: usize = 255;

/// Whether the bytes are a host with an optional port.
///
/// Stricter: a registered name consists of unreserved characters. RFC 3986 also allows percent
/// escapes, which some decode before they compare, and sub-delims such as `,` and `;`, at which
/// some split. No name in use has them. An empty host is refused, as is an address of a future IP
/// version.
pub(crate) fn is_authority(bytes: &[u8]) -> bool {
    let host_end = if bytes.first() == Some(&b'[') {
        match ip_literal_end(bytes) {
            Some(end) => end,
            None => return false,
        }
    } else {
        class::run(bytes, 0, HOST).0
    };
    (1..=HOST_MAX_BYTES).contains(&host_end) && is_port_part(&bytes[host_end..])
}

/// End of `[` IPv6address `]`.
fn ip_literal_end(bytes: &[u8]) -> Option<usize> {
    let close = bytes
        .iter()
        .take(HOST_MAX_BYTES)
        .position(|&byte| byte == b']')?;
    let address = core::str::from_utf8(&bytes[1..close]).ok()?;
    address.parse::<Ipv6Addr>().ok()?;
    Some(close + 1)
}

/// Whether this is nothing, or `:` and a port. The grammar lets the digits be absent.
///
/// Stricter: at most 65535 in at most five digits.
fn is_port_part(bytes: &[u8]) -> bool {
    let Some((&colon, digits)) = bytes.split_first() else {
        return true;
    };
    colon == b':'
        && digits.len() <= 5
        && digits.iter().all(u8::is_ascii_digit)
        && digits
            .iter()
            .fold(0, |port, digit| port * 10 + u32::from(digit - b'0'))
            <= 65_535
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepted() {
        for good in [
            "a",
            "gw.test",
            "GW.Test",
            "gw.test.",
            "gw_1.test",
            "gw-1",
            "10.0.0.1",
            "10.0.0.1:80",
            "a:0",
            "a:65535",
            "a:00080",
            "a:",
            "[::1]",
            "[::1]:8080",
            "[::ffff:10.0.0.1]",
            "[2001:DB8::1]:443",
            "~a",
        ] {
            assert!(is_authority(good.as_bytes()), "{good}");
        }
        assert!(is_authority(&[b'a'; 255]));
    }

    #[test]
    fn refused() {
        for bad in [
            "",
            ":",
            ":80",
            "a:65536",
            "a:99999",
            "a:000080",
            "a:-1",
            "a:+1",
            "a:8o",
            "a:80:80",
            "a b",
            " a",
            "a,b",
            "a;b",
            "a@b",
            "u:p@b",
            "a/b",
            "a?b",
            "a#b",
            "a\\b",
            "a%2eb",
            "a%00",
            "[::1",
            "::1",
            "[::1]a",
            "[]",
            "[::1]]",
            "[:::1]",
            "[fe80::1%25eth0]",
            "[fe80::1%eth0]",
            "[v1.a]",
            "[1.2.3.4]",
            "[::1]:x",
            "caf\u{e9}",
            "a\t",
            "a\x02",
            "http://a",
            "a=b",
            "(a)",
            "a'b",
            "*",
            "$a",
            "a&b",
            "!",
            "[",
        ] {
            assert!(!is_authority(bad.as_bytes()), "{bad}");
        }
        assert!(!is_authority(&[b'a'; 256]));
        assert!(!is_authority(b"[\xff]"));
    }
}
