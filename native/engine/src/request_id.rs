//! Request ids: 128 random bits as 32 hexadecimal digits, from a seeded generator.
//!
//! They correlate log lines and headers; nothing is protected by their being hard to guess.

/// Longest id that is taken over from a caller.
const CALLER_ID_MAX_BYTES: usize = 128;

/// Whether a caller's own id is passed on: visible ASCII of bounded length, nothing that a log or a header
/// could misread.
pub(crate) fn is_acceptable(id: &[u8]) -> bool {
    !id.is_empty()
        && id.len() <= CALLER_ID_MAX_BYTES
        && id
            .iter()
            .all(|&byte| byte.is_ascii_alphanumeric() || b"-_.:/+=@".contains(&byte))
}

/// A stream of ids (splitmix64).
pub(crate) struct RequestIds {
    state: u64,
}

impl RequestIds {
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    pub(crate) fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// For ids of which 0 is none.
    pub(crate) fn next_nonzero_u64(&mut self) -> u64 {
        self.next_u64().max(1)
    }

    /// Writes a fresh id.
    pub(crate) fn write(&mut self, out: &mut Vec<u8>) {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0; 32];
        let bits = u128::from(self.next_u64()) << 64 | u128::from(self.next_u64());
        for (position, digit) in text.iter_mut().enumerate() {
            *digit = DIGITS[(bits >> (124 - 4 * position)) as usize & 15];
        }
        out.extend_from_slice(&text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_hexadecimal_and_differ() {
        let mut ids = RequestIds::new(7);
        let mut seen = std::collections::HashSet::new();
        for _ in 0..1000 {
            let mut id = Vec::new();
            ids.write(&mut id);
            assert_eq!(id.len(), 32);
            assert!(id.iter().all(u8::is_ascii_hexdigit));
            assert!(seen.insert(id));
        }
    }

    #[test]
    fn a_caller_cannot_smuggle_through_its_id() {
        assert!(is_acceptable(b"4bf92f35-77b3"));
        assert!(!is_acceptable(b""));
        assert!(!is_acceptable(b"a b"));
        assert!(!is_acceptable(b"a\"b"));
        assert!(!is_acceptable(&[b'a'; 129]));
    }
}
