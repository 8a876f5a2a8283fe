//! Ranges of a buffer that the caller owns.

use std::ops::Range;

/// A range of bytes in the buffer that a head was parsed from.
///
/// Half the size of a `Range<usize>`; heads are far below 4 GiB, which `HeadLimits` sees to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

impl Span {
    /// Invariant of all callers: both ends lie within a head window, which is shorter than
    /// `u32::MAX`.
    #[inline]
    pub(crate) fn new(start: usize, end: usize) -> Self {
        debug_assert!(start <= end && u32::try_from(end).is_ok());
        Self {
            start: start as u32,
            end: end as u32,
        }
    }

    /// The bytes; `buf` must be the buffer that was parsed, or a longer one that begins with it.
    ///
    /// # Panics
    /// When `buf` is shorter than the span's end.
    #[inline]
    #[must_use]
    pub fn of(self, buf: &[u8]) -> &[u8] {
        &buf[self.range()]
    }

    /// Number of bytes.
    #[inline]
    #[must_use]
    pub fn len(self) -> usize {
        (self.end - self.start) as usize
    }

    /// Whether there is no byte.
    #[inline]
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.start == self.end
    }

    /// The same range in the unit that slices take.
    #[inline]
    #[must_use]
    pub fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_ranges() {
        let span = Span::new(2, 5);
        assert_eq!(span.of(b"abcdefg"), b"cde");
        assert_eq!((span.len(), span.range()), (3, 2..5));
        assert!(!span.is_empty());
        assert!(Span::default().is_empty());
    }
}
