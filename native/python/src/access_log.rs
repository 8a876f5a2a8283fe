//! The way of log lines (and spans) to their file: a thread of its own, so that a slow disk or a full pipe never holds up
//! the loop. Lines wait in a bounded buffer; when it is full, or the file takes no more, they are given up
//! and counted.

use std::os::fd::RawFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use gatewayx_telemetry::Cells;

/// Bytes that may wait. At 300 bytes a line this is a quarter of a second of 50,000 requests a second.
const PENDING_MAX_BYTES: usize = 4 * 1024 * 1024;

/// Longest wait for a file that takes nothing, at the end.
const CLOSE_MAX: Duration = Duration::from_secs(2);

#[derive(Default)]
struct State {
    pending: Vec<u8>,
    closed: bool,
    finished: bool,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// Something waits, or the end has come on one side.
    wake: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic of the other side leaves whole lines behind.
        self.state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Where lines are counted, in the worker's own cells.
#[derive(Clone)]
pub(crate) struct LineCounts {
    pub(crate) cells: Cells,
    /// Those that the file has taken. Only the thread adds to it.
    pub(crate) written: Option<u32>,
    /// Those that nobody will read. Both threads add to it.
    pub(crate) dropped: u32,
}

impl LineCounts {
    fn on_written(&self, lines: &[u8]) {
        if let Some(written) = self.written {
            self.cells.add(written, count_lines(lines));
        }
    }

    fn on_dropped(&self, lines: &[u8]) {
        if !lines.is_empty() {
            self.cells.add_shared(self.dropped, count_lines(lines));
        }
    }
}

/// Writes lines to a descriptor, which the caller keeps open until `close` has returned. What is written and
/// what is given up is counted in the worker's own cells, at once.
pub(crate) struct LogWriter {
    shared: Arc<Shared>,
    counts: LineCounts,
}

impl LogWriter {
    /// Starts the thread, which is called `name`.
    pub(crate) fn new(fd: RawFd, name: &str, counts: LineCounts) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        std::thread::Builder::new().name(name.to_owned()).spawn({
            let (shared, counts) = (shared.clone(), counts.clone());
            move || run(&shared, fd, &counts)
        })?;
        Ok(Self { shared, counts })
    }

    /// Hands over whole lines and empties `lines`.
    pub(crate) fn push(&self, lines: &mut Vec<u8>) {
        let mut state = self.shared.lock();
        if state.pending.len() + lines.len() > PENDING_MAX_BYTES {
            self.counts.on_dropped(lines);
        } else {
            state.pending.extend_from_slice(lines);
        }
        drop(state);
        self.shared.wake.notify_one();
        lines.clear();
    }
}

impl LogWriter {
    /// Writes what waits and ends the thread; gives up after a while on a file that takes nothing.
    pub(crate) fn close(&self) {
        let mut state = self.shared.lock();
        state.closed = true;
        self.shared.wake.notify_all();
        let (_state, _) = self
            .shared
            .wake
            .wait_timeout_while(state, CLOSE_MAX, |state| !state.finished)
            .unwrap_or_else(std::sync::PoisonError::into_inner);
    }
}

fn run(shared: &Shared, fd: RawFd, counts: &LineCounts) {
    let mut batch = Vec::new();
    // The file ends within a line, which stands alone: what follows it begins on a line of its own.
    let mut cut = false;
    loop {
        let mut state = shared.lock();
        while state.pending.is_empty() && !state.closed {
            state = shared
                .wake
                .wait(state)
                .unwrap_or_else(std::sync::PoisonError::into_inner);
        }
        if state.pending.is_empty() {
            state.finished = true;
            shared.wake.notify_all();
            return;
        }
        std::mem::swap(&mut batch, &mut state.pending);
        drop(state);
        cut = cut && write_all(fd, b"\n") == 0;
        let written = if cut { 0 } else { write_all(fd, &batch) };
        let (taken, refused) = batch.split_at(written);
        counts.on_written(taken);
        counts.on_dropped(refused);
        cut = cut || taken.last().is_some_and(|&byte| byte != b'\n');
        batch.clear();
    }
}

/// Writes until done or refused; returns how much went out.
fn write_all(fd: RawFd, bytes: &[u8]) -> usize {
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        // SAFETY: `rest` is readable for its length; the descriptor is the caller's to keep open.
        let written = unsafe { libc::write(fd, rest.as_ptr().cast(), rest.len()) };
        match usize::try_from(written) {
            Ok(written) => at += written,
            Err(_) => match std::io::Error::last_os_error().kind() {
                std::io::ErrorKind::Interrupted => {}
                std::io::ErrorKind::WouldBlock => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                _ => break,
            },
        }
    }
    at
}

fn count_lines(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|&&byte| byte == b'\n').count() as u64
}
