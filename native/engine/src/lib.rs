//! The proxy engine: every rule of forwarding, and no way to reach the outside.
//!
//! One engine serves one worker. It holds no socket, clock, random source, file, environment variable or
//! thread; whoever drives it owns those. That makes it the same in the asyncio driver, in an embedding
//! program and in the simulator, where time and network are invented.
//!
//! # The driver's contract
//!
//! - **Inputs** are the `handle_*` methods of [`Engine`]. Each takes the time as nanoseconds of any clock
//!   that does not go back. Connections are named by [`Key`]s; a key that has been closed may still be used,
//!   it finds nothing.
//! - **One input, drained fully, then the next.** After every input the driver calls
//!   [`Engine::poll_action`] until it gives `None`, and performs each [`Action`] in order; then it arms one
//!   timer for [`Engine::poll_deadline`]. Bytes to send are read with [`Engine::segments`]; they may lie in
//!   the input that was handed in, which has to stay in place until the drain has ended.
//! - **One send a connection and drain.** An [`Action::Send`] names all that a connection gets.
//! - **Back-pressure.** What the kernel does not take, the driver keeps, and says how much with
//!   [`Engine::handle_unsent`]; it says so again, with 0, when it is gone. The engine answers with
//!   [`Action::PauseReading`] and [`Action::ResumeReading`].
//! - **Closing.** [`Action::Close`] is final: the key is dead and the driver reports nothing more of it. A
//!   connection that ends by itself is reported once, as end of file or as closed.
//! - **Network faults are actions and records**, never panics. A panic is a bug of the engine or its driver.
//!
//! # Layout
//!
//! `engine.rs` inputs and outputs; `install.rs` a change of configuration; `request.rs`, `attempt.rs`, `response.rs`,
//! `finish.rs` what they lead to; `flow.rs` back-pressure and deadlines;
//! `downstream.rs`, `upstream.rs` the two kinds of connection; `rewrite.rs`, `respond.rs` heads as they
//! leave; `error.rs` every reason and its tables; `route.rs`, `pool.rs`, `timers.rs`, `slab.rs`, `output.rs`
//! the structures; `metrics.rs`, `access.rs`, `trace.rs` the books.
//! leave; `caller.rs` who may call, `rate_limit.rs` how often, `template.rs` what the upstream is told
//! of them; `error.rs` every reason and its tables; `route.rs`, `pool.rs`, `timers.rs`, `slab.rs`, `output.rs`
//! the structures; `metrics.rs`, `access.rs` the books.
//!
//! # Cost
//!
//! An exchange over a pooled connection allocates nothing once its connection is warm, sets deadlines with
//! plain stores, and copies heads and small bodies once; pieces above 8 KiB are not copied.

mod access;
mod adaptive;
mod admission;
mod attempt;
mod body;
mod breaker;
pub mod burial;
mod caller;
pub mod config;
mod counts;
mod downstream;
mod engine;
mod error;
mod fault;
pub mod fault_metrics;
mod finish;
mod flow;
mod install;
pub mod metrics;
mod moved;
mod output;
mod pool;
mod proxy;
mod queue;
mod rate_limit;
mod request;
mod request_id;
mod respond;
mod response;
mod rewrite;
mod route;
mod slab;
mod template;
mod timers;
mod tls;
mod trace;
mod upstream;

pub use breaker::{force_breaker, forced_breaker};
pub use counts::Counts;
pub use downstream::Peer;
pub use engine::{DialError, Engine};
pub use error::{Blame, REASON_NAMES, Reason, Retry};
pub use gatewayx_policy::Forced;
pub use output::{Action, CloseMode, ConnId, SegmentId, Segments};
pub use proxy::Target;
pub use slab::Key;
pub use tls::{ClientTls, ServerTls, TargetTls};
