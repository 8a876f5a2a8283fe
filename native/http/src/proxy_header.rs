//! The PROXY protocol's header: who a connection comes from, told by the load balancer in front.
//!
//! Both versions of the specification (haproxy.org, `proxy-protocol.txt`, sections 2.1 and 2.2). The header stands before
//! everything else on a connection, TLS included.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The longest header of version 1, CRLF included (section 2.1).
const TEXT_MAX_BYTES: usize = 107;

/// The longest header of version 2 that is taken.
// Stricter: the length field allows 64 KiB of extensions, which every connection could make us hold; real ones are
// some dozens of bytes.
const BINARY_MAX_BYTES: usize = 2048;

const BINARY_HEAD_BYTES: usize = 16;
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proxied {
    /// The connection comes from here.
    From(IpAddr),
    /// The balancer speaks for itself, a health check, or does not know: its own address stands.
    Local,
}

/// The connection does not begin with a header, or with one that is malformed or too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoProxyHeader;

/// Reads the header at the start of `bytes`: what it says and its length. `None`: it is not whole yet.
///
/// Returns an error as soon as no continuation could be a header, so what has to be kept is bounded by the longest.
pub fn parse_proxy_header(bytes: &[u8]) -> Result<Option<(Proxied, usize)>, NoProxyHeader> {
    let shared = bytes.len().min(SIGNATURE.len());
    if bytes[..shared] == SIGNATURE[..shared] {
        return read_binary(bytes);
    }
    read_text(bytes)
}

fn read_text(bytes: &[u8]) -> Result<Option<(Proxied, usize)>, NoProxyHeader> {
    const START: &[u8] = b"PROXY ";
    let shared = bytes.len().min(START.len());
    if bytes[..shared] != START[..shared] {
        return Err(NoProxyHeader);
    }
    let window = &bytes[..bytes.len().min(TEXT_MAX_BYTES)];
    let Some(end) = memchr::memchr(b'\n', window) else {
        return if window.len() < TEXT_MAX_BYTES {
            Ok(None)
        } else {
            Err(NoProxyHeader)
        };
    };
    let line = window[..end]
        .strip_suffix(b"\r")
        .and_then(|line| std::str::from_utf8(line).ok())
        .ok_or(NoProxyHeader)?;
    let words: Vec<&str> = line.split(' ').collect();
    let said = match words[..] {
        // What follows is to be ignored.
        ["PROXY", "UNKNOWN", ..] => Proxied::Local,
        ["PROXY", "TCP4", source, target, source_port, target_port] => {
            let source: Ipv4Addr = source.parse().map_err(|_| NoProxyHeader)?;
            target.parse::<Ipv4Addr>().map_err(|_| NoProxyHeader)?;
            check_ports(source_port, target_port)?;
            Proxied::From(source.into())
        }
        ["PROXY", "TCP6", source, target, source_port, target_port] => {
            let source: Ipv6Addr = source.parse().map_err(|_| NoProxyHeader)?;
            target.parse::<Ipv6Addr>().map_err(|_| NoProxyHeader)?;
            check_ports(source_port, target_port)?;
            Proxied::From(source.into())
        }
        _ => return Err(NoProxyHeader),
    };
    Ok(Some((said, end + 1)))
}

fn check_ports(source: &str, target: &str) -> Result<(), NoProxyHeader> {
    let is_port = |text: &str| {
        text.bytes().all(|byte| byte.is_ascii_digit())
            && (text == "0" || !text.starts_with('0'))
            && text.parse::<u16>().is_ok()
    };
    (is_port(source) && is_port(target))
        .then_some(())
        .ok_or(NoProxyHeader)
}

fn read_binary(bytes: &[u8]) -> Result<Option<(Proxied, usize)>, NoProxyHeader> {
    let Some(&version) = bytes.get(SIGNATURE.len()) else {
        return Ok(None);
    };
    let is_local = match version {
        0x20 => true,
        0x21 => false,
        _ => return Err(NoProxyHeader),
    };
    let Some(head) = bytes.get(..BINARY_HEAD_BYTES) else {
        return Ok(None);
    };
    let body_bytes = usize::from(u16::from_be_bytes([head[14], head[15]]));
    let len_bytes = BINARY_HEAD_BYTES + body_bytes;
    if len_bytes > BINARY_MAX_BYTES {
        return Err(NoProxyHeader);
    }
    let Some(body) = bytes.get(BINARY_HEAD_BYTES..len_bytes) else {
        return Ok(None);
    };
    // Family and transport; extensions may follow the addresses.
    let said = match head[13] {
        _ if is_local => Proxied::Local,
        0x11 => {
            let source: [u8; 4] = leading(body, 12)?;
            Proxied::From(Ipv4Addr::from(source).into())
        }
        0x21 => {
            let source: [u8; 16] = leading(body, 36)?;
            Proxied::From(Ipv6Addr::from(source).into())
        }
        // Unspecified, or a datagram or Unix socket: nothing that could be an address here.
        0x00 | 0x12 | 0x22 | 0x31 | 0x32 => Proxied::Local,
        _ => return Err(NoProxyHeader),
    };
    Ok(Some((said, len_bytes)))
}

/// The first bytes of a body that has to hold `block_bytes` of addresses and ports.
fn leading<const N: usize>(body: &[u8], block_bytes: usize) -> Result<[u8; N], NoProxyHeader> {
    body.get(..block_bytes)
        .and_then(|block| block[..N].try_into().ok())
        .ok_or(NoProxyHeader)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let len = (body.len() as u16).to_be_bytes();
        [&SIGNATURE[..], &[command, family], &len, body].concat()
    }

    fn addresses_v4() -> Vec<u8> {
        [
            &[203, 0, 113, 9][..],
            &[10, 0, 0, 1],
            &[0x12, 0x34],
            &[0, 80],
        ]
        .concat()
    }

    fn good() -> Vec<(Vec<u8>, Proxied)> {
        let client: IpAddr = "203.0.113.9".parse().expect("address");
        let six: IpAddr = "2001:db8::9".parse().expect("address");
        let addresses_v6 = [
            &"2001:db8::9".parse::<Ipv6Addr>().expect("address").octets()[..],
            &[0; 20],
        ];
        let with_extension = [&addresses_v4()[..], b"\x04\0\x02zz"].concat();
        vec![
            (
                b"PROXY TCP4 203.0.113.9 10.0.0.1 56324 443\r\n".to_vec(),
                Proxied::From(client),
            ),
            (
                b"PROXY TCP6 2001:db8::9 ::1 1 65535\r\n".to_vec(),
                Proxied::From(six),
            ),
            (b"PROXY UNKNOWN\r\n".to_vec(), Proxied::Local),
            (b"PROXY UNKNOWN what ever\r\n".to_vec(), Proxied::Local),
            (v2(0x21, 0x11, &addresses_v4()), Proxied::From(client)),
            (v2(0x21, 0x11, &with_extension), Proxied::From(client)),
            (v2(0x21, 0x21, &addresses_v6.concat()), Proxied::From(six)),
            (v2(0x20, 0x00, b""), Proxied::Local),
            (v2(0x20, 0x11, &addresses_v4()), Proxied::Local),
            (v2(0x21, 0x00, b""), Proxied::Local),
        ]
    }

    #[test]
    fn reads_whole_headers_and_only_whole_ones() {
        for (header, said) in good() {
            for len in 0..header.len() {
                assert_eq!(
                    parse_proxy_header(&header[..len]),
                    Ok(None),
                    "{header:?} at {len}"
                );
            }
            let followed = [&header[..], b"GET / HTTP/1.1\r\n"].concat();
            assert_eq!(
                parse_proxy_header(&followed),
                Ok(Some((said, header.len())))
            );
        }
    }

    #[test]
    fn refuses_what_is_none() {
        for wrong in [
            &b"GET / HTTP/1.1\r\n"[..],
            b"PROXY TCP4 203.0.113.9 10.0.0.1 56324\r\n",
            b"PROXY TCP4 203.0.113.9 10.0.0.1 56324 443\n",
            b"PROXY TCP4 203.0.113.009 10.0.0.1 1 2\r\n",
            b"PROXY TCP4  203.0.113.9 10.0.0.1 1 2\r\n",
            b"PROXY TCP4 203.0.113.9 10.0.0.1 +1 2\r\n",
            b"PROXY TCP4 203.0.113.9 10.0.0.1 1 65536\r\n",
            b"PROXY TCP6 203.0.113.9 ::1 1 2\r\n",
            b"PROXY TCP9 203.0.113.9 10.0.0.1 1 2\r\n",
            &[b'P'; 200],
            &v2(0x31, 0x11, &addresses_v4()),
            &v2(0x22, 0x11, &addresses_v4()),
            &v2(0x21, 0x11, &addresses_v4()[..11]),
            &v2(0x21, 0x41, &addresses_v4()),
            &v2(0x21, 0x11, &[0; BINARY_MAX_BYTES]),
        ] {
            assert_eq!(parse_proxy_header(wrong), Err(NoProxyHeader), "{wrong:?}");
        }
        let endless = [&b"PROXY UNKNOWN "[..], &[b'x'; 200]].concat();
        assert_eq!(parse_proxy_header(&endless), Err(NoProxyHeader));
    }

    proptest! {
        /// Once refused or read, more bytes change nothing.
        #[test]
        fn a_verdict_is_final(head in 0usize..10, cut in 0usize..120, noise in prop::collection::vec(any::<u8>(), 0..64)) {
            let (header, _) = &good()[head];
            let mut bytes = header[..cut.min(header.len())].to_vec();
            bytes.extend(noise);
            let mut verdict = None;
            for len in 0..=bytes.len() {
                let now = parse_proxy_header(&bytes[..len]);
                if let Some(before) = verdict {
                    prop_assert_eq!(now, before);
                } else if now != Ok(None) {
                    verdict = Some(now);
                }
            }
        }
    }
}
