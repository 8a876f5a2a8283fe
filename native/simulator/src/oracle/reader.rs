//! A stream of bytes as messages.

use std::collections::VecDeque;

use super::head::{Head, declared, parse_field, parse_request, parse_response};
use super::{End, Fault, Framing, Message, Start};

/// Empty lines that may precede a request.
const EMPTY_LINES_MAX: usize = 4;

/// Reads one direction of one connection.
#[derive(Debug)]
pub struct Reader {
    reads_requests: bool,
    place: Place,
    /// Bytes that are no message yet.
    pending: Vec<u8>,
    empty_lines: usize,
    /// Methods of the requests that are to be answered, when responses are read.
    asked: VecDeque<String>,
    /// All messages so far.
    pub messages: Vec<Message>,
    /// Bytes behind a change of protocols.
    pub tunnel: Vec<u8>,
    /// Why reading stopped.
    pub fault: Option<Fault>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Head,
    Length(u64),
    ChunkLine,
    Chunk(u64),
    ChunkEnd,
    Trailer,
    UntilClose,
    /// Behind a request for another protocol: what follows depends on the answer.
    Held,
    Tunnel,
    Stopped,
}

impl Reader {
    /// For what callers send.
    pub fn of_requests() -> Self {
        Self::new(true)
    }

    /// For what targets send. Tell it what was asked with [`Self::ask`].
    pub fn of_responses() -> Self {
        Self::new(false)
    }

    fn new(reads_requests: bool) -> Self {
        Self {
            reads_requests,
            place: Place::Head,
            pending: Vec::new(),
            empty_lines: 0,
            asked: VecDeque::new(),
            messages: Vec::new(),
            tunnel: Vec::new(),
            fault: None,
        }
    }

    /// A request of this method has been sent; its response is due after those before it.
    pub fn ask(&mut self, method: &str) {
        self.asked.push_back(method.to_owned());
    }

    /// How many responses are due.
    pub fn due_count(&self) -> usize {
        self.asked.len()
    }

    /// Whether nothing has begun that is not whole.
    pub fn is_between_messages(&self) -> bool {
        self.place == Place::Head && self.pending.is_empty()
    }

    /// Whether what comes next is the beginning of a message.
    pub fn is_at_head(&self) -> bool {
        self.place == Place::Head
    }

    /// Whether some bytes have come of a head that is not whole.
    pub fn has_part_of_head(&self) -> bool {
        self.place == Place::Head && !self.pending.is_empty()
    }

    /// Takes bytes as they come.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.append(bytes);
        while self.read_message() {}
    }

    /// Keeps bytes for [`Self::read_message`].
    pub fn append(&mut self, bytes: &[u8]) {
        match self.place {
            Place::Tunnel => self.tunnel.extend_from_slice(bytes),
            Place::Stopped => {}
            _ => self.pending.extend_from_slice(bytes),
        }
    }

    /// Whether the answer to a request for another protocol is awaited.
    pub fn is_held(&self) -> bool {
        self.place == Place::Held
    }

    /// The answer to a request for another protocol is known.
    pub fn resolve_upgrade(&mut self, switched: bool) {
        if self.place != Place::Held {
            return;
        }
        if switched {
            self.place = Place::Tunnel;
            self.tunnel = std::mem::take(&mut self.pending);
        } else {
            self.place = Place::Head;
            while self.read_message() {}
        }
    }

    /// The stream has ended; `clean` tells a shutdown from a reset.
    pub fn end(&mut self, clean: bool) {
        if let Some(message) = self.messages.last_mut()
            && message.end == End::Open
        {
            let whole = clean && self.place == Place::UntilClose;
            message.end = if whole { End::Whole } else { End::Cut };
        }
        if self.place != Place::Tunnel {
            self.place = Place::Stopped;
        }
    }

    /// Reads to the end of the message, or of the bytes; tells whether there are bytes behind the message.
    pub fn read_message(&mut self) -> bool {
        let mut at = 0;
        let mut ended = false;
        while !ended {
            match self.step(at) {
                Ok(Some(next)) => {
                    at = next;
                    ended = self.place == Place::Head;
                }
                Ok(None) => break,
                Err(fault) => {
                    self.fault = Some(fault);
                    self.end(false);
                    break;
                }
            }
        }
        self.pending.drain(..at);
        ended && !self.pending.is_empty()
    }

    /// One step from `at` in the pending bytes: where the next begins, `None` when more bytes are needed.
    fn step(&mut self, at: usize) -> Result<Option<usize>, Fault> {
        let rest = &self.pending[at..];
        let taken = match self.place {
            Place::Head => return self.step_head(at),
            Place::Length(left) => {
                let take = rest.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                let left = left - take as u64;
                self.push_body(at, take);
                if left == 0 {
                    self.complete();
                } else {
                    self.place = Place::Length(left);
                }
                take
            }
            Place::ChunkLine => {
                let Some(line) = line_of(rest) else {
                    return partial_line(rest);
                };
                let (taken, len) = (line.len() + 2, chunk_len(line)?);
                self.place = if len == 0 {
                    Place::Trailer
                } else {
                    Place::Chunk(len)
                };
                taken
            }
            Place::Chunk(left) => {
                let take = rest.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                let left = left - take as u64;
                self.push_body(at, take);
                self.place = if left == 0 {
                    Place::ChunkEnd
                } else {
                    Place::Chunk(left)
                };
                take
            }
            Place::ChunkEnd => {
                if rest.len() < 2 {
                    return Ok(None);
                }
                if &rest[..2] != b"\r\n" {
                    return Err(Fault("a chunk ends with CRLF"));
                }
                self.place = Place::ChunkLine;
                2
            }
            Place::Trailer => {
                let Some(line) = line_of(rest) else {
                    return partial_line(rest);
                };
                let taken = line.len() + 2;
                if line.is_empty() {
                    self.complete();
                } else {
                    let field = parse_field(line)?;
                    self.messages
                        .last_mut()
                        .expect("in a body")
                        .trailers
                        .push(field);
                }
                taken
            }
            Place::UntilClose => {
                let take = rest.len();
                self.push_body(at, take);
                take
            }
            Place::Held | Place::Stopped => 0,
            Place::Tunnel => {
                self.tunnel.extend_from_slice(rest);
                rest.len()
            }
        };
        Ok((taken > 0).then_some(at + taken))
    }

    fn step_head(&mut self, at: usize) -> Result<Option<usize>, Fault> {
        let rest = &self.pending[at..];
        if rest.is_empty() {
            return Ok(None);
        }
        if self.reads_requests && rest.starts_with(b"\r\n") {
            self.empty_lines += 1;
            if self.empty_lines > EMPTY_LINES_MAX {
                return Err(Fault("too many empty lines before a request"));
            }
            return Ok(Some(at + 2));
        }
        let Some(len) = rest.windows(4).position(|four| four == b"\r\n\r\n") else {
            return Ok(None);
        };
        self.empty_lines = 0;
        let head = if self.reads_requests {
            parse_request(&rest[..len])?
        } else {
            parse_response(&rest[..len])?
        };
        let framing = if self.reads_requests {
            declared(&head)?.unwrap_or(Framing::None)
        } else {
            self.response_framing(&head)?
        };
        self.begin(head, framing);
        Ok(Some(at + len + 4))
    }

    fn response_framing(&mut self, head: &Head) -> Result<Framing, Fault> {
        let Start::Response { status } = head.start else {
            unreachable!("a response was parsed");
        };
        let declared = declared(head)?;
        if status < 200 && status != 101 {
            if self.asked.is_empty() {
                return Err(Fault("an interim response that nobody asked for"));
            }
            return no_body(declared);
        }
        let Some(method) = self.asked.pop_front() else {
            return Err(Fault("a response that nobody asked for"));
        };
        if status == 101 || status == 204 {
            return no_body(declared);
        }
        if (method == "HEAD" && !refuses_head(head)) || status == 304 {
            return Ok(Framing::None);
        }
        Ok(declared.unwrap_or(Framing::UntilClose))
    }

    fn begin(&mut self, head: Head, framing: Framing) {
        self.place = match framing {
            Framing::None | Framing::Length(0) => Place::Head,
            Framing::Length(len) => Place::Length(len),
            Framing::Chunked => Place::ChunkLine,
            Framing::UntilClose => Place::UntilClose,
        };
        self.messages.push(Message {
            start: head.start,
            http11: head.http11,
            fields: head.fields,
            framing,
            body: Vec::new(),
            trailers: Vec::new(),
            end: End::Open,
        });
        if self.place == Place::Head {
            self.complete();
        }
    }

    fn push_body(&mut self, at: usize, len: usize) {
        let message = self.messages.last_mut().expect("in a body");
        message.body.extend_from_slice(&self.pending[at..at + len]);
    }

    fn complete(&mut self) {
        let message = self.messages.last_mut().expect("in a message");
        message.end = End::Whole;
        self.place = if self.reads_requests && message.asks_upgrade() {
            Place::Held
        } else if message.status() == 101 {
            Place::Tunnel
        } else {
            Place::Head
        };
    }
}

/// Whether the gateway refuses what it could not read: it does not know then that `HEAD` was meant, and closes.
fn refuses_head(head: &Head) -> bool {
    const REASONS: [&[u8]; 5] = [
        b"bad_request",
        b"head_too_large",
        b"target_too_long",
        b"version_not_supported",
        b"expectation_failed",
    ];
    head.fields
        .iter()
        .any(|field| field.name == "x-gateway-reason" && REASONS.contains(&&field.value[..]))
}

fn no_body(declared: Option<Framing>) -> Result<Framing, Fault> {
    match declared {
        Some(Framing::Chunked) => Err(Fault("a transfer coding where no body can be")),
        _ => Ok(Framing::None),
    }
}

/// The line that begins here, if its CRLF is there.
fn line_of(rest: &[u8]) -> Option<&[u8]> {
    rest.windows(2)
        .position(|pair| pair == b"\r\n")
        .map(|end| &rest[..end])
}

fn partial_line(rest: &[u8]) -> Result<Option<usize>, Fault> {
    if rest.contains(&b'\n') {
        return Err(Fault("a lone LF in a line"));
    }
    Ok(None)
}

/// The size on a chunk's line; an extension is passed over if it holds no control character.
fn chunk_len(line: &[u8]) -> Result<u64, Fault> {
    let digits = line
        .iter()
        .take_while(|byte| byte.is_ascii_hexdigit())
        .count();
    if digits == 0 || digits > 16 {
        return Err(Fault("a chunk size is hexadecimal"));
    }
    let extension = line[digits..].trim_ascii_start();
    if !extension.is_empty() && extension[0] != b';' {
        return Err(Fault("a chunk size is followed by an extension or nothing"));
    }
    if extension.iter().any(|&byte| byte < 0x20 && byte != b'\t') {
        return Err(Fault("a control character in a chunk extension"));
    }
    let digits = std::str::from_utf8(&line[..digits]).expect("ASCII");
    u64::from_str_radix(digits, 16).map_err(|_| Fault("a chunk size too large"))
}
