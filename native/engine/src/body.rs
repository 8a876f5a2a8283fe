//! How much of a message body is still to come, for every framing.

use std::ops::Range;

use gatewayx_http::{ChunkedDecoder, ParseError};

/// The rest of one body.
#[derive(Default)]
pub(crate) enum Body {
    /// Nothing more belongs to the message.
    #[default]
    Done,
    /// So many bytes.
    Length(u64),
    /// Until the last chunk.
    Chunked(ChunkedDecoder),
    /// Until the peer closes.
    UntilClose,
}

/// What one look at the buffer gave.
pub(crate) struct Progress {
    /// Bytes of the buffer that are used up.
    pub(crate) consumed: usize,
    /// The body bytes among them.
    pub(crate) data: Range<usize>,
}

impl Body {
    #[inline]
    pub(crate) fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }

    /// Takes the next piece out of a buffer that is not empty. A chunked body that ends is put into `ended`, for its trailers.
    pub(crate) fn step(
        &mut self,
        buf: &[u8],
        ended: &mut Option<ChunkedDecoder>,
    ) -> Result<Progress, ParseError> {
        match self {
            Self::Done => Ok(Progress {
                consumed: 0,
                data: 0..0,
            }),
            Self::Length(left_bytes) => {
                let take =
                    usize::try_from(*left_bytes).map_or(buf.len(), |left| left.min(buf.len()));
                *left_bytes -= take as u64;
                if *left_bytes == 0 {
                    *self = Self::Done;
                }
                Ok(Progress {
                    consumed: take,
                    data: 0..take,
                })
            }
            Self::Chunked(decoder) => {
                let step = decoder.step(buf)?;
                if step.done
                    && let Self::Chunked(decoder) = std::mem::take(self)
                {
                    *ended = Some(decoder);
                }
                Ok(Progress {
                    consumed: step.consumed,
                    data: step.data,
                })
            }
            Self::UntilClose => Ok(Progress {
                consumed: buf.len(),
                data: 0..buf.len(),
            }),
        }
    }
}
