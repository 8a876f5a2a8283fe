//! Naive twin of the chunked decoder, for the default limits.

use crate::delivery::Body;
use crate::oracle::{self, Opinion, bytes, latin1};

/// What the decoder should say of the bytes: the data up to where the opinion was formed, and the
/// opinion on the end of the message (bytes consumed and trailer lines).
pub(crate) fn body(raw: &[u8]) -> (Vec<u8>, Opinion<(usize, Vec<u8>)>) {
    let text = latin1(raw);
    let mut data = String::new();
    let mut rest = text.as_str();
    let mut extensions_bytes = 0;
    let opinion = loop {
        // A line ends at its first CR or LF, and that must be CRLF.
        let Some((line, after)) = rest.split_once("\r\n") else {
            break Opinion::Unfinished;
        };
        let Some((size, extensions)) = size_line(line) else {
            break Opinion::Refused;
        };
        extensions_bytes += extensions;
        if extensions_bytes > 16_384 || line.chars().count() > 256 {
            break Opinion::Refused;
        }
        rest = after;
        if size == 0 {
            break trailers(&text, rest);
        }
        let available = rest.chars().count();
        if available as u64 <= size {
            data.push_str(rest);
            break Opinion::Unfinished;
        }
        let end = rest
            .char_indices()
            .nth(size as usize)
            .map_or(rest.len(), |(at, _)| at);
        data.push_str(&rest[..end]);
        rest = &rest[end..];
        match rest.strip_prefix("\r\n") {
            Some(after) => rest = after,
            None if rest == "\r" => break Opinion::Unfinished,
            None => break Opinion::Refused,
        }
    };
    (bytes(&data), opinion)
}

/// The size, and how many bytes come after its digits.
fn size_line(line: &str) -> Option<(u64, usize)> {
    let digits_end = line
        .find(|c: char| !c.is_ascii_hexdigit())
        .unwrap_or(line.len());
    let (digits, extensions) = line.split_at(digits_end);
    let size = u64::from_str_radix(digits, 16).ok()?;
    let mut rest = extensions;
    while !rest.is_empty() {
        rest = extension(rest)?;
    }
    Some((size, extensions.chars().count()))
}

/// Cuts `BWS ";" BWS name [ BWS "=" BWS value ]` off the front.
fn extension(text: &str) -> Option<&str> {
    let blank = |text| str::trim_start_matches(text, [' ', '\t']);
    let token = |text: &'_ str| {
        let end = text
            .find(|c: char| !oracle::is_token(&c.to_string()))
            .unwrap_or(text.len());
        (end > 0).then_some(end)
    };
    let text = blank(blank(text).strip_prefix(';')?);
    let rest = &text[token(text)?..];
    let Some(value) = blank(rest).strip_prefix('=') else {
        return Some(rest);
    };
    let value = blank(value);
    let Some(quoted) = value.strip_prefix('"') else {
        return Some(&value[token(value)?..]);
    };
    let mut chars = quoted.char_indices();
    loop {
        match chars.next()? {
            (at, '"') => return Some(&quoted[at + 1..]),
            (_, '\\') => {
                let (_, escaped) = chars.next()?;
                oracle::is_value(&escaped.to_string()).then_some(())?;
            }
            (_, c) => oracle::is_value(&c.to_string()).then_some(())?,
        }
    }
}

fn trailers(text: &str, section: &str) -> Opinion<(usize, Vec<u8>)> {
    let consumed = |rest: &str| text.chars().count() - rest.chars().count();
    if let Some(rest) = section.strip_prefix("\r\n") {
        return Opinion::Accepted((consumed(rest), Vec::new()));
    }
    let Some((lines, rest)) = section.split_once("\r\n\r\n") else {
        return Opinion::Unfinished;
    };
    let Some(fields) = oracle::lines(lines).and_then(|lines| oracle::fields(&lines)) else {
        return Opinion::Refused;
    };
    if lines.chars().count() + 4 > 8192 || fields.len() > 32 {
        return Opinion::Refused;
    }
    let kept = fields.iter().filter(|field| {
        let name = latin1(&field.name).to_ascii_lowercase().replace('_', "-");
        // For the generator's names, whole or mutated; the whole list is tested beside it.
        !name.starts_with("content-")
            && !["host", "x-forwarded-for", "te"].contains(&name.as_str())
            && !name.starts_with("x-forwarded-")
    });
    let written: Vec<u8> = kept
        .flat_map(|field| [&field.name, b": ".as_slice(), &field.value, b"\r\n"].concat())
        .collect();
    Opinion::Accepted((consumed(rest), written))
}

/// Whether the decoder's account and the twin's agree.
pub(crate) fn agrees(given: &Body, expected: &(Vec<u8>, Opinion<(usize, Vec<u8>)>)) -> bool {
    let (data, opinion) = expected;
    match opinion {
        // What is unfinished may be refused already, never accepted, and its data is the same.
        Opinion::Unfinished => given.end.is_none() && given.data == *data,
        Opinion::Refused => given.error.is_some() && given.data == *data,
        Opinion::Accepted(end) => given.end.as_ref() == Some(end) && given.data == *data,
    }
}
