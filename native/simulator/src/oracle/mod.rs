//! A second opinion on HTTP/1.1: a small, slow, strict reader that shares no code with the gateway.
//!
//! It reads messages out of a stream of bytes the obvious way: collect a head, split it into lines, split the
//! lines into fields, then count the body. It refuses whatever two readers could frame differently and has
//! no opinion on anything else. The simulator holds one against each direction of each connection of the
//! gateway; that the gateway's own output is read by something that did not write it is the point.

mod head;
mod reader;
#[cfg(test)]
mod tests;

pub use reader::Reader;

/// A message breaks a rule; says which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault(pub &'static str);

/// One field line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// In lower case.
    pub name: String,
    /// Without surrounding blanks.
    pub value: Vec<u8>,
}

/// The first line of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// Of a request.
    Request {
        /// As sent.
        method: String,
        /// As sent.
        target: String,
    },
    /// Of a response.
    Response {
        /// 100 to 999.
        status: u16,
    },
}

/// How the body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    None,
    /// So many bytes.
    Length(u64),
    /// In chunks.
    Chunked,
    /// With the connection.
    UntilClose,
}

/// Where a message stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// More of it may come.
    Open,
    /// It is complete.
    Whole,
    /// The connection ended first, or its body breaks a rule.
    Cut,
}

/// A message whose head is complete.
#[derive(Clone, Debug)]
pub struct Message {
    /// First line.
    pub start: Start,
    /// HTTP/1.1, else HTTP/1.0.
    pub http11: bool,
    /// Field lines in order.
    pub fields: Vec<Field>,
    /// How the body ends.
    pub framing: Framing,
    /// What has come of the body, without chunk framing.
    pub body: Vec<u8>,
    /// Trailer fields.
    pub trailers: Vec<Field>,
    /// Where it stands.
    pub end: End,
}

impl Message {
    /// The method of a request; of a response, nothing.
    pub fn method(&self) -> &str {
        match &self.start {
            Start::Request { method, .. } => method,
            Start::Response { .. } => "",
        }
    }

    /// The target of a request.
    pub fn target(&self) -> &str {
        match &self.start {
            Start::Request { target, .. } => target,
            Start::Response { .. } => "",
        }
    }

    /// The status of a response.
    pub fn status(&self) -> u16 {
        match self.start {
            Start::Request { .. } => 0,
            Start::Response { status } => status,
        }
    }

    /// Whether it only announces the response proper.
    pub fn is_interim(&self) -> bool {
        (100..200).contains(&self.status()) && self.status() != 101
    }

    /// The value of the only field of that name.
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut values = self.fields.iter().filter(|field| field.name == name);
        match (values.next(), values.next()) {
            (Some(only), None) => std::str::from_utf8(&only.value).ok(),
            _ => None,
        }
    }

    /// Whether a comma-separated field has a member, whatever its case.
    pub fn lists(&self, name: &str, member: &str) -> bool {
        self.fields
            .iter()
            .filter(|field| field.name == name)
            .flat_map(|field| field.value.split(|&byte| byte == b','))
            .any(|found| found.trim_ascii().eq_ignore_ascii_case(member.as_bytes()))
    }

    /// Whether its sender keeps the connection open behind it.
    pub fn persists(&self) -> bool {
        !self.lists("connection", "close")
            && (self.http11 || self.lists("connection", "keep-alive"))
            && self.framing != Framing::UntilClose
    }

    /// Whether a request asks for another protocol.
    pub fn asks_upgrade(&self) -> bool {
        self.http11
            && self.lists("connection", "upgrade")
            && self.fields.iter().any(|field| field.name == "upgrade")
    }
}
