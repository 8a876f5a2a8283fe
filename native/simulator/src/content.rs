//! Bodies that say whose they are: every byte follows from the exchange, the direction and its place, so a
//! byte that reached the wrong exchange, or the wrong place, is seen wherever it turns up.

use crate::rng::mix;

/// Which body of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The caller's.
    Request,
    /// The target's.
    Response,
}

/// Some bodies begin like a message, to tempt whoever loses count.
const DECOYS: [&[u8]; 2] = [
    b"\r\n0\r\n\r\nGET /decoy HTTP/1.1\r\nHost: decoy\r\nContent-Length: 3\r\n\r\n",
    b"\r\n0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\ndecoy",
];

/// Appends `len` bytes of the body, from `start` on.
pub fn append(out: &mut Vec<u8>, exchange: u64, direction: Direction, start: u64, len: u64) {
    let stream = stream(exchange, direction);
    let decoy = decoy(stream);
    out.extend((start..start + len).map(|at| byte(stream, decoy, at)));
}

/// A whole body.
pub fn body(exchange: u64, direction: Direction, len: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(len as usize);
    append(&mut out, exchange, direction, 0, len);
    out
}

/// Where `bytes` first differ from the beginning of the body.
pub fn first_difference(bytes: &[u8], exchange: u64, direction: Direction) -> Option<usize> {
    let stream = stream(exchange, direction);
    let decoy = decoy(stream);
    bytes
        .iter()
        .zip(0..)
        .position(|(&found, at)| found != byte(stream, decoy, at))
}

fn stream(exchange: u64, direction: Direction) -> u64 {
    mix(exchange << 1 | u64::from(direction == Direction::Response))
}

fn decoy(stream: u64) -> &'static [u8] {
    DECOYS
        .get((stream % 8) as usize)
        .copied()
        .unwrap_or_default()
}

fn byte(stream: u64, decoy: &[u8], at: u64) -> u8 {
    match decoy.get(at as usize) {
        Some(&byte) => byte,
        None => (mix(stream ^ (at / 8)) >> (8 * (at % 8))) as u8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_exchange_or_place_is_noticed() {
        let bytes = body(7, Direction::Response, 100);
        assert_eq!(first_difference(&bytes, 7, Direction::Response), None);
        assert!(first_difference(&bytes, 8, Direction::Response).is_some());
        assert!(first_difference(&bytes, 7, Direction::Request).is_some());
        assert_eq!(
            first_difference(&bytes[1..], 7, Direction::Response),
            Some(0)
        );
    }
}
