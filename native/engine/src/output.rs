//! What the engine wants done: actions in order, and the bytes to send as ranges.
//!
//! Bytes of one drain come from two places: the arena (heads, chunk framing, small pieces) and the input
//! that the driver is handing in (large body pieces, sent without a copy). A connection's bytes are a
//! linked list of segments, and its first segment of a drain queues one [`Action::Send`], so a connection
//! is written to once a drain however many pieces it got.
//!
//! Invariants: an `Input` segment lives no longer than the `handle_*` call's drain; the arena is cleared
//! when the drain ends; segments of one connection are in the order in which they were pushed.

use std::collections::VecDeque;
use std::ops::Range;

use gatewayx_http::{CRLF, LAST_CHUNK, write_chunk_head};

use crate::slab::Key;

/// Pieces up to this size are copied behind what precedes them; a gathered send costs more than that.
const COPY_MAX_BYTES: usize = 8 * 1024;

/// The arena's memory is given back after a drain that needed more than this.
const ARENA_KEEP_BYTES: usize = 256 * 1024;

/// End of a segment list.
const NONE: u32 = u32::MAX;

/// A connection, named by the side it is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ConnId {
    /// Accepted from a caller.
    Downstream(Key),
    /// Opened to a target.
    Upstream(Key),
}

impl ConnId {
    /// The key on its side.
    pub fn key(self) -> Key {
        match self {
            Self::Downstream(key) | Self::Upstream(key) => key,
        }
    }
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseMode {
    /// Send what is still unsent, then close.
    Graceful,
    /// Drop what is unsent and let the peer see a reset, so that a cut message cannot look whole.
    Reset,
}

/// One thing for the driver to do. Performed in order, before the next input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Write the segments that start at `first` (see [`crate::Engine::segments`]).
    Send {
        /// Whom to.
        conn: ConnId,
        /// Start of its segment list.
        first: SegmentId,
    },
    /// Open a connection to target number `target` and report it under `key`.
    Connect {
        /// The name of the new connection.
        key: Key,
        /// Index into [`crate::Engine::target`].
        target: u32,
    },
    /// Stop reading from a connection.
    PauseReading(ConnId),
    /// Read again.
    ResumeReading(ConnId),
    /// No more will be sent: shut down the sending side after what is unsent.
    ShutdownWrite(ConnId),
    /// Close; the key is dead from here on.
    Close {
        /// Which connection.
        conn: ConnId,
        /// How.
        mode: CloseMode,
    },
    /// A permit came free that a request in another worker waits for: have it call
    /// [`crate::Engine::handle_wake`].
    Wake {
        /// The other worker's slot.
        slot: u32,
    },
    /// A harmless oddity of an upstream, to be told an operator once.
    Warn {
        /// The proxy's metrics block.
        block: u32,
        /// What was odd.
        what: &'static str,
    },
}

/// Names a segment within one drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentId(u32);

#[derive(Clone, Copy)]
enum Source {
    Arena,
    Input,
}

struct Segment {
    source: Source,
    start: u32,
    end: u32,
    next: u32,
}

/// A connection's bytes in the current drain.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outbox {
    last: u32,
}

impl Default for Outbox {
    fn default() -> Self {
        Self { last: NONE }
    }
}

/// A piece to be sent: where the bytes are.
enum Piece<'a> {
    /// Somewhere that does not outlive the call: copied.
    Copied(&'a [u8]),
    /// A range of the driver's input, which stays in place until the drain ends.
    Input(&'a [u8], Range<usize>),
}

#[derive(Default)]
pub(crate) struct Output {
    pub(crate) arena: Vec<u8>,
    segments: Vec<Segment>,
    actions: VecDeque<Action>,
    /// Connections whose outbox has to be reset when the drain ends.
    open: Vec<ConnId>,
}

impl Output {
    pub(crate) fn push_action(&mut self, action: Action) {
        self.actions.push_back(action);
    }

    #[inline]
    pub(crate) fn pop_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Queues what `write` appends to the arena.
    #[inline]
    pub(crate) fn write(
        &mut self,
        conn: ConnId,
        outbox: &mut Outbox,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> usize {
        let start = self.arena.len();
        write(&mut self.arena);
        let len_bytes = self.arena.len() - start;
        if len_bytes > 0 {
            self.push(conn, outbox, Source::Arena, start..start + len_bytes);
        }
        len_bytes
    }

    /// Queues a send of nothing, for a connection that has something to say below what is queued here.
    pub(crate) fn nudge(&mut self, conn: ConnId, outbox: &mut Outbox) {
        if outbox.last == NONE {
            let end = self.arena.len();
            self.push(conn, outbox, Source::Arena, end..end);
        }
    }

    #[inline]
    fn send(&mut self, conn: ConnId, outbox: &mut Outbox, piece: Piece<'_>) {
        match piece {
            Piece::Input(_, range) if range.len() > COPY_MAX_BYTES => {
                self.push(conn, outbox, Source::Input, range);
            }
            Piece::Copied(bytes) | Piece::Input(bytes, _) => {
                self.write(conn, outbox, |arena| arena.extend_from_slice(bytes));
            }
        }
    }

    /// Queues `bytes[range]` of a body, as a chunk if `chunked`. `is_input`: `bytes` are the driver's input.
    #[inline]
    pub(crate) fn send_body(
        &mut self,
        conn: ConnId,
        outbox: &mut Outbox,
        bytes: &[u8],
        range: Range<usize>,
        is_input: bool,
        chunked: bool,
    ) {
        if range.is_empty() {
            return;
        }
        let len_bytes = range.len();
        let data = &bytes[range.clone()];
        let piece = if is_input {
            Piece::Input(data, range)
        } else {
            Piece::Copied(data)
        };
        if !chunked {
            return self.send(conn, outbox, piece);
        }
        self.write(conn, outbox, |arena| write_chunk_head(arena, len_bytes));
        self.send(conn, outbox, piece);
        self.write(conn, outbox, |arena| arena.extend_from_slice(CRLF));
    }

    /// Queues the end of a chunked body.
    pub(crate) fn end_chunks(&mut self, conn: ConnId, outbox: &mut Outbox, trailers: &[u8]) {
        self.write(conn, outbox, |arena| {
            arena.extend_from_slice(LAST_CHUNK);
            arena.extend_from_slice(trailers);
            arena.extend_from_slice(CRLF);
        });
    }

    #[inline]
    fn push(&mut self, conn: ConnId, outbox: &mut Outbox, source: Source, range: Range<usize>) {
        let (start, end) = (range.start as u32, range.end as u32);
        if outbox.last != NONE {
            let last = &mut self.segments[outbox.last as usize];
            if let (Source::Arena, Source::Arena) = (source, last.source)
                && last.end == start
            {
                last.end = end;
                return;
            }
        }
        let id = self.segments.len() as u32;
        self.segments.push(Segment {
            source,
            start,
            end,
            next: NONE,
        });
        if outbox.last == NONE {
            self.open.push(conn);
            self.actions.push_back(Action::Send {
                conn,
                first: SegmentId(id),
            });
        } else {
            self.segments[outbox.last as usize].next = id;
        }
        outbox.last = id;
    }

    /// Connections that were written to in this drain; their outboxes are to be reset by the caller.
    pub(crate) fn take_open(&mut self) -> Option<ConnId> {
        self.open.pop()
    }

    /// Ends a drain: every range handed out is dead.
    pub(crate) fn clear(&mut self) {
        debug_assert!(self.actions.is_empty() && self.open.is_empty());
        self.segments.clear();
        self.arena.clear();
        if self.arena.capacity() > ARENA_KEEP_BYTES {
            self.arena = Vec::new();
        }
    }

    pub(crate) fn segments<'a>(&'a self, first: SegmentId, input: &'a [u8]) -> Segments<'a> {
        Segments {
            output: self,
            input,
            at: first.0,
        }
    }
}

/// The bytes of one [`Action::Send`], piece by piece.
pub struct Segments<'a> {
    output: &'a Output,
    input: &'a [u8],
    at: u32,
}

impl<'a> Iterator for Segments<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        if self.at == NONE {
            return None;
        }
        let segment = &self.output.segments[self.at as usize];
        self.at = segment.next;
        let range = segment.start as usize..segment.end as usize;
        Some(match segment.source {
            Source::Arena => &self.output.arena[range],
            Source::Input => &self.input[range],
        })
    }
}
