//! What targets answer, and how they behave while they do.

use super::mutation::{damage, noise};
use super::request::{RequestPlan, chunked};
use super::{Goodbye, Layout, MS, Step, Temper, paced, pause};
use crate::content::{self, Direction};
use crate::oracle::Framing;
use crate::rng::Rng;

/// When the response begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Begins {
    /// Behind the whole request.
    AfterRequest,
    /// When so many bytes of the body are there; the rest is read all the same.
    Early(u64),
    /// The same, and the rest is not read until the response is sent.
    EarlyDeaf(u64),
}

/// What a target says to `Expect: 100-continue`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    Continue,
    Nothing,
    Refusal,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Stops within the response.
    Cut(Goodbye),
    /// Leaves without a word.
    NoAnswer(Goodbye),
    /// Breaks the response.
    Damage,
    /// Answers with noise.
    Noise,
    /// Sends more than the response, at once or later.
    Extra {
        /// How much later.
        delay_ns: u64,
    },
    /// Sends informational heads without end.
    Interims,
}

/// One response.
#[derive(Clone, Debug)]
pub struct ResponsePlan {
    /// Status.
    pub status: u16,
    /// Size of the body, if the status and the method allow one.
    pub body_bytes: u64,
    /// What goes wrong.
    pub fault: Option<Fault>,
    /// The target switches protocols.
    pub switches: bool,
    http11: bool,
    framing: Framing,
    begins: Begins,
    word: Word,
    delay_ns: u64,
    interims: Vec<u16>,
    closes: bool,
    idles: Option<(u64, Goodbye)>,
    temper: Temper,
}

impl ResponsePlan {
    pub(super) fn draw(rng: &mut Rng, layout: &Layout, request: &RequestPlan) -> Self {
        let rough = layout.temper == Temper::Rough;
        let http11 = rng.chance(90);
        let status = rng.pick(&[
            200, 200, 200, 200, 200, 201, 204, 304, 404, 500, 503, 299, 700,
        ]);
        let body_bytes = rng.size(layout.bodies_max_bytes);
        let framing = match rng.below(10) {
            0..=4 => Framing::Length(body_bytes),
            5..=7 if http11 => Framing::Chunked,
            5..=8 => Framing::UntilClose,
            _ => Framing::Length(0),
        };
        let body_bytes = match framing {
            Framing::Length(len) => len,
            _ => body_bytes,
        };
        let bodiless = request.method == "HEAD" || matches!(status, 204 | 304);
        let at = rng.size(request.body_bytes);
        let begins = match rng.below(12) {
            0 | 1 if request.body_bytes > 0 => Begins::Early(at),
            2 if request.body_bytes > 0 && rough => Begins::EarlyDeaf(at),
            _ => Begins::AfterRequest,
        };
        let interims = if request.http11 && rng.chance(10) {
            (0..rng.between(1, 3))
                .map(|_| rng.pick(&[102, 103, 100]))
                .collect()
        } else {
            Vec::new()
        };
        let fault = (rough && rng.chance(30)).then(|| draw_fault(rng));
        let word = match rng.below(10) {
            0..=5 => Word::Continue,
            6..=8 => Word::Nothing,
            _ => Word::Refusal,
        };
        Self {
            status: if word == Word::Refusal && request.expects_continue {
                417
            } else {
                status
            },
            body_bytes,
            fault,
            switches: request.upgrades && rng.chance(80),
            http11,
            framing: if bodiless && framing == Framing::UntilClose {
                Framing::Length(body_bytes)
            } else {
                framing
            },
            begins,
            word,
            delay_ns: pause(rng, layout.temper),
            interims,
            closes: rng.chance(15),
            idles: (rough && rng.chance(25)).then(|| {
                let goodbye = rng.pick(&[Goodbye::Fin, Goodbye::Fin, Goodbye::Reset]);
                (pause(rng, layout.temper), goodbye)
            }),
            temper: layout.temper,
        }
    }

    /// Whether the caller's connection cannot be used behind it, if all keep the rules.
    pub(super) fn ends_caller(&self, request: &RequestPlan) -> bool {
        let early = self.begins != Begins::AfterRequest;
        let refused = request.expects_continue && self.word == Word::Refusal;
        let unframed = !request.http11 && !matches!(self.framing, Framing::Length(_));
        early || refused || unframed
    }

    /// Whether it begins behind the whole request, so that a caller may send that before it reads.
    pub fn waits_for_request(&self, request: &RequestPlan) -> bool {
        self.begins == Begins::AfterRequest && !request.expects_continue && !request.upgrades
    }

    /// Whether the target says what the plan says, and only that.
    pub fn is_faithful(&self) -> bool {
        !matches!(
            self.fault,
            Some(Fault::Damage | Fault::Noise | Fault::Extra { .. })
        )
    }

    /// What the caller has to get: status and size of the body.
    pub fn outcome(&self, request: &RequestPlan) -> (u16, u64) {
        if self.switches {
            return (101, 0);
        }
        let bodiless = request.method == "HEAD" || matches!(self.status, 204 | 304);
        (self.status, if bodiless { 0 } else { self.body_bytes })
    }

    /// The target's part for request number `index` of its connection.
    pub fn steps(
        &self,
        rng: &mut Rng,
        number: u64,
        id: &str,
        request: &RequestPlan,
        index: usize,
    ) -> Vec<Step> {
        if self.switches {
            return self.tunnel(rng, number, id);
        }
        let mut steps = self.opening(rng, request, index);
        if let Some(Fault::NoAnswer(goodbye)) = self.fault {
            steps.push(Step::Leave(goodbye));
            return steps;
        }
        steps.push(Step::Wait(self.delay_ns));
        let count = if self.fault == Some(Fault::Interims) {
            40
        } else {
            0
        };
        for status in self.interims.iter().copied().chain((0..count).map(|_| 103)) {
            steps.push(Step::Send(interim(status)));
        }
        let mut message = self.head(id, request);
        message.extend(self.body(rng, number, request));
        let extra = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nextra";
        match self.fault {
            Some(Fault::Damage) => {
                steps.push(Step::Taint);
                damage(rng, &mut message);
            }
            Some(Fault::Noise) => message = noise(rng, 200),
            Some(Fault::Extra { delay_ns: 0 }) => message.extend_from_slice(extra),
            _ => {}
        }
        if matches!(self.fault, Some(Fault::Extra { .. })) {
            steps.push(Step::Taint);
        }
        let from = steps.len();
        steps.extend(paced(rng, self.temper, message));
        match self.fault {
            Some(Fault::Cut(goodbye)) => {
                let kept = rng.below((steps.len() - from) as u64) as usize;
                steps.truncate(from + kept + 1);
                if let Some(Step::Send(bytes)) = steps.last_mut() {
                    bytes.truncate(rng.below(bytes.len() as u64 + 1) as usize);
                }
                steps.push(Step::Leave(goodbye));
                return steps;
            }
            Some(Fault::Extra {
                delay_ns: delay_ns @ 1..,
            }) => {
                steps.push(Step::Wait(delay_ns));
                steps.push(Step::Send(extra.to_vec()));
            }
            _ => {}
        }
        if matches!(self.begins, Begins::EarlyDeaf(_)) {
            steps.push(Step::Read(true));
        }
        let unread = self.begins != Begins::AfterRequest || self.refuses(request);
        if unread && !self.closes() {
            steps.push(Step::AwaitRequest(index, u64::MAX));
        }
        if self.closes() {
            steps.push(Step::Leave(Goodbye::Fin));
        } else if let Some((wait_ns, goodbye)) = self.idles {
            steps.push(Step::CloseIdle(wait_ns, goodbye));
        }
        steps
    }

    fn opening(&self, rng: &mut Rng, request: &RequestPlan, index: usize) -> Vec<Step> {
        let mut steps = Vec::new();
        if request.expects_continue {
            match self.word {
                Word::Continue => {
                    steps.push(Step::Wait(pause(rng, self.temper)));
                    steps.push(Step::Send(interim(100)));
                }
                Word::Nothing => {}
                Word::Refusal => return steps,
            }
        }
        match self.begins {
            Begins::AfterRequest => steps.push(Step::AwaitRequest(index, u64::MAX)),
            Begins::Early(bytes) => steps.push(Step::AwaitRequest(index, bytes)),
            Begins::EarlyDeaf(bytes) => {
                steps.push(Step::AwaitRequest(index, bytes));
                steps.push(Step::Read(false));
            }
        }
        steps
    }

    fn refuses(&self, request: &RequestPlan) -> bool {
        request.expects_continue && self.word == Word::Refusal
    }

    fn closes(&self) -> bool {
        self.closes || self.framing == Framing::UntilClose || !self.http11
    }

    fn tunnel(&self, rng: &mut Rng, number: u64, id: &str) -> Vec<Step> {
        let head = format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             X-Sim-Echo: {id}\r\n\r\n"
        );
        let mut message = head.into_bytes();
        message.extend(content::body(number, Direction::Response, rng.size(20_000)));
        let mut steps = paced(rng, self.temper, message);
        steps.push(Step::Wait(pause(rng, self.temper)));
        let goodbye = match self.fault {
            Some(Fault::Cut(goodbye) | Fault::NoAnswer(goodbye)) => goodbye,
            _ => Goodbye::Fin,
        };
        steps.push(Step::Leave(goodbye));
        steps
    }

    fn head(&self, id: &str, request: &RequestPlan) -> Vec<u8> {
        let version = if self.http11 { "1.1" } else { "1.0" };
        let mut head = format!(
            "HTTP/{version} {} Reason\r\nX-Sim-Echo: {id}\r\n",
            self.status
        );
        if self.closes && self.http11 {
            head += "Connection: close\r\n";
        }
        let bare = self.status == 204 || (self.status == 304 && request.method != "HEAD");
        match self.framing {
            Framing::Length(len) if !bare => head += &format!("Content-Length: {len}\r\n"),
            Framing::Chunked if !bare => head += "Transfer-Encoding: chunked\r\n",
            _ => {}
        }
        head += "\r\n";
        head.into_bytes()
    }

    fn body(&self, rng: &mut Rng, number: u64, request: &RequestPlan) -> Vec<u8> {
        let (_, len) = self.outcome(request);
        let bodiless = request.method == "HEAD" || matches!(self.status, 204 | 304);
        let body = content::body(number, Direction::Response, len);
        match self.framing {
            Framing::Chunked if !bodiless => chunked(rng, &body),
            _ => body,
        }
    }
}

fn interim(status: u16) -> Vec<u8> {
    format!("HTTP/1.1 {status} Interim\r\nX-Sim-Interim: yes\r\n\r\n").into_bytes()
}

fn draw_fault(rng: &mut Rng) -> Fault {
    let goodbye = rng.pick(&[Goodbye::Fin, Goodbye::Reset, Goodbye::Silence]);
    match rng.below(12) {
        0..=2 => Fault::Cut(goodbye),
        3..=5 => Fault::NoAnswer(goodbye),
        6..=8 => Fault::Damage,
        9 => Fault::Noise,
        10 => Fault::Extra {
            delay_ns: rng.pick(&[0, 0, MS, 30 * MS]),
        },
        _ => Fault::Interims,
    }
}
