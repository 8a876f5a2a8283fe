//! What crossed the gateway's border, and what must hold between the four streams of every exchange.
//!
//! ```text
//!   caller ──asks──►          ──asks──► target
//!                    gateway
//!   caller ◄─answers─         ◄─answers─ target
//! ```
//!
//! Each stream is read by the [oracle](crate::oracle). What a peer sends may break any rule; what the gateway
//! sends may break none. Then, as it happens:
//!
//! - a request reaches a target only if a caller sent it, unchanged but for what a gateway has to change, and
//!   no more often than the retry rules allow;
//! - the n-th response on a caller's connection answers its n-th request, and is the response of the target
//!   that got this very request, or one that the gateway made;
//! - what is whole on the way out was whole on the way in, byte for byte; what was cut is seen to be cut;
//! - a connection is used again only when both sides said so and nothing is owed on it;
//! - every exchange has one log line, which says what the caller saw, and the counters are the sum of the log.

mod answers;
mod asks;
mod line;

use std::collections::BTreeMap;

use gatewayx_engine::config::Config;
use gatewayx_engine::{ConnId, Key};

use crate::oracle::{End, Message, Reader};

pub use line::{Line, LogSums};

/// Both directions of one connection, as the gateway sees them.
#[derive(Debug)]
struct Conversation {
    asks: Reader,
    answers: Reader,
    /// Ids of the requests, by their order; `None` until the gateway has shown the one that it made up.
    ids: Vec<Option<String>>,
    /// Asks and answers whose head has been looked at, and answers whose end has.
    seen_asks: usize,
    seen_answers: usize,
    ended_answers: usize,
    /// Where the final responses are among the answers.
    finals: Vec<usize>,
    /// The peer has sent what nobody asked for: the connection must not be used again.
    owes: bool,
    /// The gateway has sent its last byte.
    is_over: bool,
    /// The peer mixes up its exchanges, so what it says of them cannot be held against the gateway.
    tainted: bool,
}

impl Conversation {
    fn new() -> Self {
        Self {
            asks: Reader::of_requests(),
            answers: Reader::of_responses(),
            ids: Vec::new(),
            seen_asks: 0,
            seen_answers: 0,
            ended_answers: 0,
            finals: Vec::new(),
            owes: false,
            is_over: false,
            tainted: false,
        }
    }

    /// The final response to request number `index`.
    fn answer_to(&self, index: usize) -> Option<&Message> {
        self.finals
            .get(index)
            .map(|&place| &self.answers.messages[place])
    }
}

/// One request of a caller, followed through the gateway.
#[derive(Debug)]
struct Exchange {
    /// The caller's connection and the place of the request on it.
    caller: (Key, usize),
    /// The target's connections that it was sent on, and its place there.
    sends: Vec<(Key, usize)>,
    line: Option<Line>,
}

/// All conversations of one gateway.
#[derive(Debug, Default)]
pub struct Ledger {
    callers: BTreeMap<Key, Conversation>,
    targets: BTreeMap<Key, Conversation>,
    exchanges: BTreeMap<String, Exchange>,
    sums: LogSums,
    // from the configuration
    attempts_max: usize,
    totals_ms: BTreeMap<String, u64>,
    target_names: std::collections::BTreeSet<(String, u16)>,
}

impl Ledger {
    /// What the configuration promises.
    pub(crate) fn learn(&mut self, cfg: &Config) {
        assert!(cfg.access_log.enabled, "the ledger compares the log");
        for proxy in &cfg.proxies {
            // One more for the late close of a pooled connection.
            let attempts = proxy
                .retry
                .as_ref()
                .map_or(1, |retry| retry.attempts.max(1));
            self.attempts_max = self.attempts_max.max(attempts as usize + 1);
            // Exchanges under way keep the limit that they began with.
            let total_ms = proxy.timeout.total_ms;
            let known_ms = self.totals_ms.entry(proxy.name.clone()).or_insert(total_ms);
            *known_ms = if total_ms == 0 || *known_ms == 0 {
                0
            } else {
                total_ms.max(*known_ms)
            };
            for upstream in &proxy.upstreams {
                self.target_names
                    .insert((upstream.host.clone(), upstream.port));
            }
        }
    }

    pub(crate) fn targets_count(&self) -> usize {
        self.target_names.len()
    }

    /// The log, added up.
    pub fn sums(&self) -> &LogSums {
        &self.sums
    }

    /// What is logged of the exchange of this id.
    pub fn line(&self, id: &str) -> Option<&Line> {
        self.exchanges.get(id)?.line.as_ref()
    }

    /// How often the request of this id was sent to targets.
    pub fn sends_count(&self, id: &str) -> usize {
        self.exchanges
            .get(id)
            .map_or(0, |exchange| exchange.sends.len())
    }

    /// The target of this connection is known to mix up its exchanges.
    pub fn taint(&mut self, conn: ConnId) {
        if let ConnId::Upstream(key) = conn
            && let Some(conversation) = self.targets.get_mut(&key)
        {
            conversation.tainted = true;
        }
    }

    pub(crate) fn open(&mut self, conn: ConnId) {
        let (ConnId::Downstream(key) | ConnId::Upstream(key)) = conn;
        self.side(conn).insert(key, Conversation::new());
    }

    fn side(&mut self, conn: ConnId) -> &mut BTreeMap<Key, Conversation> {
        match conn {
            ConnId::Downstream(_) => &mut self.callers,
            ConnId::Upstream(_) => &mut self.targets,
        }
    }

    fn conversation(&mut self, conn: ConnId) -> &mut Conversation {
        let key = conn.key();
        self.side(conn)
            .get_mut(&key)
            .expect("bytes only move on connections that were opened")
    }

    /// A peer has sent bytes.
    pub(crate) fn input(&mut self, conn: ConnId, bytes: &[u8]) {
        match conn {
            ConnId::Downstream(key) => self.caller_asks(key, bytes),
            ConnId::Upstream(key) => self.target_answers(key, bytes),
        }
    }

    /// A peer will send no more.
    pub(crate) fn input_ended(&mut self, conn: ConnId, clean: bool) {
        let conversation = self.conversation(conn);
        match conn {
            ConnId::Downstream(_) => conversation.asks.end(clean),
            ConnId::Upstream(_) => conversation.answers.end(clean),
        }
    }

    /// The gateway sends bytes.
    pub(crate) fn output(&mut self, conn: ConnId, bytes: &[u8]) {
        match conn {
            ConnId::Downstream(key) => self.answer_caller(key, bytes),
            ConnId::Upstream(key) => self.ask_target(key, bytes),
        }
    }

    /// The gateway will send no more.
    pub(crate) fn output_ended(&mut self, conn: ConnId, clean: bool) {
        let conversation = self.conversation(conn);
        conversation.is_over = true;
        match conn {
            ConnId::Downstream(key) => {
                conversation.answers.end(clean);
                self.check_ended_answers(key);
            }
            ConnId::Upstream(key) => {
                conversation.asks.end(clean);
                self.check_ended_asks(key);
            }
        }
    }

    /// Lines of the access log.
    pub(crate) fn log(&mut self, bytes: &[u8]) {
        for text in bytes.split(|&byte| byte == b'\n') {
            if !text.is_empty() {
                self.enter(Line::parse(text));
            }
        }
    }

    /// When all is over: every request that got anywhere has its line.
    pub fn close(&self) {
        for (id, exchange) in &self.exchanges {
            let (key, index) = exchange.caller;
            let answered = self.callers[&key].answer_to(index).is_some();
            if answered || !exchange.sends.is_empty() {
                assert!(exchange.line.is_some(), "{id} left no line in the log");
            }
        }
    }

    /// What the caller of this connection got: every response in order, interim ones too.
    pub fn answers(&self, conn: ConnId) -> &[Message] {
        match conn {
            ConnId::Downstream(key) => &self.callers[&key].answers.messages,
            ConnId::Upstream(key) => &self.targets[&key].answers.messages,
        }
    }

    /// What the target of this connection got.
    pub fn asks(&self, conn: ConnId) -> &[Message] {
        match conn {
            ConnId::Downstream(key) => &self.callers[&key].asks.messages,
            ConnId::Upstream(key) => &self.targets[&key].asks.messages,
        }
    }
}

/// Whether what went out is what came in: all of it when it is whole, the beginning when it was cut.
fn assert_same_body(sent: &Message, received: &Message, what: &str) {
    let place = sent
        .body
        .iter()
        .zip(&received.body)
        .position(|(sent, received)| sent != received);
    assert_eq!(place, None, "{what}: other bytes than were received");
    match sent.end {
        End::Whole => {
            assert_eq!(
                received.end,
                End::Whole,
                "{what}: a cut message looks whole"
            );
            assert_eq!(
                sent.body.len(),
                received.body.len(),
                "{what}: bytes are missing"
            );
            for field in &sent.trailers {
                assert!(
                    received.trailers.contains(field),
                    "{what}: invented {field:?}"
                );
            }
        }
        End::Open | End::Cut => {
            assert!(
                sent.body.len() <= received.body.len(),
                "{what}: invented bytes"
            );
        }
    }
}
