//! Session tickets under keys that all workers have, so that a caller resumes at whichever accepts it.
//!
//! A ticket is `key name (16) | nonce (12) | AES-256-GCM of the session`, as RFC 5077 section 4 recommends it. The
//! first key seals, every key opens: whoever hands the keys over rotates them by putting a new one in front.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use rustls::server::ProducesTickets;

/// A name and an AES-256 key, as hexadecimal digits.
const NAME_BYTES: usize = 16;
const KEY_BYTES: usize = NAME_BYTES + 32;

/// How long a caller may keep a ticket. Keys are to live at least as long.
pub(super) const LIFETIME_SECONDS: u32 = 12 * 3600;

struct Key {
    name: [u8; NAME_BYTES],
    aead: LessSafeKey,
}

/// See the module.
pub(super) struct Tickets(Vec<Key>);

impl Tickets {
    /// Reads keys of 96 hexadecimal digits, the one that seals first. `None` when one is malformed.
    pub(super) fn new(keys: &[String]) -> Option<Self> {
        keys.iter()
            .map(|key| read(key))
            .collect::<Option<_>>()
            .map(Self)
    }
}

fn read(digits: &str) -> Option<Key> {
    let bytes: Vec<u8> = (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok())
        .collect::<Option<_>>()?;
    let (name, key) = bytes.split_at_checked(NAME_BYTES)?;
    (bytes.len() == KEY_BYTES).then_some(())?;
    Some(Key {
        name: name.try_into().ok()?,
        aead: LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).ok()?),
    })
}

impl std::fmt::Debug for Tickets {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Tickets({} keys)", self.0.len())
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        !self.0.is_empty()
    }

    fn lifetime(&self) -> u32 {
        LIFETIME_SECONDS
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let key = self.0.first()?;
        let mut nonce = [0; NONCE_LEN];
        aws_lc_rs::rand::fill(&mut nonce).ok()?;
        let mut ticket = [&key.name[..], &nonce, plain].concat();
        let (head, body) = ticket.split_at_mut(NAME_BYTES + NONCE_LEN);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = key
            .aead
            .seal_in_place_separate_tag(nonce, Aad::from(&*head), body)
            .ok()?;
        ticket.extend_from_slice(tag.as_ref());
        Some(ticket)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (head, body) = ticket.split_at_checked(NAME_BYTES + NONCE_LEN)?;
        let (name, nonce) = head.split_at(NAME_BYTES);
        let key = self.0.iter().find(|key| key.name == name)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut body = body.to_vec();
        let len_bytes = key
            .aead
            .open_in_place(nonce, Aad::from(head), &mut body)
            .ok()?
            .len();
        body.truncate(len_bytes);
        Some(body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(digit: char) -> String {
        digit.to_string().repeat(2 * KEY_BYTES)
    }

    #[test]
    fn a_ticket_opens_under_every_key_that_is_left() {
        let old = Tickets::new(&[key('a')]).expect("keys");
        let rotated = Tickets::new(&[key('b'), key('a')]).expect("keys");
        let gone = Tickets::new(&[key('b')]).expect("keys");
        let ticket = old.encrypt(b"session").expect("sealed");
        assert_eq!(rotated.decrypt(&ticket).as_deref(), Some(&b"session"[..]));
        assert_eq!(gone.decrypt(&ticket), None);
        assert_ne!(old.encrypt(b"session"), Some(ticket), "nonces differ");
    }

    #[test]
    fn a_ticket_that_was_touched_does_not_open() {
        let tickets = Tickets::new(&[key('a')]).expect("keys");
        let ticket = tickets.encrypt(b"session").expect("sealed");
        for at in 0..ticket.len() {
            let mut touched = ticket.clone();
            touched[at] ^= 1;
            assert_eq!(tickets.decrypt(&touched), None, "byte {at}");
        }
        for len in 0..ticket.len() {
            assert_eq!(tickets.decrypt(&ticket[..len]), None);
        }
    }

    #[test]
    fn malformed_keys_are_refused() {
        for wrong in ["", "ab", &"g".repeat(96), &"a".repeat(95), &"a".repeat(98)] {
            assert!(Tickets::new(&[wrong.to_owned()]).is_none(), "{wrong}");
        }
    }
}
