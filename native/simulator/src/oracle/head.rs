//! Heads: the first line, field lines, and how the body is framed.

use super::{Fault, Field, Framing, Start};

/// Lines of a head without its last, empty one.
pub(super) struct Head {
    pub(super) start: Start,
    pub(super) http11: bool,
    pub(super) fields: Vec<Field>,
}

pub(super) fn parse_request(head: &[u8]) -> Result<Head, Fault> {
    let (first, fields) = parse_lines(head)?;
    let parts: Vec<&[u8]> = first.split(|&byte| byte == b' ').collect();
    let [method, target, version] = parts[..] else {
        return Err(Fault("a request line has three parts"));
    };
    if !is_token(method) {
        return Err(Fault("a method is a token"));
    }
    if target.is_empty() || !target.iter().all(|byte| (0x21..0x7f).contains(byte)) {
        return Err(Fault("a target is visible ASCII"));
    }
    Ok(Head {
        start: Start::Request {
            method: text(method),
            target: text(target),
        },
        http11: parse_version(version)?,
        fields,
    })
}

pub(super) fn parse_response(head: &[u8]) -> Result<Head, Fault> {
    let (first, fields) = parse_lines(head)?;
    if first.len() < 12 || first[8] != b' ' {
        return Err(Fault("a status line begins with version and code"));
    }
    let code = &first[9..12];
    if !code.iter().all(u8::is_ascii_digit) || code[0] == b'0' {
        return Err(Fault("a status is three digits"));
    }
    if first.len() > 12 && first[12] != b' ' {
        return Err(Fault("a status is followed by a space"));
    }
    let status = text(code).parse().expect("three digits");
    Ok(Head {
        start: Start::Response { status },
        http11: parse_version(&first[..8])?,
        fields,
    })
}

fn parse_version(version: &[u8]) -> Result<bool, Fault> {
    match version {
        b"HTTP/1.1" => Ok(true),
        b"HTTP/1.0" => Ok(false),
        _ => Err(Fault("unknown version")),
    }
}

fn parse_lines(head: &[u8]) -> Result<(&[u8], Vec<Field>), Fault> {
    let mut lines = lines(head);
    let first = lines.next().unwrap_or_default();
    if !first.iter().all(|&byte| is_text(byte)) {
        return Err(Fault("a control character in the first line"));
    }
    let fields = lines.map(parse_field).collect::<Result<_, _>>()?;
    Ok((first, fields))
}

/// Splits at CRLF only: a lone CR or LF stays in its line, where it is refused.
fn lines(mut rest: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = rest.windows(2).position(|pair| pair == b"\r\n");
        let (line, next) = match end {
            Some(end) => (&rest[..end], &rest[end + 2..]),
            None => (rest, &rest[rest.len()..]),
        };
        rest = next;
        Some(line)
    })
}

pub(super) fn parse_field(line: &[u8]) -> Result<Field, Fault> {
    let colon = line
        .iter()
        .position(|&byte| byte == b':')
        .ok_or(Fault("a field line has a colon"))?;
    let (name, value) = (&line[..colon], without_blanks(&line[colon + 1..]));
    if !is_token(name) {
        return Err(Fault("a field name is a token"));
    }
    if !value.iter().all(|&byte| is_text(byte)) {
        return Err(Fault("a control character in a field value"));
    }
    Ok(Field {
        name: text(name).to_ascii_lowercase(),
        value: value.to_vec(),
    })
}

/// What the two framing fields say, for requests and responses alike.
pub(super) fn declared(head: &Head) -> Result<Option<Framing>, Fault> {
    let values = |name: &str| -> Vec<&[u8]> {
        head.fields
            .iter()
            .filter(|field| field.name == name)
            .map(|field| &field.value[..])
            .collect()
    };
    match (
        &values("content-length")[..],
        &values("transfer-encoding")[..],
    ) {
        ([], []) => Ok(None),
        ([length], []) => {
            if length.is_empty() || !length.iter().all(u8::is_ascii_digit) {
                return Err(Fault("a length is digits"));
            }
            let length = text(length)
                .parse()
                .map_err(|_| Fault("a length too large"))?;
            Ok(Some(Framing::Length(length)))
        }
        ([], [coding]) => {
            if !head.http11 {
                return Err(Fault("a transfer coding in HTTP/1.0"));
            }
            if !coding.eq_ignore_ascii_case(b"chunked") {
                return Err(Fault("a transfer coding that is not chunked"));
            }
            Ok(Some(Framing::Chunked))
        }
        _ => Err(Fault("more than one framing field")),
    }
}

/// Without spaces and tabs at both ends; a stray CR there has to be seen.
fn without_blanks(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty()
        && bytes
            .iter()
            .all(|&byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= 0x20 && byte != 0x7f)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
