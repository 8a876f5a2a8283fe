//! Counters, gauges, histograms and permits in memory that several processes may share.
//!
//! The only lock-free code of the gateway. It performs no I/O and maps no memory: a [`Region`] is
//! made either on the heap ([`Region::private`]) or over memory that the caller hands in
//! ([`Region::attach`]).
//!
//! # Theory of operation
//!
//! A region is one array of 64-bit atomic *cells*. The first cache line describes the layout; after
//! it come blocks of cells, each beginning on a cache line of its own:
//!
//! ```text
//! header | slot 0: block 0, block 1, ... | slot 1: block 0, ... | ... | shared: block 0, ... | table
//! ```
//!
//! A *slot* belongs to one writer (a worker), so that its cells need no read-modify-write
//! instruction and its cache lines never travel while the worker counts. A *block* belongs to one
//! subject (block 0 to the gateway, the others to one proxy each). The *shared* blocks hold what
//! must be exact across writers, like the permits in use; behind them lies one [`Table`] that is everybody's. A scrape sums a cell over all slots.
//!
//! # Orderings
//!
//! Statistics are relaxed everywhere: a cell is read alone, never to learn that something else has
//! happened, so a scrape may see an observation's bucket one moment before its sum. [`Permits`],
//! [`Ring`], [`Table`] and [`Cells::update`] alone order memory; they say how.
//!
//! # Cost
//!
//! A single-writer add is a load, an add and a store; a shared add is one locked instruction; an
//! observation is a search over the bounds and two adds. Figures:
//! `cargo bench -p gatewayx-telemetry`.

mod cells;
mod geometry;
mod histogram;
mod permits;
mod region;
mod ring;
mod samples;
mod sync;
mod table;

pub use cells::Cells;
pub use geometry::Geometry;
pub use histogram::{Histogram, HistogramSnapshot, LATENCY_BOUNDS_NS};
pub use permits::{PermitCells, Permits, Stage, WRITERS_MAX};
pub use region::{Region, RegionError};
pub use ring::Ring;
pub use samples::{Samples, Taken};
pub use table::{Table, WAYS};
