//! Configured header fields that differ from request to request.
//!
//! What is the same for every request (texts, environment variables, secrets) has been put in by the control plane.
//! What is left is appended straight to the head that is being written, without an allocation.

use gatewayx_auth::Caller;

use crate::caller::RequestFacts;
use crate::config::{HeaderTemplateConfig, TemplatePart};
use crate::error::Reason;
use crate::rewrite::Identity;

/// A header field of several parts.
pub(crate) struct Template {
    cfg: HeaderTemplateConfig,
}

impl Template {
    pub(crate) fn new(cfg: &HeaderTemplateConfig) -> Self {
        Self { cfg: cfg.clone() }
    }

    /// Whether it says who the caller is.
    pub(crate) fn names_caller(&self) -> bool {
        let is_claim = |part: &TemplatePart| matches!(part, TemplatePart::Claim { .. });
        self.cfg.parts.iter().any(is_claim)
    }

    /// Whether every value is there that has to be. An upstream that trusts a field never sees a request without it.
    pub(crate) fn check(&self, facts: &RequestFacts<'_>) -> Result<(), Reason> {
        for part in &self.cfg.parts {
            let TemplatePart::Claim { name, optional } = part else {
                continue;
            };
            match facts.caller() {
                _ if *optional => {}
                None => return Err(Reason::AuthRequired),
                Some(caller) if !is_there(caller, name) => return Err(Reason::ClaimMissing),
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// Appends the field's line.
    pub(crate) fn write(&self, out: &mut Vec<u8>, identity: &Identity<'_>) {
        out.extend_from_slice(self.cfg.name.as_bytes());
        out.extend_from_slice(b": ");
        for part in &self.cfg.parts {
            match part {
                TemplatePart::Text(text) => out.extend_from_slice(text.as_bytes()),
                TemplatePart::RequestId => out.extend_from_slice(identity.request_id),
                TemplatePart::Ip => out.extend_from_slice(identity.client),
                TemplatePart::Claim { name, .. } => {
                    if let Some(caller) = identity.caller.filter(|caller| is_there(caller, name)) {
                        write_claim(out, caller, name);
                    }
                }
            }
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// A claim is there if it has a value and none that could end the line or be read as something else: what a field
/// cannot hold (RFC 9110 section 5.5) is as good as missing.
fn is_there(caller: &Caller, name: &str) -> bool {
    let mut values = caller.claim(name).peekable();
    values.peek().is_some() && values.all(|value| value.iter().all(|&byte| is_field_byte(byte)))
}

fn is_field_byte(byte: u8) -> bool {
    byte >= b' ' && byte != 0x7f
}

fn write_claim(out: &mut Vec<u8>, caller: &Caller, name: &str) {
    for (index, value) in caller.claim(name).enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(value);
    }
}
