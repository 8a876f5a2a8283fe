//! The root context: configuration, control plane, timer.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use proxy_wasm::hostcalls;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::ContextType;

use super::clock_ns;
use super::metrics::Metrics;
use super::request::{Request, pass, resume};
use super::worker::Worker;
use crate::{
    ANSWER_MAX_BYTES, ControlPlane, Moment, Origin, PluginConfig, name_of, parse_answer, policy_of,
};

/// One worker thread's root context.
pub(super) struct Root {
    id: u32,
    worker: Rc<RefCell<Worker>>,
    service: String,
    namespace: String,
    // control plane
    control_plane: Option<ControlPlane>,
    last_answer: Option<Vec<Origin>>,
    /// Whether it answered last time; `None` before the first.
    was_well: Option<bool>,
}

impl Root {
    pub(super) fn new(id: u32) -> Self {
        Self {
            id,
            worker: Rc::new(RefCell::new(Worker::new(id))),
            service: String::new(),
            namespace: String::new(),
            control_plane: None,
            last_answer: None,
            was_well: None,
        }
    }

    fn configure(&mut self) -> Result<(), String> {
        let text = self.get_plugin_configuration().unwrap_or_default();
        let config = PluginConfig::parse(&text)?;
        let now_ns = clock_ns();
        let applied_at = config.applied_at.as_ref().map(Moment::unix_ms);
        let applied_unix_ms = applied_at
            .transpose()
            .map_err(|error| format!("applied_at: {error}"))?;
        self.service = config.service.or_else(service_of_node).unwrap_or_default();
        self.namespace = config
            .namespace
            .or_else(|| node_metadata(&["NAMESPACE"]))
            .unwrap_or_else(|| "default".to_owned());
        let policies = config.policies.into_iter();
        let origins = policies.map(|document| Origin {
            document,
            applied_unix_ms,
        });
        self.put_in_force(origins.collect())?;
        self.control_plane = config.control_plane;
        let mut worker = self.worker.borrow_mut();
        worker.ask_at_ns = self.control_plane.as_ref().map(|_| now_ns);
        worker.arm(now_ns, self.id);
        Ok(())
    }

    fn put_in_force(&self, origins: Vec<Origin>) -> Result<(), String> {
        let mut worker = self.worker.borrow_mut();
        worker.set.replace(
            origins,
            &self.service,
            &self.namespace,
            clock_ns() / 1_000_000,
        )?;
        log::info!(
            "{} policies in force; {} rules are for service {:?} in namespace {:?}",
            worker.set.len(),
            worker.set.rules.as_ref().map_or(0, |rules| rules.len()),
            self.service,
            self.namespace
        );
        let lifted = worker.lifted();
        lifted.iter().for_each(|&id| worker.forget(id));
        drop(worker);
        for id in lifted {
            if hostcalls::set_effective_context(id).is_ok() {
                pass();
            }
        }
        let _ = hostcalls::set_effective_context(self.id);
        Ok(())
    }

    /// Asks the control plane; what it answers comes to `on_http_call_response`.
    fn ask(&mut self, now_ns: u64) {
        let Some(control_plane) = &self.control_plane else {
            return;
        };
        let interval_ns = (control_plane.interval_seconds * 1e9) as u64;
        self.worker.borrow_mut().ask_at_ns = Some(now_ns.saturating_add(interval_ns));
        let bearer = control_plane
            .token
            .as_ref()
            .filter(|token| !token.is_empty())
            .map(|token| format!("Bearer {token}"));
        let mut headers = vec![
            (":method", "GET"),
            (":path", control_plane.path.as_str()),
            (":authority", control_plane.authority.as_str()),
            ("accept", "application/json"),
        ];
        headers.extend(bearer.as_deref().map(|bearer| ("authorization", bearer)));
        let timeout = Duration::from_secs_f64(control_plane.timeout_seconds);
        let asked = self.dispatch_http_call(&control_plane.cluster, headers, None, vec![], timeout);
        if let Err(status) = asked {
            self.on_silence(&format!("cannot be asked ({status:?})"));
        }
    }

    /// The last good policies stay in force.
    fn on_silence(&mut self, why: &str) {
        if self.was_well != Some(false) {
            log::warn!("the control plane {why}; the last good policies stay in force");
        }
        self.was_well = Some(false);
    }

    fn on_answer(&mut self, text: &[u8]) -> Result<(), String> {
        let listed = parse_answer(text)?;
        if self.last_answer.as_ref() != Some(&listed) {
            let is_doable = |origin: &Origin| match policy_of(&origin.document, 0) {
                Ok(_) => true,
                // What only the gateway can do must not keep the other policies from Envoy.
                Err(error) => {
                    let name = name_of(&origin.document);
                    log::warn!("policy {name} is left out: {error}");
                    false
                }
            };
            let doable: Vec<_> = listed
                .iter()
                .filter(|origin| is_doable(origin))
                .cloned()
                .collect();
            if !self.worker.borrow().set.is_of(&doable) {
                self.put_in_force(doable)?;
            }
            self.last_answer = Some(listed);
        }
        if self.was_well == Some(false) {
            log::info!("the control plane answers again");
        }
        self.was_well = Some(true);
        Ok(())
    }
}

impl Context for Root {
    fn on_http_call_response(&mut self, _: u32, _: usize, body_size: usize, _: usize) {
        let status = self.get_http_call_response_header(":status");
        if status.as_deref() != Some("200") {
            let status = status.unwrap_or_else(|| "nothing".to_owned());
            self.on_silence(&format!("answers {status}"));
        } else if body_size > ANSWER_MAX_BYTES {
            self.on_silence(&format!("answers more than {ANSWER_MAX_BYTES} bytes"));
        } else {
            let text = self.get_http_call_response_body(0, body_size);
            if let Err(error) = self.on_answer(&text.unwrap_or_default()) {
                self.on_silence(&format!("answers what is no list of policies: {error}"));
            }
        }
        self.worker.borrow_mut().arm(clock_ns(), self.id);
    }
}

impl RootContext for Root {
    fn on_configure(&mut self, _: usize) -> bool {
        {
            let mut worker = self.worker.borrow_mut();
            worker.metrics = Metrics::define();
            worker.seed();
        }
        let configured = self.configure();
        if let Err(error) = &configured {
            log::error!("the configuration is refused: {error}");
        }
        configured.is_ok()
    }

    fn on_tick(&mut self) {
        let now_ns = clock_ns();
        let is_asked = {
            let mut worker = self.worker.borrow_mut();
            worker.on_timer();
            worker.ask_at_ns.is_some_and(|at_ns| at_ns <= now_ns)
        };
        loop {
            let due = self.worker.borrow_mut().pop_due(now_ns);
            let Some((id, held)) = due else { break };
            resume(&self.worker, id, held, now_ns);
        }
        let _ = hostcalls::set_effective_context(self.id);
        if is_asked {
            self.ask(now_ns);
        }
        self.worker.borrow_mut().arm(now_ns, self.id);
    }

    fn create_http_context(&self, id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Request::new(id, self.worker.clone())))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

/// The service as Istio tells it.
fn service_of_node() -> Option<String> {
    node_metadata(&["LABELS", "service.istio.io/canonical-name"])
        .or_else(|| node_metadata(&["LABELS", "app"]))
}

/// Envoy called it `node` before there was `xds.node`.
fn node_metadata(path: &[&str]) -> Option<String> {
    [
        ["xds", "node", "metadata"].as_slice(),
        &["node", "metadata"],
    ]
    .into_iter()
    .filter_map(|root| hostcalls::get_property([root, path].concat()).ok()?)
    .filter_map(|value| String::from_utf8(value).ok())
    .find(|text| !text.is_empty())
}
