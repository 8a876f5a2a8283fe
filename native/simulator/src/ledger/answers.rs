//! Responses: from targets into the gateway, and from the gateway to callers.

use gatewayx_engine::Key;

use crate::oracle::{End, Framing, Message};

use super::{Conversation, Ledger, assert_same_body};

impl Ledger {
    pub(super) fn target_answers(&mut self, key: Key, bytes: &[u8]) {
        let conversation = self.targets.get_mut(&key).expect("open");
        let answers = &mut conversation.answers;
        if answers.due_count() == 0 && answers.is_between_messages() {
            conversation.owes = true;
            return;
        }
        answers.feed(bytes);
        if answers.due_count() == 0 && answers.has_part_of_head() {
            conversation.owes = true;
        }
        conversation.owes |= answers.fault.is_some();
        note_finals(conversation);
    }

    pub(super) fn answer_caller(&mut self, key: Key, bytes: &[u8]) {
        self.callers
            .get_mut(&key)
            .expect("open")
            .answers
            .append(bytes);
        let mut goes_on = true;
        while goes_on {
            let conversation = self.callers.get_mut(&key).expect("open");
            let answers = &mut conversation.answers;
            // What is refused before its head is whole is answered as if it had been a request.
            if answers.due_count() == 0 && answers.is_at_head() {
                answers.ask("GET");
            }
            goes_on = answers.read_message();
            if let Some(fault) = answers.fault {
                panic!(
                    "the gateway sends a caller what is no response: {}",
                    fault.0
                );
            }
            note_finals(conversation);
            self.check_answer_heads(key);
            self.enter_asks(key);
        }
        self.check_ended_answers(key);
    }

    fn check_answer_heads(&mut self, key: Key) {
        loop {
            let conversation = self.callers.get_mut(&key).expect("open");
            if conversation.answers.messages.len() == conversation.seen_answers {
                break;
            }
            let place = conversation.seen_answers;
            conversation.seen_answers += 1;
            if conversation.answers.messages[place].is_interim() {
                self.check_interim(key, place);
            } else {
                self.check_answer(key, place);
            }
        }
    }

    /// The request that is being answered, and what its target has said so far.
    fn sent_for(&self, key: Key, index: usize) -> Option<(&Conversation, usize)> {
        let id = self.callers[&key].ids.get(index)?.as_deref()?;
        let (target, place) = *self.exchanges.get(id)?.sends.last()?;
        Some((&self.targets[&target], place))
    }

    fn check_interim(&self, key: Key, place: usize) {
        let conversation = &self.callers[&key];
        let status = conversation.answers.messages[place].status();
        let index = conversation.finals.iter().filter(|&&at| at < place).count();
        let ask = conversation
            .asks
            .messages
            .get(index)
            .expect("an interim response has a request");
        assert!(ask.http11, "HTTP/1.0 knows no interim responses");
        if status == 100 {
            assert!(ask.lists("expect", "100-continue"), "nobody expected a 100");
            return;
        }
        let (target, _) = self
            .sent_for(key, index)
            .expect("only a target sends interim responses");
        let said = target
            .answers
            .messages
            .iter()
            .any(|answer| answer.is_interim() && answer.status() == status);
        assert!(said, "no target said {status}");
    }

    fn check_answer(&mut self, key: Key, place: usize) {
        let conversation = &self.callers[&key];
        let index = conversation
            .finals
            .iter()
            .position(|&at| at == place)
            .expect("a final response");
        let answer = &conversation.answers.messages[place];
        let id = match (answer.field("x-request-id"), answer.status()) {
            (Some(id), _) => id.to_owned(),
            (None, 101) => conversation.ids[index].clone().unwrap_or_default(),
            _ => panic!("a response without an id"),
        };
        self.check_turn(key, index, &id);
        if is_own(answer) {
            self.check_own_answer(key, index, &id);
        } else {
            self.check_passed_head(key, index, &id);
        }
    }

    /// The response before was not the last.
    fn check_turn(&self, key: Key, index: usize, id: &str) {
        let conversation = &self.callers[&key];
        let Some(before) = index.checked_sub(1) else {
            return;
        };
        let ask = conversation.asks.messages.get(before);
        let answer = conversation.answer_to(before).expect("in order");
        assert_eq!(answer.end, End::Whole, "{id}: a response within another");
        let goes_on = match ask {
            Some(ask) if ask.http11 => !answer.lists("connection", "close"),
            _ => answer.lists("connection", "keep-alive"),
        };
        assert!(goes_on, "{id}: a response behind the last");
        let whole = ask.is_some_and(|ask| ask.end == End::Whole);
        assert!(
            whole,
            "{id}: the next response before the end of the request"
        );
    }

    /// An answer that the gateway made: it names the request if it could read it.
    fn check_own_answer(&mut self, key: Key, index: usize, id: &str) {
        let known = self.callers[&key].ids.get(index).cloned().flatten();
        match self.exchanges.get(id) {
            Some(exchange) => assert_eq!(exchange.caller, (key, index), "{id} answers another"),
            None => {
                // The gateway did not accept the head, so it did not take over the caller's id either.
                if let Some(known) = known {
                    let sends = self.exchanges.remove(&known).map(|exchange| exchange.sends);
                    assert_eq!(
                        sends,
                        Some(Vec::new()),
                        "{known} was sent and answered as {id}"
                    );
                }
                self.bind(id, key, index);
            }
        }
    }

    /// An answer of a target: it is the one that was due.
    fn check_passed_head(&self, key: Key, index: usize, id: &str) {
        let conversation = &self.callers[&key];
        let known = conversation.ids.get(index).and_then(Option::as_deref);
        assert_eq!(known, Some(id), "a response reaches another request");
        let answer = conversation.answer_to(index).expect("noted");
        let (target, place) = self
            .sent_for(key, index)
            .unwrap_or_else(|| panic!("{id}: an answer to what was never sent"));
        let original = target
            .answer_to(place)
            .unwrap_or_else(|| panic!("{id}: an answer that no target gave"));
        assert_eq!(answer.status(), original.status(), "{id}: status");
        assert_same_framing(answer, original, id);
        for hop in ["keep-alive", "proxy-connection", "proxy-authenticate"] {
            assert!(answer.field(hop).is_none(), "{id}: {hop} is for one hop");
        }
        if !target.tainted
            && let Some(echo) = original.field("x-sim-echo")
        {
            let ask = &target.asks.messages[place];
            assert_eq!(
                ask.field("x-sim-exchange"),
                Some(echo),
                "{id}: another's response"
            );
            assert_eq!(
                answer.field("x-sim-echo"),
                Some(echo),
                "{id}: a field was changed"
            );
        }
    }

    pub(super) fn check_ended_answers(&mut self, key: Key) {
        let conversation = self.callers.get_mut(&key).expect("open");
        let from = conversation.ended_answers;
        let ended = conversation.answers.messages[from..]
            .iter()
            .take_while(|answer| answer.end != End::Open)
            .count();
        conversation.ended_answers += ended;
        for place in from..from + ended {
            self.check_ended_answer(key, place);
        }
        let conversation = &self.callers[&key];
        if let Some(index) = conversation.finals.len().checked_sub(1)
            && !conversation.answers.tunnel.is_empty()
        {
            let (target, _) = self.sent_for(key, index).expect("tunnels have two ends");
            let sent = &conversation.answers.tunnel;
            assert!(
                target.answers.tunnel.starts_with(sent),
                "other bytes in the tunnel"
            );
        }
    }

    fn check_ended_answer(&self, key: Key, place: usize) {
        let conversation = &self.callers[&key];
        let answer = &conversation.answers.messages[place];
        let Some(index) = conversation.finals.iter().position(|&at| at == place) else {
            return;
        };
        if is_own(answer) {
            return;
        }
        let (target, send) = self.sent_for(key, index).expect("its head was checked");
        let original = target.answer_to(send).expect("its head was checked");
        let id = conversation.ids[index].as_deref().unwrap_or_default();
        assert_same_body(answer, original, id);
    }

    /// The answer that a caller got to the request of this id, with what the target gave.
    pub fn answer(&self, id: &str) -> Option<&Message> {
        let (key, index) = self.exchanges.get(id)?.caller;
        self.callers[&key].answer_to(index)
    }
}

/// Notes which answers are final, and lets a held request stream go on.
fn note_finals(conversation: &mut Conversation) {
    let Conversation {
        asks,
        answers,
        finals,
        ..
    } = conversation;
    let from = finals.last().map_or(0, |&place| place + 1);
    for (place, answer) in answers.messages.iter().enumerate().skip(from) {
        if !answer.is_interim() {
            finals.push(place);
            if finals.len() == asks.messages.len() {
                asks.resolve_upgrade(answer.status() == 101);
            }
        }
    }
}

/// Whether the gateway made an answer itself.
fn is_own(answer: &Message) -> bool {
    answer.field("x-gateway-reason").is_some() || answer.field("x-fault-injected").is_some()
}

fn assert_same_framing(answer: &Message, original: &Message, id: &str) {
    match (original.framing, answer.framing) {
        (Framing::None, Framing::None)
        | (Framing::Chunked | Framing::UntilClose, Framing::Chunked) => {}
        (Framing::Length(received), Framing::Length(sent)) => assert_eq!(received, sent, "{id}"),
        // Callers who do not know chunks.
        (Framing::Chunked | Framing::UntilClose, Framing::UntilClose) => {}
        (received, sent) => panic!("{id}: {received:?} became {sent:?}"),
    }
}
