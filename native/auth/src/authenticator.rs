//! From a credential to a caller.

use std::collections::HashMap;
use std::rc::Rc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use serde_json::Map;

use crate::caller::Caller;
use crate::config::{AuthConfig, DigestConfig, KeyConfig};
use crate::digest::{Digest, digest_from_hex, from_hex, hmac_sha256, sha256};
use crate::jwt::{Issuer, verify};
use crate::keys::{KeyError, VerifyingKey};
use crate::verified::VerifiedTokens;

/// Longest credential. A longer one is none.
pub const CREDENTIAL_MAX_BYTES: usize = 8 * 1024;

/// An API token: its caller, and when it ends.
struct Token {
    caller: Rc<Caller>,
    /// `u64::MAX`: never.
    ends_unix_s: u64,
}

/// Everything that credentials are held against.
#[derive(Default)]
pub struct Authenticator {
    superuser: Option<(Digest, Rc<Caller>)>,
    token_key: Option<hmac::Key>,
    by_sha256: HashMap<Digest, Token>,
    by_hmac: HashMap<Digest, Token>,
    issuers: Vec<Issuer>,
    verified: VerifiedTokens,
}

impl Authenticator {
    /// What the configuration accepts. What it holds that cannot be used accepts nothing; the control plane has
    /// refused it with [`Self::check_key`].
    pub fn new(cfg: &AuthConfig) -> Self {
        let mut authenticator = Self {
            superuser: digest_from_hex(&cfg.superuser_sha256).and_then(|digest| {
                Some((
                    digest,
                    Rc::new(Caller::new("superuser", &Map::new(), true)?),
                ))
            }),
            token_key: from_hex(&cfg.token_key)
                .filter(|key| !key.is_empty())
                .map(|key| hmac::Key::new(hmac::HMAC_SHA256, &key)),
            issuers: cfg.issuers.iter().map(Issuer::new).collect(),
            ..Self::default()
        };
        for token in &cfg.tokens {
            let Some(caller) = Caller::new(&token.id, &token.claims, token.superuser) else {
                continue;
            };
            let (table, digest) = match &token.digest {
                DigestConfig::Sha256(digest) => (&mut authenticator.by_sha256, digest),
                DigestConfig::HmacSha256(digest) => (&mut authenticator.by_hmac, digest),
            };
            if let Some(digest) = digest_from_hex(digest) {
                let ends_unix_s = match token.expires_unix_s {
                    0 => u64::MAX,
                    ends_unix_s => ends_unix_s,
                };
                let caller = Rc::new(caller);
                table.insert(
                    digest,
                    Token {
                        caller,
                        ends_unix_s,
                    },
                );
            }
        }
        authenticator
    }

    /// Whether a key can be used.
    pub fn check_key(key: &KeyConfig) -> Result<(), KeyError> {
        VerifyingKey::new(key).map(drop)
    }

    /// Whose credential this is, if it is good at this time.
    pub fn authenticate(&mut self, credential: &[u8], now_unix_s: u64) -> Option<Rc<Caller>> {
        if credential.is_empty() || credential.len() > CREDENTIAL_MAX_BYTES {
            return None;
        }
        let digest = sha256(credential);
        if let Some((superuser, caller)) = &self.superuser
            && verify_slices_are_equal(superuser, &digest).is_ok()
        {
            return Some(caller.clone());
        }
        let token = self.by_sha256.get(&digest).or_else(|| {
            let key = self.token_key.as_ref()?;
            self.by_hmac.get(&hmac_sha256(key, credential))
        });
        if let Some(token) = token {
            return (now_unix_s < token.ends_unix_s).then(|| token.caller.clone());
        }
        if self.issuers.is_empty() {
            return None;
        }
        if let Some(caller) = self.verified.find(&digest, now_unix_s) {
            return Some(caller);
        }
        let verified = verify(&self.issuers, credential, now_unix_s)?;
        let caller = Rc::new(verified.caller);
        self.verified
            .insert(digest, caller.clone(), verified.ends_unix_s);
        Some(caller)
    }

    #[cfg(test)]
    pub(crate) fn verified_count(&self) -> usize {
        self.verified.len()
    }
}

/// The credential of an `Authorization` field: `Bearer TOKEN`, the scheme in any case (RFC 6750 section 2.1).
pub fn bearer(field: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = field.split_at_checked(7)?;
    let token = rest.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"bearer ") && !token.contains(&b' ')).then_some(token)
}
