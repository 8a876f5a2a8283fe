//! The back end of the proxy benchmarks: one thread that answers prepared responses from memory.
//!
//! It shares a core with the load generator while the proxy has a core to itself, so it must cost
//! less than any proxy: one `recv` and one `send` a request, one `epoll_wait` a batch, no
//! allocation. A static file server costs more than the proxies and would become what is measured.
//!
//! Usage: `origin ADDRESS BODY_BYTES...`. It answers `GET /b/N` with N bytes (byte i is `i % 251`, so
//! a shifted or torn body shows), `GET /b/echo` with the request head as it arrived and
//! `GET /b/accepted` with the number of connections accepted so far; anything else is 404. It takes
//! what proxies send: requests without a body, one at a time on a connection.
//!
//! Readiness is edge-triggered for both directions, registered once. A read that does not fill the
//! buffer has drained the socket, so no second read looks for `EAGAIN`.

use std::env;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::rc::Rc;

const HEAD_MAX_BYTES: usize = 64 * 1024;
const EVENTS_MAX: usize = 1024;
const BACKLOG: i32 = 4096;

const EPOLL_CTL_ADD: i32 = 1;
const EPOLLIN: u32 = 0x001;
const EPOLLOUT: u32 = 0x004;
const EPOLLRDHUP: u32 = 0x2000;
const EPOLLET: u32 = 1 << 31;

/// `struct epoll_event` of the kernel, which packs it on x86-64 only.
#[derive(Clone, Copy)]
#[cfg_attr(target_arch = "x86_64", repr(C, packed))]
#[cfg_attr(not(target_arch = "x86_64"), repr(C))]
struct Event {
    readiness: u32,
    fd: u64,
}

extern "C" {
    fn epoll_create1(flags: i32) -> RawFd;
    fn epoll_ctl(epoll: RawFd, operation: i32, fd: RawFd, event: *mut Event) -> i32;
    fn epoll_wait(epoll: RawFd, events: *mut Event, events_max: i32, timeout_ms: i32) -> i32;
    fn listen(fd: RawFd, backlog: i32) -> i32;
}

struct Poller(RawFd);

impl Poller {
    fn new() -> io::Result<Self> {
        // SAFETY: takes no pointer; a negative result is turned into an error.
        checked(unsafe { epoll_create1(0) }).map(Self)
    }

    fn add(&self, fd: RawFd, readiness: u32) -> io::Result<()> {
        let mut event = Event {
            readiness: readiness | EPOLLET,
            fd: fd as u64,
        };
        // SAFETY: `event` lives through the call and the kernel copies it.
        checked(unsafe { epoll_ctl(self.0, EPOLL_CTL_ADD, fd, &mut event) }).map(drop)
    }

    fn wait(&self, events: &mut [Event]) -> io::Result<usize> {
        // SAFETY: the kernel writes at most `events.len()` entries into the slice.
        let count = unsafe { epoll_wait(self.0, events.as_mut_ptr(), events.len() as i32, -1) };
        match checked(count) {
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(0),
            result => result.map(|count| count as usize),
        }
    }
}

fn checked(result: i32) -> io::Result<i32> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

fn response(status: &str, body: &[u8]) -> Rc<[u8]> {
    let head = format!(
        "HTTP/1.1 {status}\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\nServer: origin\r\n\
         Content-Type: application/octet-stream\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat().into()
}

/// What the origin can answer; everything but `/b/echo` and `/b/accepted` is prepared at the start.
struct Answers {
    bodies: Vec<(Vec<u8>, Rc<[u8]>)>,
    not_found: Rc<[u8]>,
}

impl Answers {
    fn new(sizes_bytes: &[usize]) -> Self {
        let bodies = sizes_bytes.iter().map(|&size| {
            let body: Vec<u8> = (0..size).map(|index| (index % 251) as u8).collect();
            (
                format!("GET /b/{size} ").into_bytes(),
                response("200 OK", &body),
            )
        });
        Self {
            bodies: bodies.collect(),
            not_found: response("404 Not Found", b""),
        }
    }

    fn to(&self, head: &[u8], accepted_count: u64) -> Rc<[u8]> {
        if let Some((_, answer)) = self
            .bodies
            .iter()
            .find(|(start, _)| head.starts_with(start))
        {
            Rc::clone(answer)
        } else if head.starts_with(b"GET /b/echo ") {
            response("200 OK", head)
        } else if head.starts_with(b"GET /b/accepted ") {
            response("200 OK", accepted_count.to_string().as_bytes())
        } else {
            Rc::clone(&self.not_found)
        }
    }
}

/// One connection: a head that arrived in parts, and a response that the kernel took in part.
struct Conn {
    stream: TcpStream,
    partial_head: Vec<u8>,
    unsent: Option<(Rc<[u8]>, usize)>,
}

impl Conn {
    /// Serves what is ready. `false` when the peer has finished or broken the connection.
    fn serve(&mut self, buffer: &mut [u8], answers: &Answers, accepted_count: u64) -> bool {
        if self.unsent.is_some() && !self.flush() {
            return false;
        }
        loop {
            let count = match self.stream.read(buffer) {
                Ok(0) => return false,
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(_) => return false,
            };
            let received = &buffer[..count];
            let answer = if self.partial_head.is_empty() && received.ends_with(b"\r\n\r\n") {
                answers.to(received, accepted_count)
            } else {
                self.partial_head.extend_from_slice(received);
                if self.partial_head.len() > HEAD_MAX_BYTES {
                    return false;
                }
                if !self.partial_head.ends_with(b"\r\n\r\n") {
                    continue;
                }
                let answer = answers.to(&self.partial_head, accepted_count);
                self.partial_head.clear();
                answer
            };
            self.unsent = Some((answer, 0));
            if !self.flush() {
                return false;
            }
            if count < buffer.len() {
                return true;
            }
        }
    }

    /// Sends on; what is left waits for the next `EPOLLOUT`. `false` when the connection is broken.
    fn flush(&mut self) -> bool {
        while let Some((answer, sent)) = &mut self.unsent {
            match self.stream.write(&answer[*sent..]) {
                Ok(count) if *sent + count == answer.len() => self.unsent = None,
                Ok(count) => *sent += count,
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            }
        }
        true
    }
}

fn main() -> io::Result<()> {
    let mut arguments = env::args().skip(1);
    let address = arguments
        .next()
        .expect("usage: origin ADDRESS BODY_BYTES...");
    let sizes: Vec<usize> = arguments
        .map(|size| size.parse().expect("BODY_BYTES is a whole number"))
        .collect();
    let answers = Answers::new(&sizes);
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    // SAFETY: the descriptor is a listening socket that outlives the call; this widens its backlog.
    checked(unsafe { listen(listener.as_raw_fd(), BACKLOG) })?;

    let poller = Poller::new()?;
    poller.add(listener.as_raw_fd(), EPOLLIN)?;
    let mut conns: Vec<Option<Conn>> = Vec::new();
    let mut events = [Event {
        readiness: 0,
        fd: 0,
    }; EVENTS_MAX];
    let mut buffer = vec![0; HEAD_MAX_BYTES];
    let mut accepted_count = 0;
    loop {
        let count = poller.wait(&mut events)?;
        for event in &events[..count] {
            let fd = event.fd as RawFd;
            if fd == listener.as_raw_fd() {
                while let Ok((stream, _)) = listener.accept() {
                    stream.set_nonblocking(true)?;
                    stream.set_nodelay(true)?;
                    let index = stream.as_raw_fd() as usize;
                    poller.add(stream.as_raw_fd(), EPOLLIN | EPOLLOUT | EPOLLRDHUP)?;
                    if conns.len() <= index {
                        conns.resize_with(index + 1, || None);
                    }
                    conns[index] = Some(Conn {
                        stream,
                        partial_head: Vec::new(),
                        unsent: None,
                    });
                    accepted_count += 1;
                }
            } else if let Some(conn) = &mut conns[fd as usize] {
                let open = conn.serve(&mut buffer, &answers, accepted_count);
                if !open || event.readiness & EPOLLRDHUP != 0 {
                    conns[fd as usize] = None;
                }
            }
        }
    }
}
