//! What callers ask, and how they behave while they do.

use super::mutation::{damage, noise};
use super::{Goodbye, Layout, MS, Step, Temper, paced, pause};
use crate::content::{self, Direction};
use crate::oracle::Framing;
use crate::rng::Rng;

/// One request.
#[derive(Clone, Debug)]
pub struct RequestPlan {
    /// Method.
    pub method: &'static str,
    /// HTTP/1.1, else HTTP/1.0.
    pub http11: bool,
    /// Framing of the body.
    pub framing: Framing,
    /// Size of the body.
    pub body_bytes: u64,
    /// Waits for 100 before the body.
    pub expects_continue: bool,
    /// Asks for a tunnel.
    pub upgrades: bool,
    path: String,
    connection: Option<&'static str>,
    absolute: bool,
    /// Shows the token that the gateway knows.
    known: bool,
    fault: Option<CallerFault>,
    temper: Temper,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CallerFault {
    /// Stops within the message.
    Cut(Goodbye),
    /// Leaves once the message is sent.
    LeaveAfter(Goodbye),
    /// Breaks the message.
    Damage,
    /// Sends no message at all.
    Noise,
    /// Sends a sound message that a gateway refuses.
    Unwelcome(Unwelcome),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unwelcome {
    Method,
    Version,
    Expectation,
    LongTarget,
    LongHead,
}

impl RequestPlan {
    pub(super) fn draw(rng: &mut Rng, layout: &Layout) -> Self {
        let rough = layout.temper == Temper::Rough;
        let http11 = rng.chance(88);
        let method = rng.pick(&[
            "GET", "GET", "GET", "GET", "GET", "GET", "HEAD", "POST", "POST", "POST", "PUT", "PUT",
            "PATCH", "DELETE", "OPTIONS", "PURGE",
        ]);
        let carries = match method {
            "POST" | "PUT" | "PATCH" => 90,
            "HEAD" => 0,
            _ => 5,
        };
        let body_bytes = rng.size(layout.bodies_max_bytes);
        let framing = match (rng.chance(carries), http11 && rng.chance(45)) {
            (false, _) => Framing::None,
            (true, true) => Framing::Chunked,
            (true, false) => Framing::Length(body_bytes),
        };
        let body_bytes = if framing == Framing::None {
            0
        } else {
            body_bytes
        };
        let route = &layout.routes[rng.below(layout.routes.len() as u64) as usize];
        let upgrades = http11
            && method == "GET"
            && framing == Framing::None
            && (route.websocket || rough)
            && rng.chance(12);
        let base = route.path.trim_end_matches('/');
        let path = match rng.below(5) {
            0 if rough => "/nowhere".to_owned(),
            1 if !base.is_empty() => base.to_owned(),
            _ => format!("{base}/x"),
        };
        let fault = (rough && rng.chance(25)).then(|| draw_fault(rng));
        Self {
            method,
            http11,
            framing,
            body_bytes,
            expects_continue: http11 && body_bytes > 0 && rng.chance(20),
            upgrades,
            path,
            connection: draw_connection(rng, http11),
            absolute: rng.chance(5),
            known: rng.chance(40),
            fault,
            temper: layout.temper,
        }
    }

    /// Whether the caller asks to close behind it.
    pub(super) fn closes(&self) -> bool {
        let stays = match self.connection {
            Some("close") => false,
            Some(_) => true,
            None => self.http11,
        };
        !stays || self.upgrades || self.fault.is_some()
    }

    /// Whether the caller says what the plan says, if not all of it.
    pub fn is_faithful(&self) -> bool {
        !matches!(self.fault, Some(CallerFault::Damage | CallerFault::Noise))
    }

    /// The caller's part, until everything is sent.
    pub fn steps(&self, rng: &mut Rng, number: u64, id: &str) -> Vec<Step> {
        let mut head = self.head(id);
        let mut body = self.body(rng, number);
        match self.fault {
            Some(CallerFault::Damage) => {
                head.append(&mut body);
                damage(rng, &mut head);
            }
            Some(CallerFault::Noise) => head = noise(rng, 200),
            Some(CallerFault::Unwelcome(kind)) => head = unwelcome(kind, &head),
            _ => {}
        }
        let mut steps = Vec::new();
        if self.expects_continue && !body.is_empty() {
            steps.extend(paced(rng, self.temper, head));
            let patience = if rng.chance(80) { 3_600_000 } else { 5 };
            steps.push(Step::AwaitContinue(patience * MS));
            steps.extend(paced(rng, self.temper, body));
        } else {
            head.append(&mut body);
            steps.extend(paced(rng, self.temper, head));
        }
        if self.upgrades {
            let early = content::body(number, Direction::Request, rng.size(3_000));
            steps.extend(paced(rng, self.temper, early));
            steps.push(Step::AwaitSwitch);
            steps.push(Step::Wait(pause(rng, self.temper)));
            steps.push(Step::Leave(Goodbye::Fin));
        }
        match self.fault {
            Some(CallerFault::Cut(goodbye)) => {
                steps.truncate(rng.below(steps.len() as u64) as usize);
                if let Some(Step::Send(bytes)) = steps.last_mut() {
                    bytes.truncate(rng.below(bytes.len() as u64 + 1) as usize);
                }
                steps.push(Step::Leave(goodbye));
            }
            Some(CallerFault::LeaveAfter(goodbye)) => {
                steps.push(Step::Wait(pause(rng, self.temper)));
                steps.push(Step::Leave(goodbye));
            }
            _ => {}
        }
        steps
    }

    fn head(&self, id: &str) -> Vec<u8> {
        let version = if self.http11 { "1.1" } else { "1.0" };
        let host = if self.absolute { "http://sim.test" } else { "" };
        let mut head = format!(
            "{} {host}{}?q={id} HTTP/{version}\r\nHost: sim.test\r\nX-Request-Id: {id}\r\n\
             X-Sim-Exchange: {id}\r\nAccept-Encoding: gzip\r\n",
            self.method, self.path
        );
        if self.upgrades {
            head += "Connection: Upgrade\r\nUpgrade: websocket\r\n";
        } else if let Some(connection) = self.connection {
            head += &format!("Connection: {connection}\r\n");
        }
        if self.known {
            head += "Authorization: Bearer sim-token\r\n";
        }
        match self.framing {
            Framing::Length(len) => head += &format!("Content-Length: {len}\r\n"),
            Framing::Chunked => head += "Transfer-Encoding: chunked\r\n",
            Framing::None | Framing::UntilClose => {}
        }
        if self.expects_continue {
            head += "Expect: 100-continue\r\n";
        }
        head += "\r\n";
        head.into_bytes()
    }

    fn body(&self, rng: &mut Rng, number: u64) -> Vec<u8> {
        match self.framing {
            Framing::None | Framing::UntilClose => Vec::new(),
            Framing::Length(len) => content::body(number, Direction::Request, len),
            Framing::Chunked => {
                let body = content::body(number, Direction::Request, self.body_bytes);
                chunked(rng, &body)
            }
        }
    }
}

/// A body in chunks of any size, with the ornaments that the grammar allows.
pub(super) fn chunked(rng: &mut Rng, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = body;
    while !rest.is_empty() {
        let len = rng.size(rest.len() as u64).max(1) as usize;
        let (chunk, tail) = rest.split_at(len.max(rest.len() / 50).min(rest.len()));
        rest = tail;
        let size = match rng.below(3) {
            0 => format!("{:X}", chunk.len()),
            1 => format!("00{:x}", chunk.len()),
            _ => format!("{:x}", chunk.len()),
        };
        out.extend_from_slice(size.as_bytes());
        if rng.chance(5) {
            out.extend_from_slice(b";name=\"a value\"");
        }
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(chunk);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"0\r\n");
    if rng.chance(15) {
        out.extend_from_slice(b"X-Sim-Trailer: end\r\n");
    }
    if rng.chance(5) {
        out.extend_from_slice(b"Content-Length: 7\r\n");
    }
    out.extend_from_slice(b"\r\n");
    out
}

fn draw_connection(rng: &mut Rng, http11: bool) -> Option<&'static str> {
    match (rng.below(10), http11) {
        (0, _) => Some("close"),
        (1, true) | (2..=6, false) => Some("keep-alive"),
        (2, true) => Some("x-nominated"),
        _ => None,
    }
}

fn draw_fault(rng: &mut Rng) -> CallerFault {
    let goodbye = rng.pick(&[Goodbye::Fin, Goodbye::Reset, Goodbye::Silence]);
    match rng.below(10) {
        0..=3 => CallerFault::Cut(goodbye),
        4 | 5 => CallerFault::LeaveAfter(goodbye),
        6 | 7 => CallerFault::Damage,
        8 => CallerFault::Unwelcome(rng.pick(&[
            Unwelcome::Method,
            Unwelcome::Version,
            Unwelcome::Expectation,
            Unwelcome::LongTarget,
            Unwelcome::LongHead,
        ])),
        _ => CallerFault::Noise,
    }
}

/// Changes a sound head so that it is still sound, and refused.
fn unwelcome(kind: Unwelcome, head: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(head);
    let long = "x".repeat(70_000);
    let changed = match kind {
        Unwelcome::Method => {
            let rest = text.split_once(' ').map_or("", |(_, rest)| rest);
            format!("TRACE {rest}")
        }
        Unwelcome::Version => text.replacen(" HTTP/1.", " HTTP/2.", 1),
        Unwelcome::Expectation => text.replacen("\r\n", "\r\nExpect: a-miracle\r\n", 1),
        Unwelcome::LongTarget => text.replacen("?q=", &format!("?{long}&q="), 1),
        Unwelcome::LongHead => text.replacen("\r\n", &format!("\r\nX-Long: {long}\r\n"), 1),
    };
    changed.into_bytes()
}
