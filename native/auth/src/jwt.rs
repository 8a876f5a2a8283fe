//! JSON Web Tokens: signature first, then every claim that limits the token's use (RFC 7519 section 4.1).

use std::collections::HashSet;

use jsonwebtoken::{Algorithm, Validation, decode, decode_header};
use serde_json::{Map, Value};

use crate::caller::Caller;
use crate::config::IssuerConfig;
use crate::keys::VerifyingKey;

/// Signatures that one token is held against, so that a token without a key's name costs no more than this.
const ATTEMPTS_MAX_COUNT: usize = 16;

/// Longest id of a caller.
const ID_MAX_BYTES: usize = 256;

/// An issuer whose tokens are accepted.
pub(crate) struct Issuer {
    cfg: IssuerConfig,
    keys: Vec<VerifyingKey>,
}

/// A token that is good, and for how long.
pub(crate) struct Verified {
    pub(crate) caller: Caller,
    /// First second at which it is good no more.
    pub(crate) ends_unix_s: u64,
}

impl Issuer {
    /// Keys that are for something else are left out, as RFC 7517 section 5 asks for.
    pub(crate) fn new(cfg: &IssuerConfig) -> Self {
        let allowed: Vec<Algorithm> = cfg.algorithms.iter().map(|&name| name.into()).collect();
        let keys = cfg
            .keys
            .iter()
            .filter_map(|key| VerifyingKey::new(key).ok())
            .filter(|key| allowed.contains(&key.algorithm))
            .collect();
        Self {
            cfg: cfg.clone(),
            keys,
        }
    }

    fn accept(&self, claims: &Map<String, Value>, now_unix_s: u64) -> Option<Verified> {
        let leeway = self.cfg.leeway_seconds;
        if let Some(issuer) = &self.cfg.issuer
            && claims.get("iss").and_then(Value::as_str) != Some(issuer)
        {
            return None;
        }
        if !self.cfg.audience.is_empty() && !self.is_audience(claims.get("aud")?) {
            return None;
        }
        // RFC 7519 section 4.1.4: on or after this time the token must not be accepted.
        let ends_unix_s = seconds(claims.get("exp")?)?.saturating_add(leeway);
        if now_unix_s >= ends_unix_s {
            return None;
        }
        if let Some(not_before) = claims.get("nbf")
            && seconds(not_before)? > now_unix_s.saturating_add(leeway)
        {
            return None;
        }
        let id = match claims.get(&self.cfg.id_claim)? {
            Value::String(id) => id.clone(),
            Value::Number(id) => id.to_string(),
            _ => return None,
        };
        if id.is_empty() || id.len() > ID_MAX_BYTES {
            return None;
        }
        Some(Verified {
            caller: Caller::new(&id, claims, false)?,
            ends_unix_s,
        })
    }

    fn is_audience(&self, claim: &Value) -> bool {
        let mine = |value: &Value| {
            value
                .as_str()
                .is_some_and(|name| self.cfg.audience.iter().any(|known| known == name))
        };
        match claim {
            Value::Array(names) => names.iter().any(mine),
            name => mine(name),
        }
    }
}

/// What the token proves at this time, if an issuer vouches for it.
pub(crate) fn verify(issuers: &[Issuer], token: &[u8], now_unix_s: u64) -> Option<Verified> {
    let header = decode_header(token).ok()?;
    if header.crit.is_some() {
        return None;
    }
    let validation = signature_only(header.alg);
    let keys = issuers.iter().flat_map(|issuer| {
        let keys = issuer.keys.iter().map(move |key| (issuer, key));
        keys.filter(|(_, key)| {
            let other_name =
                matches!((&header.kid, &key.id), (Some(asked), Some(id)) if asked != id);
            key.algorithm == header.alg && !other_name
        })
    });
    for (issuer, key) in keys.take(ATTEMPTS_MAX_COUNT) {
        if let Ok(token) = decode::<Map<String, Value>>(token, &key.key, &validation)
            && let Some(verified) = issuer.accept(&token.claims, now_unix_s)
        {
            return Some(verified);
        }
    }
    None
}

/// The signature alone: times are held against the caller's clock, not this process's.
fn signature_only(algorithm: Algorithm) -> Validation {
    let mut validation = Validation::new(algorithm);
    validation.required_spec_claims = HashSet::new();
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    validation
}

/// A `NumericDate`: seconds since 1970, perhaps with a fraction, which is cut off.
fn seconds(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| {
        value
            .as_f64()
            .filter(|&number| number >= 0.0)
            .map(|number| number as u64)
    })
}
