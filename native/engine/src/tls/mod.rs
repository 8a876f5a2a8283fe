//! TLS on both sides, without I/O: ciphertext in, plaintext out, and the reverse.
//!
//! ```text
//!   handle_*_data(ciphertext) ─► Session::receive ─► plaintext ─► the path of cleartext connections
//!   Action::Send ◄─ Engine::seal ◄─ Session::seal ◄─ the segments of the drain
//! ```
//!
//! A secured connection differs in three places only: what arrives is opened before anything reads it, what
//! leaves is sealed in one piece when its one `Send` is performed, and a target's connection is of use when its
//! handshake is done rather than when it is open. Cleartext connections pay one test of a flag.
//!
//! Handshake records and alerts have no plaintext of their own; [`crate::output::Output::nudge`] gives their connection
//! a `Send` to leave with.
//!
//! rustls does the protocol. It draws its randomness from its provider (aws-lc): of everything in this crate, only that
//! does not follow from the inputs. Time is told it (`wall.rs`).
//!
//! # Memory
//!
//! A session holds a partial record, 16 KiB and its overhead at most, and up to 64 KiB while a handshake message is
//! incomplete. What it has opened and sealed is taken out before its call returns.

mod connection;
mod session;
mod settings;
mod tickets;
mod wall;

pub(crate) use session::Sessions;
pub use settings::{ClientTls, ServerTls, TargetTls};
