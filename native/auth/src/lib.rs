//! Who the caller is: what a bearer credential proves, and what it says of its holder.
//!
//! Three kinds are known. The superuser's token; API tokens, of which only digests are kept; and JSON Web Tokens
//! (RFC 7519) signed with HS256, RS256 or ES256 by a configured issuer. Everything is a function of the bytes, the
//! configuration and the time (`now_unix_s`, seconds since 1970): no clock, no file, no network.
//!
//! # Rules
//!
//! - A key has exactly one algorithm, told by its kind, and a token is only held against keys of the algorithm that
//!   it names: a public key is never a shared secret, and `none` is no algorithm (RFC 8725 sections 3.1 and 3.2).
//! - A JSON Web Token needs `exp` and an id; `nbf`, `iss` and `aud` are held against the configuration.
//! - A token that says `crit` needs what is not understood here, and is refused (RFC 7515 section 4.1.11).
//! - Credentials are found by their digest, so that the time of a look-up tells nothing of them.
//!
//! # Cost
//!
//! One SHA-256 a request; the signature only when a token is new to the worker. What has been verified is remembered
//! until it expires, at most [`VERIFIED_MAX_COUNT`] tokens. A configuration that changes forgets them all.

mod authenticator;
mod caller;
pub mod config;
mod digest;
mod jwt;
mod keys;
#[cfg(test)]
mod tests;
mod verified;

pub use authenticator::{Authenticator, CREDENTIAL_MAX_BYTES, bearer};
pub use caller::Caller;
pub use keys::KeyError;
pub use verified::VERIFIED_MAX_COUNT;
