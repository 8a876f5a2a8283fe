//! `simulate`: runs worlds until so many exchanges have happened.
//!
//! `simulate [--seed N] [--exchanges M] [--verbose]`. World after world is made from the seed and those that
//! follow it. A rule that does not hold ends the run and names the seed of its world.

use std::process::ExitCode;

use gatewayx_simulator::world::{Summary, World};

struct Arguments {
    seed: u64,
    exchanges: u64,
    verbose: bool,
}

fn main() -> ExitCode {
    let Some(arguments) = parse(std::env::args().skip(1)) else {
        eprintln!("usage: simulate [--seed N] [--exchanges M] [--verbose]");
        return ExitCode::from(2);
    };
    let mut total = Summary::default();
    let mut seed = arguments.seed;
    while total.exchanges < arguments.exchanges {
        let run = std::panic::catch_unwind(|| World::new(seed, arguments.verbose).run());
        let Ok(summary) = run else {
            eprintln!("\nfailed: simulate --seed {seed} --exchanges 1 --verbose");
            return ExitCode::FAILURE;
        };
        total.add(&summary);
        seed += 1;
    }
    println!(
        "{} worlds from seed {}: {} exchanges, {} connects, {} reuses, {} retries, {} events",
        seed - arguments.seed,
        arguments.seed,
        total.exchanges,
        total.connects,
        total.reuses,
        total.retries,
        total.steps
    );
    for (end, count) in &total.ends {
        let end = if end.is_empty() { "served" } else { end };
        println!("{count:>9} {end}");
    }
    ExitCode::SUCCESS
}

fn parse(mut words: impl Iterator<Item = String>) -> Option<Arguments> {
    let mut arguments = Arguments {
        seed: 1,
        exchanges: 200_000,
        verbose: false,
    };
    while let Some(word) = words.next() {
        match &word[..] {
            "--seed" => arguments.seed = words.next()?.parse().ok()?,
            "--exchanges" => arguments.exchanges = words.next()?.parse().ok()?,
            "--verbose" => arguments.verbose = true,
            _ => return None,
        }
    }
    Some(arguments)
}
