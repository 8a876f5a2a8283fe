//! Random worlds, as many as fit into an ordinary test run. `simulate` runs more of them.

use std::collections::BTreeSet;
use std::panic::{catch_unwind, resume_unwind};

use gatewayx_engine::REASON_NAMES;
use gatewayx_simulator::world::{Summary, World};

/// Each test runs its own seeds, so that they share the processors.
fn run(first_seed: u64, exchanges: u64) -> Summary {
    let mut total = Summary::default();
    let mut seed = first_seed;
    while total.exchanges < exchanges {
        match catch_unwind(|| World::new(seed, false).run()) {
            Ok(summary) => total.add(&summary),
            Err(panic) => {
                eprintln!("failed: simulate --seed {seed} --exchanges 1 --verbose");
                resume_unwind(panic);
            }
        }
        seed += 1;
    }
    total
}

/// Handshakes draw randomness that no seed decides; `tests/integration/test_tls_upstream.py` plays these.
const BEYOND_A_SEED: [&str; 2] = ["tls_timeout", "tls_failed"];

#[test]
fn ten_thousand_exchanges() {
    run(1_000_000, 10_000);
}

#[test]
fn ten_thousand_other_exchanges_end_in_every_way_there_is() {
    let total = run(2_000_000, 10_000);
    let ends: BTreeSet<&str> = total.ends.keys().map(String::as_str).collect();
    let missing: Vec<_> = REASON_NAMES
        .iter()
        .filter(|&&name| name != "5xx" && !ends.contains(name) && !BEYOND_A_SEED.contains(&name))
        .collect();
    assert!(missing.is_empty(), "no exchange ended so: {missing:?}");
    assert!(total.reuses > 0 && total.retries > 0);
}

#[test]
fn the_same_seed_is_the_same_world() {
    for seed in 0..20 {
        assert_eq!(World::new(seed, false).run(), World::new(seed, false).run());
    }
}

/// A pipelined request that waited for a permit got the one of the request before it, and was refused by the
/// breaker: its answer was queued behind a send that had been performed, and lost.
#[test]
fn an_answer_in_the_drain_of_the_one_before_it_is_sent() {
    World::new(7524, false).run();
}
