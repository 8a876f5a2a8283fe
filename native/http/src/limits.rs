//! What a peer may make the parsers hold or look at.

/// Limits of one head. Going over answers 431, for the target 414.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// Bytes of a head, leading empty lines and the final empty line included. Default 65,536.
    ///
    /// Stops heads without end. Precedents: nginx 4 x 8 KiB, HAProxy 16 KiB, Node 16 KiB, Envoy 60
    /// KiB. Worst case: so many buffered bytes a connection.
    pub head_max_bytes: usize,
    /// Bytes of the request target. Default 16,384.
    ///
    /// RFC 9112 section 3 recommends 8,000 for the whole line. Precedents: nginx 8 KiB, Apache
    /// 8,190. Worst case: part of `head_max_bytes`.
    pub target_max_bytes: usize,
    /// Field lines. Default 128.
    ///
    /// Stops heads of many tiny lines, whose cost is per line. Precedents: Apache 100, Envoy 100,
    /// HAProxy 101. Worst case: 20 bytes a field in a list that is used again for the next head.
    pub fields_max_count: usize,
}

impl Default for HeadLimits {
    fn default() -> Self {
        Self {
            head_max_bytes: 65_536,
            target_max_bytes: 16_384,
            fields_max_count: 128,
        }
    }
}

impl HeadLimits {
    /// The part of the buffer that a head may take. A head that does not end within is too large.
    #[inline]
    pub(crate) fn window<'a>(&self, buf: &'a [u8]) -> &'a [u8] {
        &buf[..buf.len().min(self.cap())]
    }

    /// Whether the window is used up, so that no further byte can complete the head.
    #[inline]
    pub(crate) fn is_full(&self, window: &[u8]) -> bool {
        window.len() >= self.cap()
    }

    /// `head_max_bytes`, and below what a [`crate::Span`] can address.
    #[inline]
    fn cap(&self) -> usize {
        self.head_max_bytes.min(u32::MAX as usize)
    }
}

/// Limits of one message in chunked coding. Going over fails the message: 400 while nothing was
/// answered, else a closed connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkLimits {
    /// Bytes of one chunk-size line with its extensions, without CRLF. Default 256.
    ///
    /// Stops size lines without end. Precedents: hyper 16 KiB of extensions, Node 16 KiB, h11 20
    /// digits.
    pub size_line_max_bytes: usize,
    /// Bytes of chunk extensions in a message, together. Default 16,384.
    ///
    /// Stops bodies that are nearly all extension: traffic and time that body limits do not see
    /// (Node CVE-2024-22019, Go CVE-2023-39326).
    pub extensions_max_bytes: usize,
    /// Bytes of the trailer section with its line ends, dropped fields included. Default 8,192.
    ///
    /// Worst case: so many bytes a message, held until the message ends.
    pub trailers_max_bytes: usize,
    /// Trailer lines, dropped ones included. Default 32.
    pub trailer_fields_max_count: usize,
}

impl Default for ChunkLimits {
    fn default() -> Self {
        Self {
            size_line_max_bytes: 256,
            extensions_max_bytes: 16_384,
            trailers_max_bytes: 8192,
            trailer_fields_max_count: 32,
        }
    }
}
