//! Damage: what broken, hostile and confused peers send.

use crate::rng::Rng;

/// Lines that turn a good head into one that somebody, somewhere, reads differently.
const TRICKS: [&[u8]; 22] = [
    b"Content-Length: 5\r\n",
    b"Content-Length: 0\r\n",
    b"Content-Length: +5\r\n",
    b"Content-Length: 5, 5\r\n",
    b"content-length : 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: Chunked, identity\r\n",
    b"Transfer-Encoding : chunked\r\n",
    b"Transfer-Encoding:\tchunked\r\n",
    b"Transfer-Encoding: \x0bchunked\r\n",
    b"Transfer_Encoding: chunked\r\n",
    b" Transfer-Encoding: chunked\r\n",
    b"X: y\nTransfer-Encoding: chunked\r\n",
    b"X: y\rTransfer-Encoding: chunked\r\n",
    b"Connection: close\r\n",
    b"Connection: x-sim-exchange, x-request-id\r\n",
    b"Connection: content-length\r\n",
    b"Host: other\r\n",
    b"Upgrade: websocket\r\nConnection: upgrade\r\n",
    b"Expect: 100-continue\r\n",
    b"\0: \0\r\n",
    b"\r\n",
];

/// Does one to three kinds of damage to a message.
pub(super) fn damage(rng: &mut Rng, bytes: &mut Vec<u8>) {
    for _ in 0..rng.between(1, 3) {
        let len = bytes.len() as u64;
        match rng.below(8) {
            0..=3 => {
                let ends: Vec<usize> = line_ends(bytes);
                let at = if ends.is_empty() { 0 } else { rng.pick(&ends) };
                let trick = rng.pick(&TRICKS);
                bytes.splice(at..at, trick.iter().copied());
            }
            4 => {
                let at = rng.below(len) as usize;
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << rng.below(8);
                }
            }
            5 => {
                let from = rng.below(len + 1) as usize;
                let to = (from + rng.size(20) as usize).min(bytes.len());
                bytes.drain(from..to);
            }
            6 => {
                let at = rng.below(len + 1) as usize;
                let noise = noise(rng, 8);
                bytes.splice(at..at, noise);
            }
            _ => {
                let ends = line_ends(bytes);
                if !ends.is_empty() {
                    // Half a line end.
                    let at = rng.pick(&ends) - 1 - rng.below(2) as usize;
                    bytes.remove(at);
                }
            }
        }
    }
}

/// Bytes that mean nothing.
pub(super) fn noise(rng: &mut Rng, max: u64) -> Vec<u8> {
    let alphabet = b"\r\n :0123456789abcdefGETHP/1.\0\xff";
    (0..rng.between(1, max))
        .map(|_| rng.pick(alphabet))
        .collect()
}

/// Behind each CRLF of the head.
fn line_ends(bytes: &[u8]) -> Vec<usize> {
    let head = bytes
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .map_or(bytes.len(), |end| end + 2);
    (2..=head)
        .filter(|&end| &bytes[end - 2..end] == b"\r\n")
        .collect()
}
