//! Where an unfinished head stands.
//!
//! ```text
//!   judged lines                line being read
//!   |--------------------------|---------------|- - - - - -
//!   0                          line      colon looked      (bytes to come)
//! ```
//! Invariant: `line <= colon <= looked <= len` of the last buffer, but `colon` is 0 before it was
//! found. All bytes before `looked` were judged and found good, so each further call looks at new
//! bytes only, and a head that comes byte by byte costs no more than twice one that comes whole.

use crate::lines::{Census, parse_fields};
use crate::{Field, HeadLimits, ParseError};

/// The state of one head between two calls: how far the parser has looked. Start with the default;
/// the parser puts it back to the default when the head is whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeadScan {
    /// Start of the line being read; 0 while that is the start line.
    pub(crate) line: u32,
    /// Where the colon of that line is, if it was reached.
    pub(crate) colon: u32,
    /// First byte that was not judged yet.
    pub(crate) looked: u32,
    /// Field lines before `line`.
    pub(crate) count: u32,
}

impl HeadScan {
    /// Whether an earlier call has looked at a part of this buffer.
    #[inline]
    pub(crate) fn is_resumed(&self) -> bool {
        self.looked != 0
    }

    /// Forgets an earlier call whose buffer was longer, which no correct caller makes: the parser
    /// then starts over instead of trusting positions that are not there.
    #[inline]
    pub(crate) fn check(&mut self, len: usize) {
        debug_assert!(self.looked as usize <= len, "the buffer of a head shrank");
        if self.looked as usize > len {
            *self = Self::default();
        }
    }

    /// Remembers a start line of which everything was looked at.
    #[inline]
    pub(crate) fn stop_in_start_line(&mut self, len: usize) {
        self.looked = len as u32;
    }

    /// Remembers a field line of which everything was looked at.
    #[inline]
    pub(crate) fn stop_in_field(&mut self, line: usize, colon: usize, len: usize, count: usize) {
        *self = Self {
            line: line as u32,
            colon: colon as u32,
            looked: len as u32,
            count: count as u32,
        };
    }
}

/// Reads the start line and the field lines of a head, each byte once, and once more when the head
/// came in pieces and is now whole.
///
/// Returns the length of the head and its census, or `None` when it does not end in the buffer.
/// `start_line` returns where the first field line begins.
pub(crate) fn read_head(
    buf: &[u8],
    scan: &mut HeadScan,
    limits: &HeadLimits,
    fields: &mut Vec<Field>,
    mut start_line: impl FnMut(&[u8], &mut HeadScan) -> Result<Option<usize>, ParseError>,
) -> Result<Option<(usize, Census)>, ParseError> {
    let window = limits.window(buf);
    scan.check(window.len());
    loop {
        fields.clear();
        let mut census = Census::default();
        let lines = match scan.line {
            0 => start_line(window, scan)?,
            line => Some(line as usize),
        };
        let end = match lines {
            Some(start) => parse_fields(window, start, scan, limits, fields, &mut census)?,
            None => None,
        };
        match end {
            None if limits.is_full(window) => return Err(ParseError::HeadTooLarge),
            None => return Ok(None),
            // Good as a whole, but this call saw only a part of it.
            Some(_) if scan.is_resumed() => *scan = HeadScan::default(),
            Some(len) => return Ok(Some((len, census))),
        }
    }
}
