//! Requests: from the caller into the gateway, and from the gateway to targets.

use gatewayx_engine::Key;

use crate::oracle::{End, Framing, Message};

use super::{Exchange, Ledger, assert_same_body};

/// Fields that a gateway answers for itself, or must not pass on.
const NOT_COMPARED: [&str; 20] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy",
    "te",
    "transfer-encoding",
    "upgrade",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-authentication-info",
    "host",
    "content-length",
    "expect",
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-real-ip",
    "x-request-id",
];

impl Ledger {
    pub(super) fn caller_asks(&mut self, key: Key, bytes: &[u8]) {
        self.conversation(gatewayx_engine::ConnId::Downstream(key))
            .asks
            .feed(bytes);
        self.enter_asks(key);
    }

    /// Enters requests whose head has become whole.
    pub(super) fn enter_asks(&mut self, key: Key) {
        let conversation = self.callers.get_mut(&key).expect("open");
        while let Some(ask) = conversation.asks.messages.get(conversation.seen_asks) {
            let index = conversation.seen_asks;
            conversation.seen_asks += 1;
            if index < conversation.finals.len() {
                // Refused before its head was whole.
                conversation.ids.push(None);
                continue;
            }
            conversation.answers.ask(ask.method());
            let id = id_of(ask);
            conversation.ids.push(id.clone());
            if let Some(id) = id {
                let exchange = Exchange {
                    caller: (key, index),
                    sends: Vec::new(),
                    line: None,
                };
                let before = self.exchanges.insert(id, exchange);
                assert!(before.is_none(), "callers of the simulator use an id once");
            }
        }
    }

    pub(super) fn ask_target(&mut self, key: Key, bytes: &[u8]) {
        let conversation = self.targets.get_mut(&key).expect("open");
        conversation.asks.feed(bytes);
        if let Some(fault) = conversation.asks.fault {
            panic!("the gateway sends a target what is no request: {}", fault.0);
        }
        loop {
            let conversation = self.targets.get_mut(&key).expect("open");
            if conversation.asks.messages.len() == conversation.seen_asks {
                break;
            }
            let index = conversation.seen_asks;
            conversation.seen_asks += 1;
            conversation
                .answers
                .ask(conversation.asks.messages[index].method());
            self.check_ask(key, index);
        }
        self.check_ended_asks(key);
    }

    /// A request goes out: it must be one that came in.
    fn check_ask(&mut self, key: Key, index: usize) {
        let ask = &self.targets[&key].asks.messages[index];
        let id = ask
            .field("x-request-id")
            .expect("every request upstream has one id")
            .to_owned();
        if !self.exchanges.contains_key(&id) {
            self.adopt(&id, key, index);
        }
        let ask = &self.targets[&key].asks.messages[index];
        let exchange = self.exchanges.get_mut(&id).expect("known or adopted");
        let (caller, place) = exchange.caller;
        exchange.sends.push((key, index));
        let sends_count = exchange.sends.len();
        let original = &self.callers[&caller].asks.messages[place];

        assert_same_head(ask, original, &id);
        if sends_count > 1 {
            let bare = original.end == End::Whole && original.body.is_empty();
            let repeatable = is_idempotent(original.method()) && (bare || self.attempts_max > 2);
            assert!(repeatable, "{id}: {} was sent twice", original.method());
            assert!(
                sends_count <= self.attempts_max,
                "{id} was sent {sends_count} times"
            );
        }
        self.check_reuse(key, index, &id);
        self.targets.get_mut(&key).expect("open").ids.push(Some(id));
    }

    /// The caller gave no usable id and the gateway made one up: finds the request that it stands for.
    fn adopt(&mut self, id: &str, target: Key, index: usize) {
        let ask = &self.targets[&target].asks.messages[index];
        let mut waiting = self.callers.iter().filter(|(_, caller)| !caller.is_over);
        let found = waiting.find_map(|(&key, conversation)| {
            let place = conversation.finals.len();
            let original = conversation.asks.messages.get(place)?;
            (conversation.ids[place].is_none() && is_same_head(ask, original))
                .then_some((key, place))
        });
        let Some((key, place)) = found else {
            panic!("{id}: a request that no caller sent goes to a target");
        };
        self.bind(id, key, place);
    }

    /// The gateway made up an id for a request.
    pub(super) fn bind(&mut self, id: &str, key: Key, place: usize) {
        let conversation = self.callers.get_mut(&key).expect("open");
        if let Some(slot) = conversation.ids.get_mut(place) {
            *slot = Some(id.to_owned());
        }
        let exchange = Exchange {
            caller: (key, place),
            sends: Vec::new(),
            line: None,
        };
        let before = self.exchanges.insert(id.to_owned(), exchange);
        assert!(before.is_none(), "{id} was made up twice");
    }

    /// A connection that has served: nothing may be left on it of the exchange before.
    fn check_reuse(&self, key: Key, index: usize, id: &str) {
        let conversation = &self.targets[&key];
        assert!(
            !conversation.owes,
            "{id}: sent on a connection with bytes that nobody asked for"
        );
        let Some(before) = index.checked_sub(1) else {
            return;
        };
        let ask = &conversation.asks.messages[before];
        assert_eq!(ask.end, End::Whole, "{id}: sent behind half a request");
        let answer = conversation
            .answer_to(before)
            .unwrap_or_else(|| panic!("{id}: sent on a connection that owes an answer"));
        assert_eq!(answer.end, End::Whole, "{id}: sent behind half an answer");
        assert!(
            answer.persists(),
            "{id}: sent on a connection that was to be closed"
        );
    }

    pub(super) fn check_ended_asks(&self, key: Key) {
        let conversation = &self.targets[&key];
        let Some(ask) = conversation.asks.messages.last() else {
            return;
        };
        if ask.end == End::Open {
            return;
        }
        let id = conversation
            .ids
            .last()
            .and_then(Option::as_deref)
            .expect("checked");
        let (caller, place) = self.exchanges[id].caller;
        let original = &self.callers[&caller].asks;
        assert_same_body(ask, &original.messages[place], id);
        let tunnelled = &conversation.asks.tunnel;
        assert!(
            original.tunnel.starts_with(tunnelled),
            "{id}: other bytes in the tunnel"
        );
    }
}

/// The id under which the gateway knows a request, if it takes it over from the caller.
fn id_of(ask: &Message) -> Option<String> {
    let id = ask.field("x-request-id")?;
    let acceptable = !id.is_empty()
        && id.len() <= 128
        && id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.:/+=@".contains(&byte))
        && !ask.lists("connection", "x-request-id");
    acceptable.then(|| id.to_owned())
}

fn is_idempotent(method: &str) -> bool {
    ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"].contains(&method)
}

fn is_same_head(ask: &Message, original: &Message) -> bool {
    let query = |message: &Message| {
        message
            .target()
            .split_once('?')
            .map(|(_, query)| query.to_owned())
    };
    ask.method() == original.method() && query(ask) == query(original)
}

fn assert_same_head(ask: &Message, original: &Message, id: &str) {
    assert!(
        is_same_head(ask, original),
        "{id}: {} {} became {} {}",
        original.method(),
        original.target(),
        ask.method(),
        ask.target()
    );
    assert!(ask.http11, "{id}: an old version goes upstream");
    match (original.framing, ask.framing) {
        (Framing::None | Framing::Length(0), Framing::None | Framing::Length(0))
        | (Framing::Chunked, Framing::Chunked) => {}
        (Framing::Length(received), Framing::Length(sent)) => assert_eq!(received, sent, "{id}"),
        (received, sent) => panic!("{id}: {received:?} became {sent:?}"),
    }
    let hosts = ask.fields.iter().filter(|field| field.name == "host");
    assert_eq!(hosts.count(), 1, "{id}: hosts");
    for hop in [
        "keep-alive",
        "proxy-connection",
        "te",
        "proxy-authorization",
        "proxy",
    ] {
        assert!(ask.field(hop).is_none(), "{id}: {hop} is for one hop");
    }
    for field in original
        .fields
        .iter()
        .filter(|field| field.name.starts_with("x-sim-"))
    {
        let nominated = original.lists("connection", &field.name);
        assert!(
            nominated || ask.fields.contains(field),
            "{id}: {field:?} was lost"
        );
    }
    let compared = |message: &Message| {
        message
            .fields
            .iter()
            .filter(|field| !NOT_COMPARED.contains(&&field.name[..]))
            .count()
    };
    // `Via` and what the configuration sets are the gateway's own.
    assert!(
        compared(ask) <= compared(original) + 4,
        "{id}: fields were invented"
    );
}
