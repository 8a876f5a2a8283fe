//! One request.

use std::cell::RefCell;
use std::rc::Rc;

use gatewayx_policy::fault::{Abort, RequestView, Rule, first_match};
use proxy_wasm::hostcalls;
use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::{Action, Bytes, MapType};

use super::worker::Worker;
use super::{clock_ns, shared};
use crate::held::{Held, Step};

const EXPLAINED: &[u8] =
    b"{\"error\":\"Fault Injected\",\"details\":\"a fault policy answered in place of the \
upstream\",\"reason\":\"fault_injected\"}\n";

/// A request that passes through the plugin.
pub(super) struct Request {
    id: u32,
    worker: Rc<RefCell<Worker>>,
    /// One of the rule's `max_active_faults`, under this name.
    place: Option<String>,
}

impl Request {
    pub(super) fn new(id: u32, worker: Rc<RefCell<Worker>>) -> Self {
        Self {
            id,
            worker,
            place: None,
        }
    }

    /// The fault that hits the request, if one does.
    fn choose(&mut self, now_ns: u64) -> Option<Held> {
        let rules = self.worker.borrow().set.rules.clone()?;
        let fields = hostcalls::get_map_bytes(MapType::HttpRequestHeaders).ok()?;
        let pseudo = |wanted: &str| {
            let found = fields.iter().find(|(name, _)| name == wanted);
            found.map_or(b"".as_slice(), |(_, value)| value)
        };
        let request = RequestView {
            method: pseudo(":method"),
            path: without_query(pseudo(":path")),
            headers: fields.iter().filter_map(as_http1),
        };
        let rule = first_match(&rules, now_ns / 1_000_000, &request)?.clone();
        let mut worker = self.worker.borrow_mut();
        let name = worker.set.shared_name(rule.block).to_owned();
        let injection = rule.decide(
            &request,
            || shared::next(&format!("gatewayx/matched/{name}")),
            || worker.draw(),
        )?;
        if rule.max_active > 0 {
            let place = format!("gatewayx/active/{name}");
            let max = u64::from(rule.max_active);
            shared::update(&place, |n| (n < max).then_some(n + 1))?;
            self.place = Some(place);
        }
        Some(Held::new(rule, injection, now_ns))
    }

    fn leave(&mut self) {
        if let Some(place) = self.place.take() {
            shared::update(&place, |n| n.checked_sub(1));
        }
    }

    fn is_held(&self) -> bool {
        self.worker.borrow().is_held(self.id)
    }
}

impl Context for Request {}

impl HttpContext for Request {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        let now_ns = clock_ns();
        let Some(held) = self.choose(now_ns) else {
            return Action::Continue;
        };
        let rule = held.rule.clone();
        let step = self.worker.borrow_mut().advance(self.id, held, now_ns);
        match step {
            Step::Pass => {
                self.leave();
                return Action::Continue;
            }
            Step::Wait(_) => self.worker.borrow_mut().arm(now_ns, self.id),
            Step::Abort | Step::Reset => end(&self.worker, &rule),
        }
        Action::Pause
    }

    fn on_http_request_body(&mut self, _: usize, _: bool) -> Action {
        if self.is_held() {
            Action::Pause
        } else {
            Action::Continue
        }
    }

    fn on_http_request_trailers(&mut self, _: usize) -> Action {
        if self.is_held() {
            Action::Pause
        } else {
            Action::Continue
        }
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        self.leave();
        self.worker.borrow_mut().forget(self.id);
    }
}

/// Takes a request further whose time has come; called outside its own callbacks.
pub(super) fn resume(worker: &RefCell<Worker>, id: u32, held: Held, now_ns: u64) {
    let rule = held.rule.clone();
    let step = worker.borrow_mut().advance(id, held, now_ns);
    if matches!(step, Step::Wait(_)) || hostcalls::set_effective_context(id).is_err() {
        return;
    }
    match step {
        Step::Pass => pass(),
        _ => end(worker, &rule),
    }
}

/// Lets the request of the effective context go on to its upstream.
pub(super) fn pass() {
    if let Err(status) = hostcalls::resume_http_request() {
        log::warn!("a request cannot be resumed: {status:?}");
    }
}

/// Ends the request of the effective context as its rule wants it.
fn end(worker: &RefCell<Worker>, rule: &Rule) {
    let ended = match &rule.abort {
        Some(abort) => {
            worker.borrow().metrics.on_abort();
            answer(abort)
        }
        None => hostcalls::reset_http_request(),
    };
    if let Err(status) = ended {
        log::warn!("a fault cannot be injected: {status:?}");
    }
}

fn answer(abort: &Abort) -> Result<(), proxy_wasm::types::Status> {
    let (content_type, body) = match &abort.body {
        Some(body) => ("text/plain; charset=utf-8", body.as_slice()),
        None => ("application/json", EXPLAINED),
    };
    // RFC 9110 section 6.4.1: these have no content.
    let has_body = !matches!(abort.status, 204 | 304);
    let mut headers = vec![("x-fault-injected", "abort")];
    if has_body {
        headers.push(("content-type", content_type));
    }
    hostcalls::send_http_response(u32::from(abort.status), headers, has_body.then_some(body))
}

fn without_query(path: &[u8]) -> &[u8] {
    let end = path.iter().position(|byte| matches!(byte, b'?' | b'#'));
    &path[..end.unwrap_or(path.len())]
}

/// A field as HTTP/1.1 has it, and as policies name it; the rest of the pseudo fields is no field there.
fn as_http1((name, value): &(String, Bytes)) -> Option<(&[u8], &[u8])> {
    match name.as_str() {
        ":authority" => Some((b"host", value)),
        name if name.starts_with(':') => None,
        name => Some((name.as_bytes(), value)),
    }
}
