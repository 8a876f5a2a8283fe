//! What a worker that died left in shared memory: set right, and accounted for.
//!
//! A process may die between any two of its stores, so what it lost is never read from a gauge. Every exchange
//! adds to `BEGUN` once and to one cell of `REQUESTS` once, each a single store; what has begun, has not ended
//! and was not lost before died with the worker.

use gatewayx_telemetry::{Cells, Permits, Region};

use crate::metrics::{PERMIT_CELLS, STATUS_CELLS, cell};

/// What died with a worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// Exchanges under way.
    pub requests: u64,
    /// Connections of callers.
    pub connections: u64,
    /// Access log lines of finished exchanges that the log had not taken yet. A write that was under way may
    /// have reached it all the same.
    pub log_lines: u64,
    /// Permits that came back.
    pub permits: u64,
}

/// Gauges of a worker that has no connections and exchanges any more.
const GAUGES: [u32; 6] = [
    cell::QUEUED,
    cell::ACTIVE,
    cell::UPSTREAM_ACTIVE,
    cell::UPSTREAM_IDLE,
    cell::DOWNSTREAM_OPEN,
    cell::BUFFERS_IN_USE,
];

/// Gives back the permits of a dead worker, sets its gauges to zero and counts what died with it. Its counters
/// stay: what it counted has happened. The caller sees to it that nobody writes to the slot meanwhile.
pub fn release_slot(region: &Region, slot: u32) -> Losses {
    let geometry = region.geometry();
    let mut losses = Losses::default();
    for block in 0..geometry.blocks_count {
        let cells = region.cells(slot, block);
        // Reading a page of shared memory takes one: a proxy or rule that this worker never served is left alone.
        let served = cells.load(cell::BEGUN) + cells.load(cell::FAULT_MATCHED);
        if block > 0 && served == 0 {
            continue;
        }
        let slots: Vec<Cells> = (0..geometry.slots_count)
            .map(|slot| region.cells(slot, block))
            .collect();
        let permits = Permits::new(&region.shared(block), &slots, slot, PERMIT_CELLS).bury();
        if block > 0 {
            // Those of block 0 are places of connections.
            losses.permits += permits;
        }
        let ended: u64 = (0..STATUS_CELLS)
            .map(|offset| cells.load(cell::REQUESTS + offset))
            .sum();
        let lost = cells
            .load(cell::BEGUN)
            .saturating_sub(ended + cells.load(cell::LOST));
        cells.add(cell::LOST, lost);
        losses.requests += lost;
        if block == 0 {
            losses.connections = cells.load(cell::DOWNSTREAM_OPEN);
            cells.add(cell::DOWNSTREAM_LOST, losses.connections);
            let accounted = cells.load(cell::LOG_WRITTEN) + cells.load(cell::LOG_DROPPED);
            losses.log_lines = cells.load(cell::LOG_MADE).saturating_sub(accounted);
            cells.add(cell::LOG_DROPPED, losses.log_lines);
        }
        for gauge in GAUGES {
            if cells.load(gauge) != 0 {
                cells.store(gauge, 0);
            }
        }
    }
    losses
}
