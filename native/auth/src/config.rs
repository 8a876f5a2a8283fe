//! What the control plane hands over.

use serde::Deserialize;
use serde_json::{Map, Value};

/// Every credential that is accepted.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct AuthConfig {
    /// Who issues JSON Web Tokens.
    pub issuers: Vec<IssuerConfig>,
    /// API tokens.
    pub tokens: Vec<TokenConfig>,
    /// Key of the tokens' HMAC digests, in hexadecimal; empty when no token has one.
    pub token_key: String,
    /// SHA-256 of the superuser's token, in hexadecimal; empty: there is none.
    pub superuser_sha256: String,
}

/// An issuer of JSON Web Tokens.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct IssuerConfig {
    /// What `iss` has to be; `None` accepts any.
    #[serde(default)]
    pub issuer: Option<String>,
    /// One of these has to be in `aud`; none: `aud` is not looked at.
    #[serde(default)]
    pub audience: Vec<String>,
    /// What tokens may be signed with.
    pub algorithms: Vec<SignatureAlgorithm>,
    /// What they are verified with.
    pub keys: Vec<KeyConfig>,
    /// The claim that is the caller's id.
    #[serde(default = "default_id_claim")]
    pub id_claim: String,
    /// How far the clocks may differ.
    #[serde(default)]
    pub leeway_seconds: u64,
}

/// How a token is signed.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
pub enum SignatureAlgorithm {
    /// HMAC with SHA-256.
    #[serde(rename = "HS256")]
    Hs256,
    /// RSASSA-PKCS1-v1_5 with SHA-256, keys of 2048 to 8192 bits.
    #[serde(rename = "RS256")]
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    #[serde(rename = "ES256")]
    Es256,
}

/// One key.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum KeyConfig {
    /// Of HS256, as text.
    Secret(String),
    /// A public key, `-----BEGIN PUBLIC KEY-----`.
    Pem(String),
    /// A member of a JWK set (RFC 7517).
    Jwk(Value),
}

/// One API token.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct TokenConfig {
    /// `@request.auth.id` of whoever shows it.
    pub id: String,
    /// How the token is recognised.
    pub digest: DigestConfig,
    /// What rules and header templates can ask for.
    #[serde(default)]
    pub claims: Map<String, Value>,
    /// Seconds since 1970; 0 = never.
    #[serde(default)]
    pub expires_unix_s: u64,
    /// Whether it opens everything.
    #[serde(default)]
    pub superuser: bool,
}

/// A digest of a whole token, in hexadecimal.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum DigestConfig {
    /// SHA-256.
    Sha256(String),
    /// HMAC-SHA-256 with the `token_key`.
    HmacSha256(String),
}

fn default_id_claim() -> String {
    "sub".to_owned()
}
