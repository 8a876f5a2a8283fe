//! `smoke`: the fuzz targets on stable Rust, for so many inputs each.
//!
//! `smoke [--target NAME] [--inputs N] [--seed N]`, or `smoke --target NAME --hex INPUT` to see one again.
//! Inputs grow out of those before them by a few random changes; nothing measures coverage, so this finds
//! what is near. cargo-fuzz looks further.

use std::process::ExitCode;

use gatewayx_fuzz::{TARGETS, target};
use gatewayx_simulator::rng::Rng;

/// Where the mutator starts.
const SEEDS: [(&str, &[&str]); 5] = [
    (
        "heads",
        &[
            "\0GET /a?b HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n",
            "\0POST http://h/ HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTE: trailers\r\n\r\n",
            "\0HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\n",
            "\0HTTP/1.0 304 \r\nETag: \"x\"\r\n\r\n",
        ],
    ),
    (
        "chunks",
        &[
            "\x033\r\nabc\r\n1f;a=b;c=\"d\\\"e\"\r\n0123456789012345678901234567890\r\n0\r\nT: u\r\n\r\n",
        ],
    ),
    (
        "operations",
        &[
            "\0\0\0\x0a\0\0\x0b\x01\0\x0b\x01\x07\x0b\x01\x0a",
            "\x7f\0\0\x0a\0\x04\x0a\0\x06\x0a\0\x0a\x03\x20",
        ],
    ),
    (
        "config",
        &[
            "{\"proxies\":[{\"name\":\"a\",\"block\":1,\"path\":\"/a\",\"upstreams\":[{\"host\":\"h\",\"port\":80,\
           \"authority\":\"h\"}],\"timeout\":{\"dial_ms\":5},\"headers\":[[\"A\",\"b\"]],\"strip_path\":true}],\
           \"buffer\":{\"high_water_bytes\":1},\"access_log\":{\"enabled\":true}}",
        ],
    ),
    (
        "rules",
        &[
            "@request.auth.id != '' && (@request.method = \"GET\" || @request.ip = '10.0.0.0/8')",
            "@request.headers.x-a = @request.auth.a.b",
            "true",
        ],
    ),
];

/// Bytes that parsers care about.
const WORDS: [&[u8]; 20] = [
    b"\r\n",
    b"\r\n\r\n",
    b"\n",
    b"\r",
    b" ",
    b"\t",
    b":",
    b";",
    b"\"",
    b"0",
    b"\0",
    b"\xff",
    b"HTTP/1.1",
    b"Content-Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Connection: close\r\n",
    b"Host: h\r\n",
    b"18446744073709551615",
    b"null",
    b"-1",
];

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let option = |name: &str| {
        let at = words.iter().position(|word| word == name)?;
        words.get(at + 1)
    };
    let number =
        |name: &str, usual: u64| option(name).map_or(Some(usual), |text| text.parse().ok());
    let (Some(inputs), Some(seed)) = (number("--inputs", 20_000), number("--seed", 1)) else {
        eprintln!("usage: smoke [--target NAME] [--inputs N] [--seed N] [--hex INPUT]");
        return ExitCode::from(2);
    };
    for name in TARGETS {
        if option("--target").is_some_and(|wanted| wanted != name) {
            continue;
        }
        let run = target(name).expect("a listed target");
        if let Some(text) = option("--hex") {
            run(&from_hex(text));
        } else if !smoke(name, run, inputs, seed) {
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn smoke(name: &str, run: fn(&[u8]), inputs: u64, seed: u64) -> bool {
    let mut rng = Rng::new(seed);
    let seeds = SEEDS.iter().find(|(target, _)| *target == name);
    let mut pool: Vec<Vec<u8>> = seeds
        .map(|(_, seeds)| seeds.iter().map(|seed| seed.as_bytes().to_vec()).collect())
        .unwrap_or_default();
    let seeds_count = pool.len();
    for _ in 0..inputs {
        // Most changes break an input, so half of them begin with a sound one.
        let choices = if rng.chance(50) {
            seeds_count
        } else {
            pool.len()
        };
        let mut input = pool[rng.below(choices as u64) as usize].clone();
        for _ in 0..rng.between(1, 6) {
            mutate(&mut rng, &mut input, &pool);
        }
        input.truncate(4_096);
        if std::panic::catch_unwind(|| run(&input)).is_err() {
            eprintln!("\nfailed: smoke --target {name} --hex {}", to_hex(&input));
            return false;
        }
        // Keep some, so that changes add up; forget others, so that they do not run away.
        if rng.chance(5) {
            if pool.len() < 200 {
                pool.push(input);
            } else {
                let place = rng.between(seeds_count as u64, 199) as usize;
                pool[place] = input;
            }
        }
    }
    println!("{name}: {inputs} inputs from seed {seed}");
    true
}

fn mutate(rng: &mut Rng, input: &mut Vec<u8>, pool: &[Vec<u8>]) {
    let at = rng.below(input.len() as u64 + 1) as usize;
    match rng.below(6) {
        0 => {
            if let Some(byte) = input.get_mut(at) {
                *byte ^= 1 << rng.below(8);
            }
        }
        1 => {
            if let Some(byte) = input.get_mut(at) {
                *byte = rng.next_u64() as u8;
            }
        }
        2 => {
            let word = rng.pick(&WORDS);
            input.splice(at..at, word.iter().copied());
        }
        3 => {
            let end = (at + rng.size(16) as usize).min(input.len());
            input.drain(at..end);
        }
        4 => {
            let bytes: Vec<u8> = (0..rng.between(1, 6))
                .map(|_| rng.next_u64() as u8)
                .collect();
            input.splice(at..at, bytes);
        }
        _ => {
            let other = &pool[rng.below(pool.len() as u64) as usize];
            let from = rng.below(other.len() as u64 + 1) as usize;
            input.splice(at.., other[from..].iter().copied());
        }
    }
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Vec<u8> {
    (0..text.len() / 2)
        .filter_map(|at| u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok())
        .collect()
}
