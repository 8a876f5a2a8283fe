//! A bounded pool of equal buffers.
//!
//! Buffers that come back go on a stack, so that the next one handed out is the one most likely to
//! be in the cache. The pool owns at most `buffers_max` of them; when all are out, a buffer is
//! allocated plainly and freed when it comes back, which is counted: a pool that is too small
//! costs speed, never a refusal.
//!
//! Memory: at most `buffers_max * buffer_bytes` stays allocated when nothing is in use (32 MiB with
//! 1024 buffers of 32 KiB). Buffers are made when first needed and never given back to the system.
//!
//! A buffer comes with whatever its last user left in it; clearing 32 KiB would cost more than all
//! the rest. Users read only what they have written.

use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard};

/// Hands out buffers. Clones share the pool; every [`Buffer`] keeps it alive.
#[derive(Clone)]
pub(crate) struct BufferPool {
    shared: Arc<Shared>,
}

struct Shared {
    buffer_bytes: usize,
    buffers_max: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    free: Vec<Box<[u8]>>,
    /// Invariant: `free.len() + pooled buffers in use`, at most `buffers_max`.
    pooled: usize,
    in_use: usize,
    hits: u64,
    exhausted_total: u64,
}

/// What a pool has done so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BufferPoolStats {
    /// Buffers handed out and not yet back, pooled or not.
    pub(crate) in_use: usize,
    /// Buffers that wait to be handed out.
    pub(crate) free: usize,
    /// Buffers handed out that had been used before.
    pub(crate) hits: u64,
    /// Buffers allocated plainly because all were out.
    pub(crate) exhausted_total: u64,
}

/// Where a buffer came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// From the pool, or made for it; goes back to it.
    Pool,
    /// Allocated because the pool had none left; freed afterwards.
    Plain {
        /// Whether the pool has never run out before: the moment to say so, once.
        is_first: bool,
    },
}

impl BufferPool {
    /// A pool that will own at most `buffers_max` buffers; none is made yet.
    pub(crate) fn new(buffer_bytes: usize, buffers_max: usize) -> Self {
        let state = Mutex::default();
        Self {
            shared: Arc::new(Shared {
                buffer_bytes,
                buffers_max,
                state,
            }),
        }
    }

    /// Hands out a buffer, whose content is left over from its last use.
    pub(crate) fn take(&self) -> Buffer {
        let (pooled, origin) = self.shared.lock().take(self.shared.buffers_max);
        let memory = pooled.unwrap_or_else(|| vec![0; self.shared.buffer_bytes].into_boxed_slice());
        Buffer {
            memory: NonNull::from(Box::leak(memory)),
            origin,
            pool: self.clone(),
        }
    }

    /// The counters at this moment.
    pub(crate) fn stats(&self) -> BufferPoolStats {
        let state = self.shared.lock();
        BufferPoolStats {
            in_use: state.in_use,
            free: state.free.len(),
            hits: state.hits,
            exhausted_total: state.exhausted_total,
        }
    }

    /// Bytes of each buffer.
    pub(crate) fn buffer_bytes(&self) -> usize {
        self.shared.buffer_bytes
    }

    /// Buffers that the pool may own.
    pub(crate) fn buffers_max(&self) -> usize {
        self.shared.buffers_max
    }

    /// Whether two handles share one pool.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics under this lock")
    }
}

impl State {
    /// A used buffer, or leave to make one, and what it counts as.
    fn take(&mut self, buffers_max: usize) -> (Option<Box<[u8]>>, Origin) {
        self.in_use += 1;
        if let Some(buffer) = self.free.pop() {
            self.hits += 1;
            return (Some(buffer), Origin::Pool);
        }
        if self.pooled < buffers_max {
            self.pooled += 1;
            return (None, Origin::Pool);
        }
        self.exhausted_total += 1;
        (
            None,
            Origin::Plain {
                is_first: self.exhausted_total == 1,
            },
        )
    }
}

/// Memory of a pool, given back when dropped.
pub(crate) struct Buffer {
    /// A leaked box, so that addresses handed to others stay valid however the owner moves.
    memory: NonNull<[u8]>,
    origin: Origin,
    pool: BufferPool,
}

// SAFETY: `memory` is owned, like a box.
unsafe impl Send for Buffer {}

impl Buffer {
    /// Where it came from.
    pub(crate) fn origin(&self) -> Origin {
        self.origin
    }

    /// Where it goes back to.
    pub(crate) fn pool(&self) -> &BufferPool {
        &self.pool
    }

    /// The memory, whose user keeps the books about who may write.
    pub(crate) fn memory(&self) -> NonNull<[u8]> {
        self.memory
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: leaked in `take`, and dropped once.
        let memory = unsafe { Box::from_raw(self.memory.as_ptr()) };
        let mut state = self.pool.shared.lock();
        state.in_use -= 1;
        match self.origin {
            Origin::Pool => state.free.push(memory),
            Origin::Plain { .. } => drop(state),
        }
    }
}
