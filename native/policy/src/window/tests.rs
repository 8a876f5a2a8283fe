use super::*;
use proptest::prelude::*;

const SECOND: u64 = 1_000_000_000;
const GOOD: Outcome = Outcome {
    failed: false,
    slow: false,
};
const FAILED: Outcome = Outcome {
    failed: true,
    slow: false,
};
const SLOW: Outcome = Outcome {
    failed: false,
    slow: true,
};

fn cfg(volume_min: u32, failure_percent: u32, slow_percent: u32) -> WindowConfig {
    WindowConfig {
        window_ns: 10 * SECOND,
        volume_min,
        failure_percent,
        slow_percent,
    }
}

#[derive(Default)]
struct Ring([u64; BUCKETS_COUNT]);

impl Ring {
    fn call(&mut self, cfg: &WindowConfig, now_ns: u64, epoch: u64, outcome: Outcome) -> bool {
        let bucket = &mut self.0[cfg.index(now_ns)];
        *bucket = cfg.add(*bucket, now_ns, epoch, outcome);
        cfg.trips(outcome, cfg.totals(&self.0, now_ns, epoch))
    }
}

#[test]
fn half_of_the_calls_trip_once_there_are_enough() {
    let (cfg, mut ring) = (cfg(10, 50, 0), Ring::default());
    for call in 0..9 {
        let outcome = if call % 2 == 0 { FAILED } else { GOOD };
        assert!(!ring.call(&cfg, SECOND, 1, outcome), "{call}");
    }
    assert!(ring.call(&cfg, SECOND, 1, FAILED), "6 of 10");
}

#[test]
fn a_single_failure_after_a_quiet_night_does_not_trip() {
    let (cfg, mut ring) = (cfg(5, 1, 0), Ring::default());
    assert!(!ring.call(&cfg, 30_000 * SECOND, 1, FAILED));
}

#[test]
fn good_news_never_trips() {
    let (cfg, mut ring) = (cfg(4, 50, 0), Ring::default());
    for _ in 0..3 {
        assert!(!ring.call(&cfg, SECOND, 1, FAILED));
    }
    assert!(!ring.call(&cfg, SECOND, 1, GOOD), "it fills up the volume");
    assert!(ring.call(&cfg, SECOND, 1, FAILED));
}

#[test]
fn slow_calls_have_a_share_of_their_own() {
    let (cfg, mut ring) = (cfg(4, 100, 50), Ring::default());
    for outcome in [GOOD, GOOD, SLOW] {
        assert!(!ring.call(&cfg, SECOND, 1, outcome));
    }
    assert!(ring.call(&cfg, SECOND, 1, SLOW));
}

#[test]
fn the_window_forgets() {
    let (cfg, mut ring) = (cfg(2, 100, 0), Ring::default());
    ring.call(&cfg, SECOND, 1, FAILED);
    assert!(
        !ring.call(&cfg, 11 * SECOND, 1, FAILED),
        "the first is gone"
    );
    assert!(ring.call(&cfg, 20 * SECOND, 1, FAILED), "the second is not");
}

#[test]
fn another_epoch_starts_from_nothing_and_late_results_of_the_last_are_dropped() {
    let (cfg, mut ring) = (cfg(2, 100, 0), Ring::default());
    ring.call(&cfg, SECOND, 255, FAILED);
    assert!(!ring.call(&cfg, SECOND, 256, FAILED));
    ring.call(&cfg, SECOND, 255, GOOD);
    assert_eq!(cfg.totals(&ring.0, SECOND, 256).all, 1);
    assert!(ring.call(&cfg, SECOND, 256, FAILED));
}

#[test]
fn a_full_bucket_keeps_its_ratio() {
    let (cfg, mut ring) = (cfg(1, 50, 0), Ring::default());
    for call in 0..100_000 {
        let outcome = if call % 4 == 0 { FAILED } else { GOOD };
        ring.call(&cfg, SECOND, 1, outcome);
    }
    let totals = cfg.totals(&ring.0, SECOND, 1);
    assert!(totals.all >= COUNT_MAX / 2, "{totals:?}");
    let percent = totals.failed as f64 * 100.0 / totals.all as f64;
    assert!((24.5..25.5).contains(&percent), "{percent}");
}

#[test]
fn a_call_that_is_late_by_a_window_does_not_undo_the_present() {
    let (cfg, mut ring) = (cfg(1, 0, 0), Ring::default());
    ring.call(&cfg, 25 * SECOND, 1, FAILED);
    ring.call(&cfg, 5 * SECOND, 1, GOOD);
    let totals = cfg.totals(&ring.0, 25 * SECOND, 1);
    assert_eq!((totals.all, totals.failed), (1, 1));
}

proptest! {
    /// Against a list of every call that was ever made.
    #[test]
    fn agrees_with_a_list_of_calls(
        window_s in 1..60_u64,
        begin_s in 0..2_000_000_u64,
        steps in prop::collection::vec((0..4_u8, 0..4_000_u64, prop::bool::weighted(0.02)), 1..400),
    ) {
        let cfg = WindowConfig { window_ns: window_s * SECOND, ..cfg(3, 40, 60) };
        let bucket_ns = cfg.window_ns / 10;
        let (mut ring, mut calls) = (Ring::default(), Vec::new());
        let (mut now_ns, mut epoch) = (begin_s * SECOND, 1);
        for (kind, wait_ms, next_epoch) in steps {
            now_ns += wait_ms * 1_000_000;
            epoch += u64::from(next_epoch);
            let outcome = Outcome { failed: kind & 1 == 1, slow: kind & 2 == 2 };
            let trips = ring.call(&cfg, now_ns, epoch, outcome);
            calls.push((now_ns / bucket_ns, epoch, outcome));
            let live: Vec<Outcome> = calls
                .iter()
                .filter(|(number, of, _)| *of == epoch && number + 10 > now_ns / bucket_ns)
                .map(|&(_, _, outcome)| outcome)
                .collect();
            let failed = live.iter().filter(|call| call.failed).count();
            let slow = live.iter().filter(|call| call.slow).count();
            let expected = live.len() >= 3
                && (outcome.failed && failed as f64 >= live.len() as f64 * 0.4
                    || outcome.slow && slow as f64 >= live.len() as f64 * 0.6);
            prop_assert_eq!(trips, expected, "{} of {}, slow {}", failed, live.len(), slow);
        }
    }
}
