//! Which requests a percentage hits, and what is drawn for them.
//!
//! A request is hit when its 64-bit number is below `percentage / 100 * 2^64`. The rule is shared with the
//! Envoy plugin and held by common test vectors, so a change here is a change of contract.

/// 2^64.
const WHOLE: f64 = 18_446_744_073_709_551_616.0;

/// The step of SplitMix64 (Steele, Lea, Flood: "Fast Splittable Pseudorandom Number Generators", 2014).
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Whether a draw lies within the share.
pub fn is_hit(percentage: f64, draw: u64) -> bool {
    percentage >= 100.0 || draw < (percentage / 100.0 * WHOLE) as u64
}

/// What the n-th matching request draws, from 0: output n of SplitMix64 started with the seed.
pub fn nth_draw(seed: u64, n: u64) -> u64 {
    mix(seed.wrapping_add(n.wrapping_add(1).wrapping_mul(GOLDEN)))
}

/// What every request with this header value draws.
pub fn value_draw(seed: u64, value: &[u8]) -> u64 {
    let hash = value.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    mix(hash ^ seed)
}

/// Number `index` in (0, 1] that follows from a draw.
pub(super) fn unit(draw: u64, index: u64) -> f64 {
    ((nth_draw(draw, index) >> 11) + 1) as f64 / (1_u64 << 53) as f64
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
