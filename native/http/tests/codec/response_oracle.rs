//! Naive twin of the response parser.

use gatewayx_http::{FieldId, HeadLimits, Method, Oddities, ResponseFraming, Version};

use crate::delivery::{FieldView, Response};
use crate::oracle::{self, Opinion, bytes, latin1};

/// What `parse_response` should say of the bytes.
pub(crate) fn response(method: Method, raw: &[u8], limits: &HeadLimits) -> Opinion<Response> {
    let text = latin1(raw);
    let Some((head, _)) = text.split_once("\r\n\r\n") else {
        return Opinion::Unfinished;
    };
    let len = head.chars().count() + 4;
    match judge(method, head, len, limits) {
        Some(response) if len <= limits.head_max_bytes => Opinion::Accepted(response),
        _ => Opinion::Refused,
    }
}

fn judge(method: Method, head: &str, len: usize, limits: &HeadLimits) -> Option<Response> {
    let lines = oracle::lines(head)?;
    let mut oddities = Oddities::default();
    let (version, rest) = lines[0].split_once(' ')?;
    let version = oracle::version(version)?;
    let (code, reason) = match rest.split_once(' ') {
        Some((code, reason)) => (code, reason),
        None => {
            oddities.insert(Oddities::NO_REASON);
            (rest, "")
        }
    };
    let status: u16 = code.parse().ok()?;
    if code.len() != 3
        || status < 100
        || !code.chars().all(|c| c.is_ascii_digit())
        || !oracle::is_value(reason)
    {
        return None;
    }
    if !REGISTERED.contains(&status) {
        oddities.insert(Oddities::UNKNOWN_STATUS);
    }

    let mut fields = oracle::fields(&lines[1..])?;
    if fields.len() > limits.fields_max_count {
        return None;
    }
    if fields.iter().any(has_odd_case) {
        oddities.insert(Oddities::ODD_CASE);
    }
    let (length, chunked) = oracle::framing(&fields, version)?;
    let options = oracle::connection(&mut fields)?;
    let has_option = |name: &str| options.iter().any(|option| option == name);
    let mut keep_alive =
        !has_option("close") && (version == Version::Http11 || has_option("keep-alive"));
    if !options.iter().all(|option| oracle::is_token(option)) {
        oddities.insert(Oddities::BAD_CONNECTION_OPTION);
        keep_alive = false;
    }
    let upgrade = match oracle::upgrade(&fields, &options) {
        _ if version == Version::Http10 => String::new(),
        None if status == 101 => return None,
        None => String::new(),
        Some(upgrade) => upgrade,
    };

    let bodiless = status < 200 || status == 204;
    if bodiless {
        if chunked {
            return None;
        }
        if length.is_some_and(|length| length > 0) {
            return None;
        }
        for field in &mut fields {
            field.hop_by_hop |= field.id == FieldId::ContentLength;
        }
    }
    let tunnel = method == Method::Connect && (200..300).contains(&status);
    let framing = if bodiless || tunnel || method == Method::Head || status == 304 {
        ResponseFraming::None
    } else if chunked {
        ResponseFraming::Chunked
    } else if let Some(length) = length {
        ResponseFraming::Length(length)
    } else {
        if version == Version::Http10 {
            oddities.insert(Oddities::HTTP10_NO_LENGTH);
        }
        ResponseFraming::UntilClose
    };
    // For 204 as an answer to CONNECT both rules say that there is no body; the status is judged
    // first.
    let tunnel = tunnel && status != 204;
    keep_alive &= !(tunnel || status == 101 || framing == ResponseFraming::UntilClose);
    Some(Response {
        version,
        status,
        reason: bytes(reason),
        fields,
        framing,
        keep_alive,
        upgrade: bytes(&upgrade),
        oddities,
        len,
    })
}

fn has_odd_case(field: &FieldView) -> bool {
    field.id != FieldId::Other
        && latin1(&field.name).split('-').any(|word| {
            let begins_small = word.to_ascii_lowercase()[1..] == word[1..];
            !begins_small && word.to_ascii_uppercase() != word
        })
}

/// The HTTP Status Code Registry of IANA.
const REGISTERED: [u16; 64] = [
    100, 101, 102, 103, 104, 200, 201, 202, 203, 204, 205, 206, 207, 208, 226, 300, 301, 302, 303,
    304, 305, 306, 307, 308, 400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411, 412, 413,
    414, 415, 416, 417, 418, 421, 422, 423, 424, 425, 426, 428, 429, 431, 451, 500, 501, 502, 503,
    504, 505, 506, 507, 508, 510, 511,
];
