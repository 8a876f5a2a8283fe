//! HTTP/1.1 codec of the gateway: bytes in, ranges out.
//!
//! Heads are parsed in place: the caller keeps the bytes, a head is a set of [`Span`]s into them.
//! Bodies in chunks are decoded the same way, as ranges of the caller's buffer. The crate has no
//! socket, clock, random source or thread, allocates nothing per field, and contains no `unsafe`.
//!
//! | Module       | Owns                                                                     |
//! |--------------|--------------------------------------------------------------------------|
//! | `class`      | byte classes and the three scans that every parser is made of            |
//! | `scan`       | where an unfinished head stands, so that no byte is judged twice         |
//! | `lines`      | field lines, for requests and responses alike                            |
//! | `request`    | request line and the rules that span several fields of a request         |
//! | `response`   | status line and the rules that span several fields of a response         |
//! | `target`     | request target: its four forms and what it may contain                   |
//! | `authority`  | `host[:port]`                                                            |
//! | `connection` | `Connection`, what it nominates, `Upgrade`                               |
//! | `framing`    | `Content-Length` and `Transfer-Encoding`                                 |
//! | `chunked`    | chunked coding, both ways                                                |
//! | `trailer`    | trailer section: canonical form, and which fields may pass               |
//!
//! # Rules
//! - RFC 9112 is read strictly, and more strictly wherever two parsers could differ; each such
//!   place is marked `// Stricter:`. There is one grammar and no lenient mode.
//! - Verdicts depend on the bytes, never on how they were cut into reads. Errors are positional:
//!   the first offending byte decides, as soon as it is there. Rules that span fields are judged at
//!   the end of the head, in a fixed order.
//! - Every limit is enforced on unfinished input too.
//!
//! # Why not a parser that exists
//! `httparse`, the usual one, starts over with each read, has one error for many rules, and takes
//! bare LF for a line end. Resuming, naming the rule and refusing early would need a second grammar
//! around it, and two grammars in one gateway are what smuggling lives on. The tests hold this one
//! against it: whatever is accepted here, `httparse` splits in the same way.
//!
//! # Cost A head that arrives whole is read once. A head that arrives in pieces is read twice,
//! however small the pieces: once as it arrives and once when it is whole.

mod authority;
mod chunked;
mod class;
mod connection;
mod error;
mod field;
mod framing;
mod limits;
mod lines;
mod proxy_header;
mod request;
mod response;
mod scan;
mod span;
mod target;
mod trailer;

pub use chunked::{CRLF, ChunkedDecoder, LAST_CHUNK, Step, write_chunk_head};
pub use error::ParseError;
pub use field::{Field, FieldId};
pub use limits::{ChunkLimits, HeadLimits};
pub use proxy_header::{NoProxyHeader, Proxied, parse_proxy_header};
pub use request::{Framing, Method, RequestHead, TargetForm, Version, parse_request};
pub use response::{Oddities, ResponseFraming, ResponseHead, parse_response};
pub use scan::HeadScan;
pub use span::Span;
