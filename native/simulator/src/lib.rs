//! The simulator: the engine between invented peers, on an invented network, in invented time.
//!
//! Everything follows from one seed. A world draws a configuration, callers, targets and a network, and lets
//! happen what peers do: keep the rules, dawdle, leave within a word, send nonsense. After every step it
//! compares what can be seen from outside with what has to hold:
//!
//! | Rule                                                              | Where                             |
//! |-------------------------------------------------------------------|-----------------------------------|
//! | the driver's contract: no action on what is closed, none twice    | `gateway.rs`                      |
//! | connections, exchanges, permits and metrics balance               | `books.rs`, `gateway.rs`          |
//! | metrics, log and what the peers saw agree                         | `ledger/line.rs`                  |
//! | no byte of one exchange reaches another                           | `ledger/`, `content.rs`           |
//! | a response only answers its request, in order                     | `ledger/answers.rs`               |
//! | what is forwarded is framed the same by an independent reader     | `oracle/`                         |
//! | what was cut never looks whole                                    | `ledger/mod.rs`                   |
//! | a request is sent upstream no more often than the rules allow     | `ledger/asks.rs`                  |
//! | memory, unsent bytes and timers are bounded                       | `gateway.rs`                      |
//! | every exchange ends, and nothing is left behind it                | `world/checks.rs`: `check_rest`   |
//! | if everybody keeps the rules, everybody is served                 | `world/checks.rs`: `check_calm`   |
//! | once trouble has passed, every proxy serves again                 | `world/checks.rs`: same file      |
//!
//! A rule that does not hold is a panic; `simulate` names the seed, and `simulate --seed N --exchanges 1
//! --verbose` shows how it came about. What was found so becomes a scenario with a name: a seed is the same
//! world only as long as the simulator draws the same numbers.
//!
//! [`pair::Pair`] plays the same gateway by hand, for scenarios that read like a dialogue
//! (`tests/scenarios/`).

pub mod books;
pub mod content;
pub mod gateway;
pub mod ledger;
pub mod network;
pub mod oracle;
pub mod pair;
pub mod peer;
pub mod plan;
pub mod rng;
pub mod socket;
mod trace;
pub mod world;
