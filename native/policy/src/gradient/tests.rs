use super::*;
use proptest::prelude::*;

const CFG: GradientConfig = GradientConfig {
    limit_min: 4,
    limit_max: 200,
    tolerance_percent: 25,
};

fn interval(mean_us: u64, peak: u32) -> Interval {
    Interval {
        mean_us,
        peak,
        measure: false,
    }
}

/// Measured at 1 ms, with this limit.
fn steady(limit: u32) -> Gradient {
    let mut gradient = Gradient::from_bits(CFG, 0);
    gradient.on_interval(interval(1_000, 4));
    gradient.limit = limit;
    gradient
}

#[test]
fn fresh_memory_is_the_least_limit_which_measures_first() {
    let mut gradient = Gradient::from_bits(CFG, 0);
    assert_eq!((gradient.limit(), gradient.baseline_us()), (4, 0));
    gradient.on_interval(interval(700, 4));
    assert_eq!((gradient.limit(), gradient.baseline_us()), (4, 700));
    gradient.on_interval(interval(700, 4));
    assert_eq!(gradient.limit(), 5);
}

#[test]
fn a_limit_that_is_not_used_does_not_grow() {
    let mut gradient = steady(20);
    gradient.on_interval(interval(1_000, 10));
    assert_eq!(gradient.limit(), 20);
    gradient.on_interval(interval(1_000, 11));
    assert_eq!(gradient.limit(), 23);
}

#[test]
fn a_stalled_interval_halves_at_the_worst() {
    let mut gradient = steady(100);
    gradient.on_interval(interval(60_000_000, 100));
    assert_eq!(gradient.limit(), (100 + 50 + 10) / 2);
}

#[test]
fn a_measurement_under_load_drains_first_and_then_goes_back() {
    let mut gradient = steady(50);
    let due = Interval {
        measure: true,
        ..interval(2_000, 50)
    };
    gradient.on_interval(due);
    assert_eq!((gradient.limit(), gradient.baseline_us()), (25, 1_000));
    gradient.on_interval(interval(1_900, 50));
    assert_eq!((gradient.limit(), gradient.baseline_us()), (25, 1_000));
    gradient.on_interval(interval(1_500, 25));
    assert_eq!((gradient.limit(), gradient.baseline_us()), (50, 1_500));
}

#[test]
fn a_measurement_without_load_costs_nothing() {
    let mut gradient = steady(50);
    gradient.on_interval(Interval {
        measure: true,
        ..interval(1_300, 25)
    });
    assert_eq!((gradient.limit(), gradient.baseline_us()), (50, 1_300));
}

proptest! {
    #[test]
    fn the_limit_keeps_its_bounds_and_packing_changes_nothing(
        limit_min in 0..100_u32,
        limit_max in 0..100_000_u32,
        steps in prop::collection::vec((0..2_000_000_000_u64, 0..100_000_u32, any::<bool>()), 0..100),
    ) {
        let cfg = GradientConfig { limit_min, limit_max, ..CFG };
        let mut plain = Gradient::from_bits(cfg, 0);
        for (mean_us, peak, measure) in steps {
            let mut packed = Gradient::from_bits(cfg, plain.to_bits());
            plain.on_interval(Interval { mean_us, peak, measure });
            packed.on_interval(Interval { mean_us, peak, measure });
            prop_assert_eq!(plain.to_bits(), packed.to_bits());
            let limit_min = limit_min.max(1);
            prop_assert!((limit_min..=limit_max.clamp(limit_min, LIMIT_MAX)).contains(&plain.limit()));
        }
    }
}

/// An upstream that serves so many requests at a time, each for a random time, and has the others wait
/// inside; before it the limit, and always somebody who wants in. All in virtual time.
struct World {
    state: u64,
    now_us: u64,
    capacity: usize,
    service_us: u64,
    gradient: Gradient,
    /// Began to be sent, and will be answered, at; those beyond the capacity have no end yet.
    serving: Vec<(u64, u64)>,
    waiting: std::collections::VecDeque<u64>,
    answered_count: u64,
    sum_us: u64,
    samples_count: u64,
    turn_us: u64,
    turns_count: u64,
}

const TURN_US: u64 = 100_000;
const MEASURE_EVERY: u64 = 50;

impl World {
    fn new(capacity: usize, service_us: u64, seed: u64) -> Self {
        Self {
            state: seed,
            now_us: 0,
            capacity,
            service_us,
            gradient: Gradient::from_bits(CFG, 0),
            serving: Vec::new(),
            waiting: std::collections::VecDeque::new(),
            answered_count: 0,
            sum_us: 0,
            samples_count: 0,
            turn_us: 0,
            turns_count: 0,
        }
    }

    /// Between half and one and a half of the mean.
    fn draw_us(&mut self) -> u64 {
        self.state = self
            .state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.service_us / 2 + (self.state >> 33) % (self.service_us + 1)
    }

    fn run(&mut self, seconds: u64) {
        let until_us = self.now_us + seconds * 1_000_000;
        while self.now_us < until_us {
            while self.serving.len() + self.waiting.len() < self.gradient.limit() as usize {
                self.waiting.push_back(self.now_us);
            }
            while self.serving.len() < self.capacity
                && let Some(began_us) = self.waiting.pop_front()
            {
                let end_us = self.now_us + self.draw_us();
                self.serving.push((began_us, end_us));
            }
            let next = (0..self.serving.len())
                .min_by_key(|&index| self.serving[index].1)
                .expect("somebody is served");
            let peak = (self.serving.len() + self.waiting.len()) as u32;
            let (began_us, end_us) = self.serving.swap_remove(next);
            self.now_us = self.now_us.max(end_us);
            self.answered_count += 1;
            if began_us >= self.turn_us {
                self.sum_us += self.now_us - began_us;
                self.samples_count += 1;
            }
            if self.now_us >= self.turn_us + TURN_US && self.samples_count >= 20 {
                self.turns_count += 1;
                self.gradient.on_interval(Interval {
                    mean_us: self.sum_us / self.samples_count,
                    peak,
                    measure: self.turns_count.is_multiple_of(MEASURE_EVERY),
                });
                self.turn_us = self.now_us;
                (self.sum_us, self.samples_count) = (0, 0);
            }
        }
    }

    /// Lets it settle, then the mean limit and the share of the upstream's capacity that is used.
    fn balance(&mut self) -> (f64, f64) {
        self.run(60);
        let (before, seconds) = (self.answered_count, 60);
        let mut sum = 0;
        for _ in 0..seconds {
            self.run(1);
            sum += self.gradient.limit();
        }
        let answered = (self.answered_count - before) as f64;
        let possible = self.capacity as f64 * 1e6 / self.service_us as f64 * f64::from(seconds);
        (f64::from(sum) / f64::from(seconds), answered / possible)
    }
}

#[test]
fn finds_a_sensible_limit_for_a_known_capacity() {
    for (capacity, service_us, seed) in [(5, 20_000, 1), (10, 10_000, 2), (40, 30_000, 3)] {
        let (limit, used) = World::new(capacity, service_us, seed).balance();
        let (least, most) = (capacity as f64, capacity as f64 * 2.2);
        assert!((least..most).contains(&limit), "{limit} for {capacity}");
        assert!(used > 0.95, "{used} of {capacity} used");
    }
}

#[test]
fn follows_an_upstream_that_loses_capacity_and_gets_it_back() {
    let mut world = World::new(40, 20_000, 4);
    world.run(60);
    world.capacity = 10;
    let (limit, used) = world.balance();
    assert!((10.0..22.0).contains(&limit), "{limit} for 10");
    assert!(used > 0.95, "{used}");
    world.capacity = 40;
    let (limit, used) = world.balance();
    assert!((40.0..88.0).contains(&limit), "{limit} for 40");
    assert!(used > 0.95, "{used}");
}

#[test]
fn an_upstream_that_has_become_slower_for_good_gets_its_limit_back() {
    let mut world = World::new(20, 10_000, 5);
    world.run(60);
    world.service_us = 50_000;
    let (limit, used) = world.balance();
    assert!((20.0..44.0).contains(&limit), "{limit} for 20");
    assert!(used > 0.95, "{used}");
}

#[test]
fn a_stall_is_forgotten() {
    let mut world = World::new(20, 10_000, 6);
    world.run(60);
    world.service_us = 1_000_000;
    world.run(10);
    assert!(world.gradient.limit() < 15, "{}", world.gradient.limit());
    world.service_us = 10_000;
    let (limit, used) = world.balance();
    assert!((20.0..44.0).contains(&limit), "{limit} for 20");
    assert!(used > 0.95, "{used}");
}
