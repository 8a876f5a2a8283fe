//! Chunked transfer coding: RFC 9112 section 7.1.
//!
//! ```text
//!   Size --CR--> SizeLineFeed --LF, size > 0--> Data --> DataCr --> DataLineFeed --> Size
//!    | ;  ^               |
//!    v    CR              '------LF, size 0--> Trailers --empty line--> Done
//!   Extension...
//! ```
//! What a size line says is kept as numbers and what trailers say in canonical form, so no byte
//! that was consumed is needed again. Chunk data is never copied: each step returns a range of the
//! caller's buffer.
//!
//! Cost: a table-driven look at each byte of a size line, none at data; no allocation but for
//! trailers.

use std::ops::Range;

use crate::class::{self, QDTEXT, TOKEN, VALUE, hex_digit};
use crate::trailer::Trailers;
use crate::{ChunkLimits, ParseError};

/// The last chunk; trailer lines and [`CRLF`] follow.
pub const LAST_CHUNK: &[u8] = b"0\r\n";

/// End of a chunk and of a chunked message.
pub const CRLF: &[u8] = b"\r\n";

/// Appends the size line of a chunk of so many bytes, which must not be 0: that would be the last
/// chunk.
pub fn write_chunk_head(out: &mut Vec<u8>, len_bytes: usize) {
    debug_assert!(len_bytes > 0);
    let digits = (usize::BITS - len_bytes.leading_zeros()).div_ceil(4);
    for digit in (0..digits).rev() {
        out.push(b"0123456789abcdef"[len_bytes >> (4 * digit) & 0xf]);
    }
    out.extend_from_slice(CRLF);
}

/// What one step took from the buffer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Bytes that are used up, `data` among them.
    pub consumed: usize,
    /// Body bytes, as a range of the buffer; may be empty.
    pub data: Range<usize>,
    /// The message is whole; what follows `consumed` belongs to the next one.
    pub done: bool,
}

/// Where in the message the next byte stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// Before the first digit of a size.
    #[default]
    Size,
    /// After a digit of a size.
    SizeDigits,
    /// In whitespace where only `;` may follow.
    ExtensionGap,
    /// After `;`, before the name.
    ExtensionStart,
    /// Within an extension's name.
    ExtensionName,
    /// In whitespace after a name: `=` or the next `;`.
    ExtensionNameGap,
    /// After `=`, before the value.
    ExtensionValueStart,
    /// Within a value that is a token.
    ExtensionToken,
    /// Within a quoted value.
    ExtensionQuoted,
    /// After a backslash in a quoted value.
    ExtensionEscape,
    /// After the closing quote.
    ExtensionQuotedEnd,
    /// After the CR of a size line.
    SizeLineFeed,
    /// Within chunk data.
    Data,
    /// After the last byte of data.
    DataCr,
    /// After the CR that ends data.
    DataLineFeed,
    /// After the last chunk.
    Trailers,
    /// After the message.
    Done,
}

/// Decodes one chunked message.
#[derive(Clone, Debug, Default)]
pub struct ChunkedDecoder {
    limits: ChunkLimits,
    place: Place,
    /// Size of the chunk while its size line is read, then what is left of its data.
    left_bytes: u64,
    /// Bytes of the current size line.
    line_bytes: usize,
    /// Bytes of extensions in the message.
    extensions_bytes: usize,
    trailers: Trailers,
    /// Invariant: once set, all later steps return it.
    failed: Option<ParseError>,
}

impl ChunkedDecoder {
    /// A decoder for a message of which nothing was read.
    #[must_use]
    pub fn new(limits: ChunkLimits) -> Self {
        Self {
            limits,
            ..Self::default()
        }
    }

    /// Takes bytes of the message up to the end of the first piece of data, and on to where the
    /// next begins.
    ///
    /// Progress is made on any buffer that is not empty, until the message is done; then nothing is
    /// consumed.
    ///
    /// # Errors
    /// The first rule that the bytes break. Data before them is returned first, and the
    /// error by the next step; all further steps return it again.
    pub fn step(&mut self, buf: &[u8]) -> Result<Step, ParseError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let mut step = Step::default();
        while let Some(&byte) = buf.get(step.consumed) {
            if self.place == Place::Data {
                if !step.data.is_empty() {
                    return Ok(step);
                }
                let rest = buf.len() - step.consumed;
                let taken = usize::try_from(self.left_bytes).map_or(rest, |left| left.min(rest));
                step.data = step.consumed..step.consumed + taken;
                step.consumed += taken;
                self.left_bytes -= taken as u64;
                if self.left_bytes == 0 {
                    self.place = Place::DataCr;
                }
                continue;
            }
            if self.place == Place::Done {
                break;
            }
            if let Err(error) = self.take(byte) {
                self.failed = Some(error);
                if step.data.is_empty() {
                    return Err(error);
                }
                return Ok(step);
            }
            step.consumed += 1;
        }
        step.done = self.place == Place::Done;
        Ok(step)
    }

    /// The trailer section of a message that is done: canonical `Name: value` lines with their line
    /// ends, without the fields that must not be forwarded as trailers.
    #[must_use]
    pub fn trailers(&self) -> &[u8] {
        self.trailers.lines()
    }

    /// Takes one byte that is no data.
    fn take(&mut self, byte: u8) -> Result<(), ParseError> {
        self.place = match self.place {
            Place::Size | Place::SizeDigits => return self.take_size(byte),
            Place::SizeLineFeed => {
                if byte != b'\n' {
                    return Err(ParseError::BareCr);
                }
                self.line_bytes = 0;
                if self.left_bytes == 0 {
                    Place::Trailers
                } else {
                    Place::Data
                }
            }
            Place::DataCr => match byte {
                b'\r' => Place::DataLineFeed,
                b'\n' => return Err(ParseError::BareLf),
                _ => return Err(ParseError::BadChunkEnd),
            },
            Place::DataLineFeed => match byte {
                b'\n' => Place::Size,
                _ => return Err(ParseError::BareCr),
            },
            Place::Trailers => {
                if self.trailers.take(byte, &self.limits)? {
                    Place::Done
                } else {
                    Place::Trailers
                }
            }
            Place::Data | Place::Done => {
                debug_assert!(false, "handled by step");
                self.place
            }
            _ => return self.take_extension(byte),
        };
        Ok(())
    }

    /// `1*HEXDIG`, then an extension or the end of the line.
    ///
    /// Stricter: RFC 9112 section 7.1.1 has whitespace only before `;`, so a size that whitespace
    /// ends is refused, as some read on and some stop.
    #[inline]
    fn take_size(&mut self, byte: u8) -> Result<(), ParseError> {
        if let Some(digit) = hex_digit(byte) {
            self.count_line_byte()?;
            // RFC 9112 section 7.1: recipients MUST prevent overflow.
            if self.left_bytes >> 60 != 0 {
                return Err(ParseError::ChunkSizeTooLarge);
            }
            self.left_bytes = self.left_bytes << 4 | u64::from(digit);
            self.place = Place::SizeDigits;
            return Ok(());
        }
        if byte == b'\n' {
            return Err(ParseError::BareLf);
        }
        if self.place == Place::Size {
            return Err(ParseError::BadChunkSize);
        }
        match byte {
            b'\r' => {
                self.place = Place::SizeLineFeed;
                Ok(())
            }
            b';' | b' ' | b'\t' => {
                self.place = Place::ExtensionGap;
                self.take_extension(byte)
            }
            _ => Err(ParseError::BadChunkSize),
        }
    }

    /// `*( BWS ";" BWS name [ BWS "=" BWS value ] )`, checked and forgotten.
    ///
    /// Stricter: RFC 9112 section 7.1.1 has recipients ignore extensions. Where one ends must not
    /// be guessed: a line end within quotes ends the line for some and not for others, as does a
    /// bare LF.
    fn take_extension(&mut self, byte: u8) -> Result<(), ParseError> {
        use Place::{
            ExtensionEscape, ExtensionGap, ExtensionName, ExtensionNameGap, ExtensionQuoted,
            ExtensionQuotedEnd, ExtensionStart, ExtensionToken, ExtensionValueStart, SizeLineFeed,
        };
        let place = match (self.place, byte) {
            (_, b'\n') => return Err(ParseError::BareLf),
            (ExtensionName | ExtensionToken | ExtensionQuotedEnd, b'\r') => {
                self.place = SizeLineFeed;
                return Ok(());
            }
            (
                ExtensionGap | ExtensionName | ExtensionNameGap | ExtensionToken
                | ExtensionQuotedEnd,
                b';',
            ) => ExtensionStart,
            (ExtensionGap | ExtensionToken | ExtensionQuotedEnd, b' ' | b'\t') => ExtensionGap,
            (ExtensionStart, b' ' | b'\t') => ExtensionStart,
            (ExtensionStart | ExtensionName, _) if class::is(byte, TOKEN) => ExtensionName,
            (ExtensionName | ExtensionNameGap, b' ' | b'\t') => ExtensionNameGap,
            (ExtensionName | ExtensionNameGap, b'=') => ExtensionValueStart,
            (ExtensionValueStart, b' ' | b'\t') => ExtensionValueStart,
            (ExtensionValueStart, b'"') => ExtensionQuoted,
            (ExtensionValueStart | ExtensionToken, _) if class::is(byte, TOKEN) => ExtensionToken,
            (ExtensionQuoted, b'"') => ExtensionQuotedEnd,
            (ExtensionQuoted, b'\\') => ExtensionEscape,
            (ExtensionQuoted, _) if class::is(byte, QDTEXT) => ExtensionQuoted,
            (ExtensionEscape, _) if class::is(byte, VALUE) => ExtensionQuoted,
            _ => return Err(ParseError::BadChunkExtension),
        };
        self.count_line_byte()?;
        self.extensions_bytes += 1;
        if self.extensions_bytes > self.limits.extensions_max_bytes {
            return Err(ParseError::ChunkExtensionsTooLarge);
        }
        self.place = place;
        Ok(())
    }

    #[inline]
    fn count_line_byte(&mut self) -> Result<(), ParseError> {
        self.line_bytes += 1;
        if self.line_bytes > self.limits.size_line_max_bytes {
            return Err(ParseError::ChunkLineTooLong);
        }
        Ok(())
    }
}
