//! A peer of the gateway: works off a script, and reads.

use std::collections::VecDeque;

use crate::oracle::{End, Reader};
use crate::plan::{Goodbye, Step};

/// How long a caller waits for anything before it gives up.
const PATIENCE_NS: u64 = 3_600_000_000_000;

/// Which side of the gateway it is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// Asks.
    Caller {
        /// Numbers of its exchanges, in order.
        exchanges: Vec<u64>,
    },
    /// Answers.
    Target,
}

/// What the peer wants of the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Bytes for the network to take, as many as its window allows.
    Send(Vec<u8>),
    /// Call again at this time.
    WakeAt(u64),
    /// Reading was resumed.
    Read,
    /// What follows on this connection cannot be trusted.
    Taint,
    /// Shut down.
    Fin,
    /// Drop the connection.
    Reset,
}

/// One end of a connection.
#[derive(Debug)]
pub struct Peer {
    /// Its side.
    pub role: Role,
    /// What it has got.
    pub incoming: Reader,
    /// Whether it reads.
    pub reads: bool,
    /// The connection is gone for it.
    pub is_gone: bool,
    /// Exchanges that are behind it: requests that a target has found an answer for, responses that a caller
    /// has waited for.
    pub answered_count: usize,
    script: VecDeque<Step>,
    wait_until_ns: Option<u64>,
    has_left: bool,
    input_ended: bool,
}

impl Peer {
    /// A caller with a script.
    pub fn caller(exchanges: Vec<u64>, methods: &[&str], script: Vec<Step>) -> Self {
        let mut incoming = Reader::of_responses();
        for method in methods {
            incoming.ask(method);
        }
        Self::new(Role::Caller { exchanges }, incoming, script)
    }

    /// A target that waits to be asked.
    pub fn target() -> Self {
        Self::new(Role::Target, Reader::of_requests(), Vec::new())
    }

    fn new(role: Role, incoming: Reader, script: Vec<Step>) -> Self {
        Self {
            role,
            incoming,
            reads: true,
            is_gone: false,
            answered_count: 0,
            script: script.into(),
            wait_until_ns: None,
            has_left: false,
            input_ended: false,
        }
    }

    /// Adds to the script.
    pub fn follow(&mut self, steps: Vec<Step>) {
        if !self.has_left {
            self.script.extend(steps);
        }
    }

    /// Whether it has nothing left to do but to wait for the gateway.
    pub fn is_done(&self) -> bool {
        self.is_gone || self.script.is_empty()
    }

    /// Takes bytes.
    pub fn receive(&mut self, bytes: &[u8]) {
        self.incoming.feed(bytes);
    }

    /// The gateway will send no more. `stubborn`: goes on with its script all the same.
    pub fn receive_end(&mut self, clean: bool, stubborn: bool) {
        self.incoming.end(clean);
        self.input_ended = true;
        if !clean {
            self.is_gone = true;
            self.script.clear();
        } else if self.has_left {
            self.is_gone = true;
        } else if !stubborn {
            self.script.clear();
            self.leave(Goodbye::Fin);
        }
    }

    fn leave(&mut self, goodbye: Goodbye) {
        if !self.has_left {
            self.script.clear();
            self.wait_until_ns = None;
            self.script.push_back(Step::Leave(goodbye));
        }
    }

    /// Final responses that are whole.
    fn finals_count(&self) -> usize {
        self.incoming
            .messages
            .iter()
            .filter(|message| !message.is_interim() && message.end == End::Whole)
            .count()
    }

    /// Whether the response that is due has begun.
    fn has_answer(&self) -> bool {
        let answers = self.incoming.messages.iter();
        answers.filter(|message| !message.is_interim()).count() > self.answered_count
    }

    fn leave_after_answer(&mut self) {
        self.script.clear();
        self.wait_until_ns = None;
        self.follow(vec![
            Step::AwaitResponses(self.answered_count + 1),
            Step::Leave(Goodbye::Fin),
        ]);
    }

    /// Works on the script until it has to wait; `room` is what the network would take now.
    pub fn act(&mut self, now_ns: u64, mut room: usize) -> Vec<Act> {
        let mut acts = Vec::new();
        while !self.is_gone {
            let Some(step) = self.script.front_mut() else {
                break;
            };
            match step {
                Step::Send(bytes) => {
                    let count = bytes.len().min(room);
                    let piece: Vec<u8> = bytes.drain(..count).collect();
                    room -= count;
                    let waits = !bytes.is_empty();
                    if !piece.is_empty() {
                        acts.push(Act::Send(piece));
                    }
                    if waits {
                        return acts;
                    }
                }
                Step::Wait(wait_ns) => {
                    let wait_ns = *wait_ns;
                    if !self.has_waited(now_ns, wait_ns, &mut acts) {
                        return acts;
                    }
                }
                Step::AwaitResponses(count) => {
                    let count = *count;
                    if self.finals_count() < count {
                        return self.wait_for_peer(now_ns, acts);
                    }
                    self.answered_count = count;
                }
                Step::AwaitContinue(wait_ns) => {
                    let wait_ns = *wait_ns;
                    if self.has_answer() {
                        // The final response came instead: the body will never be sent.
                        self.leave_after_answer();
                        continue;
                    }
                    let told = self
                        .incoming
                        .messages
                        .iter()
                        .rev()
                        .take_while(|message| message.is_interim())
                        .any(|message| message.status() == 100);
                    if !told && !self.has_waited(now_ns, wait_ns, &mut acts) {
                        return acts;
                    }
                }
                Step::AwaitSwitch => {
                    if !self.has_answer() {
                        return self.wait_for_peer(now_ns, acts);
                    }
                    let last = self.incoming.messages.last();
                    if last.is_none_or(|message| message.status() != 101) {
                        self.leave_after_answer();
                        continue;
                    }
                }
                Step::AwaitRequest(index, bytes) => {
                    let (index, bytes) = (*index, *bytes);
                    let ready = self.incoming.messages.get(index).is_some_and(|message| {
                        message.end != End::Open || message.body.len() as u64 >= bytes
                    });
                    if !ready {
                        return acts;
                    }
                }
                Step::CloseIdle(wait_ns, goodbye) => {
                    let (wait_ns, goodbye) = (*wait_ns, *goodbye);
                    let asked =
                        self.incoming.messages.len() > self.answered_count || self.script.len() > 1;
                    if !asked {
                        if !self.has_waited(now_ns, wait_ns, &mut acts) {
                            return acts;
                        }
                        self.leave(goodbye);
                        continue;
                    }
                }
                Step::Read(reads) => {
                    self.reads = *reads;
                    if self.reads {
                        acts.push(Act::Read);
                    }
                }
                Step::Taint => acts.push(Act::Taint),
                Step::Leave(goodbye) => {
                    let goodbye = *goodbye;
                    self.has_left = true;
                    self.script.clear();
                    match goodbye {
                        Goodbye::Fin => {
                            acts.push(Act::Fin);
                            self.is_gone = self.input_ended;
                        }
                        Goodbye::Reset => {
                            acts.push(Act::Reset);
                            self.is_gone = true;
                        }
                        Goodbye::Silence => {}
                    }
                    break;
                }
            }
            self.script.pop_front();
            self.wait_until_ns = None;
        }
        acts
    }

    fn has_waited(&mut self, now_ns: u64, wait_ns: u64, acts: &mut Vec<Act>) -> bool {
        let until_ns = *self.wait_until_ns.get_or_insert(now_ns + wait_ns);
        if now_ns < until_ns {
            acts.push(Act::WakeAt(until_ns));
        }
        now_ns >= until_ns
    }

    fn wait_for_peer(&mut self, now_ns: u64, mut acts: Vec<Act>) -> Vec<Act> {
        if self.has_waited(now_ns, PATIENCE_NS, &mut acts) {
            self.leave(Goodbye::Reset);
            acts.push(Act::WakeAt(now_ns));
        }
        acts
    }
}
