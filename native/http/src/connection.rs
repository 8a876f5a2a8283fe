//! `Connection`, what it nominates, and `Upgrade`: RFC 9110 sections 7.6.1 and 7.8.

use crate::class::{self, TOKEN};
use crate::lines::{Census, members, value_of};
use crate::{Field, FieldId, ParseError, Span};

/// Options that are looked at. Each is compared with every field, so that the work a head can cause
/// is bounded by this times `fields_max_count`. Heads in use have one to three.
const OPTIONS_MAX_COUNT: usize = 32;

/// What the `Connection` lines of a head say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) close: bool,
    pub(crate) keep_alive: bool,
    pub(crate) upgrade: bool,
    /// There was an option that is no token; it was passed over.
    pub(crate) malformed: bool,
}

impl Options {
    /// Whether the sender keeps the connection open: RFC 9112 section 9.3.
    #[inline]
    pub(crate) fn persists(self, version: crate::Version) -> bool {
        !self.close && (version == crate::Version::Http11 || self.keep_alive)
    }
}

/// Reads all `Connection` lines and marks the fields that they nominate.
pub(crate) fn parse_connection(
    buf: &[u8],
    fields: &mut [Field],
    census: &Census,
) -> Result<Options, ParseError> {
    let mut options = Options::default();
    if !census.seen.contains(FieldId::Connection) {
        return Ok(options);
    }
    let mut count = 0;
    for index in 0..fields.len() {
        if fields[index].id != FieldId::Connection {
            continue;
        }
        for option in members(fields[index].value.of(buf)) {
            count += 1;
            if count > OPTIONS_MAX_COUNT {
                return Err(ParseError::TooManyConnectionOptions);
            }
            if option.eq_ignore_ascii_case(b"close") {
                options.close = true;
                nominate(buf, fields, option)?;
            } else if option.eq_ignore_ascii_case(b"keep-alive") {
                options.keep_alive = true;
            } else if option.eq_ignore_ascii_case(b"upgrade") {
                options.upgrade = true;
            } else if class::all(option, TOKEN) {
                nominate(buf, fields, option)?;
            } else {
                options.malformed = true;
            }
        }
    }
    Ok(options)
}

/// Marks the fields of that name as hop-by-hop.
fn nominate(buf: &[u8], fields: &mut [Field], name: &[u8]) -> Result<(), ParseError> {
    let id = FieldId::of(name);
    // Stricter: the RFC has senders never nominate what all recipients need, and recipients remove
    // whatever is nominated. A hop that removes one of these changes where the message goes or
    // ends.
    if matches!(
        id,
        FieldId::Host | FieldId::ContentLength | FieldId::TransferEncoding
    ) {
        return Err(ParseError::NominatedFraming);
    }
    for field in fields {
        if field.id == id && (id != FieldId::Other || name.eq_ignore_ascii_case(field.name.of(buf)))
        {
            field.hop_by_hop = true;
        }
    }
    Ok(())
}

/// The value of `Upgrade` when it takes effect, else empty.
pub(crate) fn parse_upgrade(
    buf: &[u8],
    fields: &[Field],
    census: &Census,
    options: Options,
) -> Result<Span, ParseError> {
    if !options.upgrade || !census.seen.contains(FieldId::Upgrade) {
        return Ok(Span::default());
    }
    // Stricter: a list may be spread over lines; no client in use does, and the last or first may
    // win.
    if census.repeated.contains(FieldId::Upgrade) {
        return Err(ParseError::DuplicateUpgrade);
    }
    let value = value_of(fields, FieldId::Upgrade);
    if members(value.of(buf)).all(is_protocol) {
        Ok(value)
    } else {
        Err(ParseError::BadUpgrade)
    }
}

/// `protocol-name ["/" protocol-version]`
fn is_protocol(protocol: &[u8]) -> bool {
    match protocol.iter().position(|&byte| byte == b'/') {
        None => class::all(protocol, TOKEN),
        Some(slash) => {
            class::all(&protocol[..slash], TOKEN) && class::all(&protocol[slash + 1..], TOKEN)
        }
    }
}
