//! What is going to happen, drawn from a seed before it does: configurations, callers, requests, responses.
//!
//! The plan of exchange `n` of a world follows from the world's seed and `n` alone, so that a target knows
//! what to answer from the number that the request carries.

mod config;
mod mutation;
mod request;
mod response;

pub use config::{Layout, Route};
pub use request::RequestPlan;
pub use response::{Fault, ResponsePlan};

use crate::rng::{Rng, mix};

/// Milliseconds in nanoseconds.
pub const MS: u64 = 1_000_000;

/// What kind of world it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Temper {
    /// Everybody keeps the rules and has time: every exchange has to succeed.
    Calm,
    /// Anything goes.
    Rough,
}

/// One thing for a peer to do, or to wait for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Send, as the window allows.
    Send(Vec<u8>),
    /// Do nothing for so many nanoseconds.
    Wait(u64),
    /// A caller: until so many responses are whole.
    AwaitResponses(usize),
    /// A caller: until 100 arrives, or for so many nanoseconds; gives up when the response does.
    AwaitContinue(u64),
    /// A caller: until 101 arrives; gives up when another response does.
    AwaitSwitch,
    /// A target: until request number `.0` has `.1` bytes of body, or is whole.
    AwaitRequest(usize, u64),
    /// A target: close after so many nanoseconds without another request.
    CloseIdle(u64, Goodbye),
    /// Read, or do not.
    Read(bool),
    /// What follows on this connection cannot be trusted.
    Taint,
    /// Leave.
    Leave(Goodbye),
}

/// How a peer leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goodbye {
    /// Shut down the sending side; still read.
    Fin,
    /// Drop everything.
    Reset,
    /// Say nothing more, ever.
    Silence,
}

/// Both halves of an exchange.
#[derive(Clone, Debug)]
pub struct ExchangePlan {
    /// Its number.
    pub number: u64,
    /// What identifies it in heads.
    pub id: String,
    /// The caller's part.
    pub request: RequestPlan,
    /// The target's part.
    pub response: ResponsePlan,
}

impl ExchangePlan {
    /// Exchange `number` of the world of `seed`.
    pub fn draw(seed: u64, number: u64, layout: &Layout) -> Self {
        let mut rng = Rng::new(mix(seed ^ mix(number)));
        let id = id(seed, number);
        let request = RequestPlan::draw(&mut rng, layout);
        let response = ResponsePlan::draw(&mut rng, layout, &request);
        Self {
            number,
            id,
            request,
            response,
        }
    }

    /// Whether the caller's connection cannot be used behind this exchange, if all keep the rules.
    pub fn is_last(&self) -> bool {
        self.request.closes() || self.response.ends_caller(&self.request)
    }
}

fn id(seed: u64, number: u64) -> String {
    format!(
        "x{number}-{:08x}",
        mix(seed ^ number.rotate_left(32)) as u32
    )
}

/// The number behind an id, if no byte of it was changed.
pub fn number_of(seed: u64, text: &str) -> Option<u64> {
    let number = text.strip_prefix('x')?.split_once('-')?.0.parse().ok()?;
    (id(seed, number) == text).then_some(number)
}

/// A wait: mostly short, at times long enough to matter.
fn pause(rng: &mut Rng, temper: Temper) -> u64 {
    match rng.below(20) {
        0 if temper == Temper::Rough => rng.between(50, 3_000) * MS,
        0..=4 => rng.between(1, 30) * MS,
        _ => rng.below(MS),
    }
}

/// Cuts bytes into pieces with pauses between them, as a peer that does not send in one go.
fn paced(rng: &mut Rng, temper: Temper, bytes: Vec<u8>) -> Vec<Step> {
    let pieces = if rng.chance(60) { 1 } else { rng.between(2, 6) };
    let mut steps = Vec::new();
    let mut rest = bytes;
    for _ in 1..pieces {
        let at = rng.below(rest.len() as u64 + 1) as usize;
        let tail = rest.split_off(at);
        steps.push(Step::Send(rest));
        steps.push(Step::Wait(pause(rng, temper)));
        rest = tail;
    }
    steps.push(Step::Send(rest));
    steps
}
