//! The only source of chance: one seed, one stream of numbers (splitmix64), the same on every machine.

/// A seeded generator.
#[derive(Clone, Debug)]
pub struct Rng {
    state: u64,
}

impl Rng {
    /// The stream of `seed`.
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.state)
    }

    /// A number below `bound`; 0 when there is none.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// True in so many of a hundred cases.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One of them.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }

    /// A size up to `max`: small ones are as likely as large ones, whatever the scale.
    pub fn size(&mut self, max: u64) -> u64 {
        let bits = u64::from(64 - max.leading_zeros());
        let scale = self.between(0, bits);
        let ceiling = max.min((1_u64 << scale.min(62)) - 1);
        self.between(0, ceiling)
    }

    /// An independent stream, so that drawing more here changes nothing there.
    pub fn fork(&mut self) -> Self {
        Self::new(self.next_u64())
    }
}

/// Spreads the bits of a number over all of it.
pub fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_kept() {
        let mut rng = Rng::new(1);
        for _ in 0..10_000 {
            assert!(rng.below(7) < 7);
            assert!((3..=5).contains(&rng.between(3, 5)));
            assert!(rng.size(1000) <= 1000);
        }
        assert_eq!(rng.below(0), 0);
        assert_eq!(rng.size(0), 0);
    }

    #[test]
    fn the_same_seed_gives_the_same_stream() {
        let (mut one, mut other) = (Rng::new(9), Rng::new(9));
        assert!((0..100).all(|_| one.next_u64() == other.next_u64()));
    }
}
