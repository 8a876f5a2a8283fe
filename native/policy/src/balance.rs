//! Which upstream gets the next request.
//!
//! One balancer a proxy and worker. An upstream is *available* unless a health check has found it
//! down or passive ejection has set it aside; when none is available all are tried again, because a
//! wrong verdict about every upstream must not take the service down (Envoy calls this panic
//! routing).
//!
//! - Round robin is the smooth weighted kind: each pick adds every weight to its credit, takes the
//!   highest
//!   credit and charges it the sum, so that weights 5,1,1 give a a b a c a a.
//! - Least connections compares load a weight, without division: `a.load * b.weight` with `b.load *
//!   a.weight`.
//! - Random of two takes the less loaded of two drawn by weight; it needs no global view to avoid
//!   herds.
//! - Consistent hash is rendezvous hashing: each upstream scores `hash(key, upstream)` and the
//!   highest wins,
//!   so a lost upstream moves only its own keys. Weights scale the score as `-weight / ln(score)`.
//!
//! Passive ejection: `consecutive_failures` in a row set an upstream aside for `base_ns` times the
//! number of times that this has happened, never more than `max_percent` of all at once. After
//! ejection, or when a health check finds it up again, slow start grows the weight from a tenth to
//! the whole over `slow_start_ns`.

/// How upstreams are chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Algorithm {
    /// In turn, by weight.
    #[default]
    RoundRobin,
    /// The one with the fewest exchanges under way for its weight.
    LeastConnections,
    /// The less loaded of two drawn at random.
    RandomOfTwo,
    /// By the hash of a key.
    ConsistentHash,
}

/// When an upstream is set aside for the failures of its answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ejection {
    /// Failures in a row; 0 never ejects.
    pub consecutive_failures: u32,
    /// How long the first time.
    pub base_ns: u64,
    /// Longest time.
    pub max_ns: u64,
    /// Most of the upstreams that may be out at once, in percent. One may always be out unless it
    /// is the only one.
    pub max_percent: u32,
}

/// What a balancer is told of a pick.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pick {
    /// The present time.
    pub now_ns: u64,
    /// Hash of the key, for consistent hashing.
    pub key_hash: u64,
    /// Random bits.
    pub random: u64,
    /// Bit n set: a health check has found upstream n down.
    pub down: u64,
    /// Bit n set: upstream n has been tried for this request.
    pub tried: u64,
}

#[derive(Clone, Copy, Debug)]
struct Endpoint {
    weight: u32,
    load: u32,
    credit: i64,
    failures: u32,
    ejections: u32,
    ejected_until_ns: u64,
    /// Slow start runs from here; 0 when it never was out.
    back_since_ns: u64,
    was_down: bool,
}

/// Weights are scaled by this, so that slow start can grow them smoothly.
const WEIGHT_SCALE: u64 = 100;

/// Most upstreams of one proxy: their health is one bit each of a shared cell.
pub const UPSTREAMS_MAX_COUNT: usize = 64;

/// The upstreams of one proxy, as one worker sees them.
#[derive(Clone, Debug)]
pub struct Balancer {
    algorithm: Algorithm,
    ejection: Ejection,
    slow_start_ns: u64,
    endpoints: Vec<Endpoint>,
}

impl Balancer {
    /// A balancer over upstreams of these weights, at least 1 each.
    ///
    /// # Panics
    /// When there is none, or more than [`UPSTREAMS_MAX_COUNT`].
    pub fn new(
        algorithm: Algorithm,
        ejection: Ejection,
        slow_start_ns: u64,
        weights: &[u32],
    ) -> Self {
        assert!(
            (1..=UPSTREAMS_MAX_COUNT).contains(&weights.len()),
            "1 to 64 upstreams"
        );
        let endpoints = weights
            .iter()
            .map(|&weight| Endpoint {
                weight: weight.max(1),
                load: 0,
                credit: 0,
                failures: 0,
                ejections: 0,
                ejected_until_ns: 0,
                back_since_ns: 0,
                was_down: false,
            })
            .collect();
        Self {
            algorithm,
            ejection,
            slow_start_ns,
            endpoints,
        }
    }

    /// How many upstreams there are.
    #[expect(clippy::len_without_is_empty, reason = "there is at least one")]
    pub fn len(&self) -> usize {
        self.endpoints.len()
    }

    /// Chooses an upstream and counts the request as its load until [`Self::on_end`].
    #[inline]
    pub fn pick(&mut self, pick: &Pick) -> usize {
        let index = if self.endpoints.len() == 1 {
            0
        } else {
            self.choose(pick)
        };
        self.endpoints[index].load += 1;
        index
    }

    /// A request that [`Self::pick`] gave to `index` has ended: well, badly, or without telling
    /// anything.
    #[inline]
    pub fn on_end(&mut self, index: usize, now_ns: u64, failed: Option<bool>) {
        let endpoint = &mut self.endpoints[index];
        endpoint.load = endpoint.load.saturating_sub(1);
        match failed {
            None => {}
            Some(false) => {
                endpoint.failures = 0;
                if endpoint.ejected_until_ns <= now_ns {
                    endpoint.ejections = 0;
                }
            }
            Some(true) => {
                endpoint.failures += 1;
                let limit = self.ejection.consecutive_failures;
                if limit > 0 && endpoint.failures >= limit {
                    self.eject(index, now_ns);
                }
            }
        }
    }

    /// Whether failures have set an upstream aside.
    pub fn is_ejected(&self, index: usize, now_ns: u64) -> bool {
        self.endpoints[index].ejected_until_ns > now_ns
    }

    fn eject(&mut self, index: usize, now_ns: u64) {
        let out = self
            .endpoints
            .iter()
            .filter(|endpoint| endpoint.ejected_until_ns > now_ns)
            .count();
        let all = self.endpoints.len();
        let allowed = (all * self.ejection.max_percent as usize / 100)
            .max(1)
            .min(all - 1);
        let endpoint = &mut self.endpoints[index];
        if endpoint.ejected_until_ns > now_ns || out >= allowed {
            return;
        }
        endpoint.failures = 0;
        endpoint.ejections += 1;
        let out_ns = self
            .ejection
            .base_ns
            .saturating_mul(u64::from(endpoint.ejections));
        endpoint.ejected_until_ns = now_ns.saturating_add(out_ns.min(self.ejection.max_ns));
        endpoint.back_since_ns = endpoint.ejected_until_ns;
    }

    fn choose(&mut self, pick: &Pick) -> usize {
        let candidates = self.candidates(pick);
        let weight = |index: usize| self.weight(index, pick.now_ns);
        match self.algorithm {
            Algorithm::RoundRobin => self.round_robin(candidates, pick.now_ns),
            Algorithm::LeastConnections => bits(candidates)
                .reduce(|best, index| {
                    if self.lighter(index, best, pick.now_ns) {
                        index
                    } else {
                        best
                    }
                })
                .expect("at least one candidate"),
            Algorithm::RandomOfTwo => {
                let total: u64 = bits(candidates).map(weight).sum();
                let draw = |random: u64| {
                    let mut left = random % total;
                    bits(candidates)
                        .find(|&index| {
                            let own = weight(index);
                            let found = left < own;
                            left = left.wrapping_sub(own);
                            found
                        })
                        .expect("the draw is below the total")
                };
                let (first, second) = (draw(pick.random >> 32), draw(pick.random & 0xffff_ffff));
                if self.lighter(second, first, pick.now_ns) {
                    second
                } else {
                    first
                }
            }
            Algorithm::ConsistentHash => bits(candidates)
                .map(|index| (score(pick.key_hash, index, weight(index)), index))
                .max_by(|(a, _), (b, _)| a.total_cmp(b))
                .map(|(_, index)| index)
                .expect("at least one candidate"),
        }
    }

    /// Upstreams to choose from, as bits: available and not tried, else available, else any.
    fn candidates(&mut self, pick: &Pick) -> u64 {
        let all = u64::MAX >> (64 - self.endpoints.len());
        let mut available = 0;
        for (index, endpoint) in self.endpoints.iter_mut().enumerate() {
            let down = pick.down >> index & 1 == 1;
            if endpoint.was_down && !down {
                endpoint.back_since_ns = pick.now_ns;
            }
            endpoint.was_down = down;
            if !down && endpoint.ejected_until_ns <= pick.now_ns {
                available |= 1 << index;
            }
        }
        [available & !pick.tried, available, all & !pick.tried, all]
            .into_iter()
            .find(|&set| set != 0)
            .expect("there is at least one upstream")
    }

    fn round_robin(&mut self, candidates: u64, now_ns: u64) -> usize {
        let mut total = 0;
        let mut best: Option<usize> = None;
        for index in bits(candidates) {
            let weight = self.weight(index, now_ns) as i64;
            total += weight;
            self.endpoints[index].credit += weight;
            if best.is_none_or(|best| self.endpoints[index].credit > self.endpoints[best].credit) {
                best = Some(index);
            }
        }
        let best = best.expect("at least one candidate");
        self.endpoints[best].credit -= total;
        best
    }

    /// Whether `a` carries less for its weight than `b`.
    fn lighter(&self, a: usize, b: usize, now_ns: u64) -> bool {
        let load = |index: usize| u64::from(self.endpoints[index].load) + 1;
        load(a) * self.weight(b, now_ns) < load(b) * self.weight(a, now_ns)
    }

    fn weight(&self, index: usize, now_ns: u64) -> u64 {
        let endpoint = &self.endpoints[index];
        let whole = u64::from(endpoint.weight) * WEIGHT_SCALE;
        let age_ns = now_ns.saturating_sub(endpoint.back_since_ns);
        if endpoint.back_since_ns == 0 || age_ns >= self.slow_start_ns {
            return whole;
        }
        let grown =
            (u128::from(whole) * u128::from(age_ns) / u128::from(self.slow_start_ns)) as u64;
        grown.max(whole / 10)
    }
}

fn bits(mut set: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        if set == 0 {
            return None;
        }
        let index = set.trailing_zeros() as usize;
        set &= set - 1;
        Some(index)
    })
}

fn score(key_hash: u64, index: usize, weight: u64) -> f64 {
    let mut mixed = key_hash ^ (index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^= mixed >> 31;
    // In (0, 1): 53 bits and a half.
    let unit = ((mixed >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
    -(weight as f64) / unit.ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    const EJECTION: Ejection = Ejection {
        consecutive_failures: 3,
        base_ns: 1_000,
        max_ns: 5_000,
        max_percent: 50,
    };

    fn balancer(algorithm: Algorithm, weights: &[u32]) -> Balancer {
        Balancer::new(algorithm, EJECTION, 0, weights)
    }

    fn picks(balancer: &mut Balancer, count: usize, pick: Pick) -> Vec<usize> {
        (0..count)
            .map(|_| {
                let index = balancer.pick(&pick);
                balancer.on_end(index, pick.now_ns, None);
                index
            })
            .collect()
    }

    #[test]
    fn round_robin_is_smooth() {
        let mut balancer = balancer(Algorithm::RoundRobin, &[5, 1, 1]);
        assert_eq!(
            picks(&mut balancer, 7, Pick::default()),
            [0, 0, 1, 0, 2, 0, 0]
        );
    }

    #[test]
    fn least_connections_weighs_the_load() {
        let mut balancer = balancer(Algorithm::LeastConnections, &[2, 1]);
        let mut counts = [0; 2];
        for _ in 0..30 {
            counts[balancer.pick(&Pick::default())] += 1;
        }
        assert_eq!(counts, [20, 10]);
    }

    #[test]
    fn random_of_two_follows_the_weights() {
        let mut balancer = balancer(Algorithm::RandomOfTwo, &[3, 1]);
        let mut counts = [0_u32; 2];
        let mut random = 1_u64;
        for _ in 0..4_000 {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let pick = Pick {
                random: random ^ random.rotate_left(17),
                ..Pick::default()
            };
            counts[balancer.pick(&pick)] += 1;
        }
        assert!((2_900..3_100).contains(&counts[0]), "{counts:?}");
    }

    #[test]
    fn a_lost_upstream_moves_only_its_own_keys() {
        let mut balancer = balancer(Algorithm::ConsistentHash, &[1, 1, 1, 1]);
        let place = |balancer: &mut Balancer, key_hash, down| {
            picks(
                balancer,
                1,
                Pick {
                    key_hash,
                    down,
                    ..Pick::default()
                },
            )[0]
        };
        let mut counts = [0; 4];
        for key_hash in 0..4_000 {
            let before = place(&mut balancer, key_hash, 0);
            counts[before] += 1;
            let after = place(&mut balancer, key_hash, 0b0100);
            assert!(after != 2 && (before == 2 || before == after));
        }
        assert!(
            counts.iter().all(|&count| (850..1_150).contains(&count)),
            "{counts:?}"
        );
    }

    #[test]
    fn failures_in_a_row_eject_and_time_brings_back() {
        let mut balancer = balancer(Algorithm::RoundRobin, &[1, 1]);
        for _ in 0..3 {
            balancer.on_end(0, 100, Some(true));
        }
        assert!(balancer.is_ejected(0, 100));
        assert_eq!(
            picks(
                &mut balancer,
                3,
                Pick {
                    now_ns: 200,
                    ..Pick::default()
                }
            ),
            [1, 1, 1]
        );
        assert!(!balancer.is_ejected(0, 1_100));
        // The second time is twice as long, and the last one left is never ejected.
        for _ in 0..3 {
            balancer.on_end(0, 1_100, Some(true));
            balancer.on_end(1, 1_100, Some(true));
        }
        assert!(balancer.is_ejected(0, 3_000) && !balancer.is_ejected(0, 3_100));
        assert!(!balancer.is_ejected(1, 1_200));
    }

    #[test]
    fn a_success_ends_the_row() {
        let mut balancer = balancer(Algorithm::RoundRobin, &[1, 1]);
        for failed in [true, true, false, true, true] {
            balancer.on_end(0, 100, Some(failed));
        }
        assert!(!balancer.is_ejected(0, 100));
    }

    #[test]
    fn when_all_are_down_all_are_tried() {
        let mut balancer = balancer(Algorithm::RoundRobin, &[1, 1]);
        let mut seen = picks(
            &mut balancer,
            2,
            Pick {
                down: 0b11,
                ..Pick::default()
            },
        );
        seen.sort_unstable();
        assert_eq!(seen, [0, 1]);
    }

    #[test]
    fn a_retry_goes_elsewhere_if_it_can() {
        let mut balancer = balancer(Algorithm::RoundRobin, &[1, 1]);
        for _ in 0..4 {
            assert_eq!(
                picks(
                    &mut balancer,
                    1,
                    Pick {
                        tried: 0b01,
                        ..Pick::default()
                    }
                ),
                [1]
            );
        }
        assert_eq!(
            picks(
                &mut balancer,
                1,
                Pick {
                    tried: 0b01,
                    down: 0b10,
                    ..Pick::default()
                }
            ),
            [0]
        );
    }

    #[test]
    fn slow_start_grows_the_share() {
        let mut balancer = Balancer::new(Algorithm::RoundRobin, EJECTION, 1_000, &[1, 1]);
        balancer.pick(&Pick {
            now_ns: 1,
            down: 0b01,
            ..Pick::default()
        });
        let share = |balancer: &mut Balancer, now_ns| {
            let picks = picks(
                balancer,
                200,
                Pick {
                    now_ns,
                    ..Pick::default()
                },
            );
            picks.iter().filter(|&&index| index == 0).count()
        };
        let early = share(&mut balancer, 2);
        let middle = share(&mut balancer, 502);
        let late = share(&mut balancer, 2_000);
        assert!(early < 30 && (55..80).contains(&middle) && (99..=101).contains(&late));
    }
}
