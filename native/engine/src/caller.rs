//! Who may call: the access rule, the caller's credential, and the header fields that are made from both.
//!
//! ```text
//!   route ──► rule ──► claims that templates need ──► rate limit ──► admit
//!              │ 401, 403          │ 401, 403             │ 429
//! ```
//!
//! A credential is looked at when a rule, a template or a rate limit asks for the caller, once an exchange. A public
//! proxy that needs nothing of the kind pays one test of a flag.

use std::borrow::Cow;
use std::cell::{OnceCell, RefCell};
use std::rc::Rc;

use gatewayx_auth::{Authenticator, Caller, bearer};
use gatewayx_http::{FieldId, RequestHead};
use gatewayx_policy::{Facts, Subject};

use crate::engine::Engine;
use crate::error::Reason;
use crate::slab::Key;

/// A request as rules see it.
pub(crate) struct RequestFacts<'a> {
    pub(crate) src: &'a [u8],
    pub(crate) head: &'a RequestHead,
    /// The caller's address.
    pub(crate) ip: &'a [u8],
    authenticator: &'a RefCell<Authenticator>,
    now_unix_s: u64,
    /// Filled by whoever asks first.
    caller: OnceCell<Option<Rc<Caller>>>,
}

impl RequestFacts<'_> {
    /// Who calls; `None` is somebody without a credential that is good.
    pub(crate) fn caller(&self) -> Option<&Rc<Caller>> {
        self.caller
            .get_or_init(|| {
                let mut fields = self
                    .head
                    .fields
                    .iter()
                    .filter(|field| field.id == FieldId::Authorization);
                let field = fields.next()?;
                // Stricter: of two credentials, nobody can tell which one the upstream would believe.
                if fields.next().is_some() {
                    return None;
                }
                let credential = bearer(field.value.of(self.src))?;
                self.authenticator
                    .borrow_mut()
                    .authenticate(credential, self.now_unix_s)
            })
            .as_ref()
    }

    /// A request field; one that is given more than once is one list (RFC 9110 section 5.2), so that a rule never
    /// judges one of several while the upstream reads another.
    pub(crate) fn header(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        let mut found: Option<Cow<'_, [u8]>> = None;
        for field in &self.head.fields {
            if !field
                .name
                .of(self.src)
                .eq_ignore_ascii_case(name.as_bytes())
            {
                continue;
            }
            let value = field.value.of(self.src);
            match &mut found {
                None => found = Some(Cow::Borrowed(value)),
                Some(list) => {
                    let list = list.to_mut();
                    list.extend_from_slice(b", ");
                    list.extend_from_slice(value);
                }
            }
        }
        found
    }
}

impl Facts for RequestFacts<'_> {
    fn values(&self, subject: &Subject, visit: &mut dyn FnMut(&[u8])) {
        match subject {
            Subject::Method => visit(self.head.method_span.of(self.src)),
            Subject::Ip => visit(self.ip),
            Subject::Header(name) => {
                if let Some(value) = self.header(name) {
                    visit(&value);
                }
            }
            Subject::Claim(name) => {
                if let Some(caller) = self.caller() {
                    caller.claim(name).for_each(visit);
                }
            }
        }
    }
}

impl Engine {
    /// Holds the request against its proxy's rule, and finds out about the caller what the proxy needs to know.
    pub(crate) fn authorise(
        &mut self,
        now_ns: u64,
        key: Key,
        src: &[u8],
        head: &RequestHead,
    ) -> Result<(), Reason> {
        let downstream = &mut self.downstreams[key];
        let proxy = downstream.exchange.proxy.as_ref().expect("routed");
        if !proxy.is_guarded {
            return Ok(());
        }
        let proxy = proxy.clone();
        let facts = RequestFacts {
            src,
            head,
            ip: downstream.client.as_bytes(),
            authenticator: &self.authenticator,
            now_unix_s: now_ns.saturating_add(self.wall_offset_ns) / 1_000_000_000,
            caller: OnceCell::new(),
        };
        if !proxy.rule.is_public()
            && !proxy.rule.allows(&facts)
            && !facts.caller().is_some_and(|caller| caller.is_superuser())
        {
            // A credential helps only where the rule asks for one.
            return Err(if facts.caller().is_none() && proxy.rule.names_caller() {
                Reason::AuthRequired
            } else {
                Reason::AccessDenied
            });
        }
        for template in &proxy.templates {
            template.check(&facts)?;
        }
        if let Some(limit) = &proxy.rate_limit {
            let (allowed, quota) = limit.take(now_ns, &facts, &proxy.shared);
            downstream.exchange.quota = Some(quota);
            if !allowed {
                return Err(Reason::RateLimited);
            }
        }
        downstream.exchange.caller = facts.caller.into_inner().flatten();
        Ok(())
    }
}
