//! Rate limits: how often callers may come, exact over all workers.
//!
//! A rate's state is one cell (`gatewayx_policy::Rate`). That of a whole proxy lies in its shared block. That of a
//! caller lies in the region's table, under a keyed hash of proxy and caller, so that nobody can choose whose entry
//! is theirs. An entry is given to somebody else once its bucket is full again, which is when it says nothing any
//! more. Callers for whom the table has no room share the proxy's cell: under a flood of new callers they are held
//! to one caller's rate together, and those who were there before notice nothing.

use std::hash::Hasher;

use gatewayx_policy::Rate;
use gatewayx_telemetry::{Cells, Table};
use siphasher::sip::SipHasher13;

use crate::caller::RequestFacts;
use crate::config::{ProxyConfig, RateKey, RateLimitConfig};
use crate::metrics::shared_cell;
use crate::rewrite::write_decimal;

/// Callers whose rates are told apart in memory of one process.
pub(crate) const CALLERS_MIN_COUNT: u32 = 4_096;

/// Callers whose rates are told apart in memory that several processes map; pages that none uses take no memory.
pub const CALLERS_COUNT: u32 = 65_536;

/// What a caller is told of its rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Quota {
    requests: u32,
    window_seconds: u64,
    burst: u32,
    remaining: u32,
    reset_seconds: u64,
    pub(crate) retry_seconds: u32,
}

/// A proxy's rate limit.
pub(crate) struct RateLimit {
    cfg: RateLimitConfig,
    rate: Rate,
    /// The proxy's name and the seed, as the hash begins.
    hasher: SipHasher13,
    /// Of all callers.
    table: Cells,
}

impl RateLimit {
    pub(crate) fn new(proxy: &ProxyConfig, seed: u64, table: Cells) -> Option<Self> {
        let cfg = proxy.rate_limit.clone()?;
        let mut hasher = SipHasher13::new_with_keys(seed, !seed);
        hasher.write(proxy.name.as_bytes());
        // No name holds it, so that no two proxies and callers run together.
        hasher.write_u8(0);
        let per_ns = cfg.per_ms.saturating_mul(1_000_000);
        Some(Self {
            rate: Rate::new(cfg.requests, per_ns, cfg.burst),
            cfg,
            hasher,
            table,
        })
    }

    /// Takes a request's token: whether it passes, and what its caller is told.
    pub(crate) fn take(
        &self,
        now_ns: u64,
        facts: &RequestFacts<'_>,
        shared: &Cells,
    ) -> (bool, Quota) {
        let of_caller = self
            .caller_hash(facts)
            .and_then(|key| Table::new(&self.table).find(key, |state| state <= now_ns));
        let take = |state| self.rate.take(state, now_ns);
        let taken = match of_caller {
            Some(cell) => self.table.update(cell, take),
            None => shared.update(shared_cell::RATE, take),
        };
        let quota = Quota {
            requests: self.cfg.requests,
            window_seconds: self.cfg.per_ms.div_ceil(1_000),
            burst: self.rate.burst(),
            remaining: taken.remaining,
            reset_seconds: seconds(taken.reset_ns),
            retry_seconds: u32::try_from(seconds(taken.retry_ns)).unwrap_or(u32::MAX),
        };
        (taken.allowed, quota)
    }

    /// `None`: all callers together.
    fn caller_hash(&self, facts: &RequestFacts<'_>) -> Option<u64> {
        let mut hasher = self.hasher;
        let named = match &self.cfg.key {
            RateKey::Proxy => return None,
            RateKey::Ip => None,
            RateKey::AuthId => facts.caller().map(|caller| caller.id().into()),
            RateKey::Header(name) => facts.header(name),
        };
        // An address and a name that look alike are two.
        hasher.write_u8(u8::from(named.is_some()));
        hasher.write(named.as_deref().unwrap_or(facts.ip));
        Some(hasher.finish())
    }
}

/// Appends the fields that tell of the quota, as draft-ietf-httpapi-ratelimit-headers-06 names them: the limit is
/// the size of the bucket, the policy says how fast it fills.
pub(crate) fn write_quota(out: &mut Vec<u8>, quota: &Quota) {
    let numbers: [(&[u8], u64); 6] = [
        (b"RateLimit-Limit: ", quota.burst.into()),
        (b"\r\nRateLimit-Remaining: ", quota.remaining.into()),
        (b"\r\nRateLimit-Reset: ", quota.reset_seconds),
        (b"\r\nRateLimit-Policy: ", quota.requests.into()),
        (b";w=", quota.window_seconds),
        (b";burst=", quota.burst.into()),
    ];
    for (before, number) in numbers {
        out.extend_from_slice(before);
        write_decimal(out, number);
    }
    out.extend_from_slice(b"\r\n");
}

/// Whether an upstream's field speaks of a quota in the gateway's words.
pub(crate) fn is_quota_field(name: &[u8]) -> bool {
    name.get(..10)
        .is_some_and(|start| start.eq_ignore_ascii_case(b"ratelimit-"))
}

/// Rounded up: who comes back then is not too early.
fn seconds(wait_ns: u64) -> u64 {
    wait_ns.div_ceil(1_000_000_000)
}
