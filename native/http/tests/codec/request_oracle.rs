//! Naive twin of the request parser.

use gatewayx_http::{FieldId, Framing, HeadLimits, Method, TargetForm, Version};

use crate::delivery::Request;
use crate::oracle::{self, Opinion, bytes, latin1};

/// What `parse_request` should say of the bytes.
pub(crate) fn request(raw: &[u8], limits: &HeadLimits) -> Opinion<Request> {
    let text = latin1(raw);
    let mut rest = text.as_str();
    let mut empty_lines = 0;
    while let Some(after) = rest.strip_prefix("\r\n") {
        rest = after;
        empty_lines += 1;
    }
    if empty_lines > 4 {
        return Opinion::Refused;
    }
    let Some((head, _)) = rest.split_once("\r\n\r\n") else {
        return Opinion::Unfinished;
    };
    let len = 2 * empty_lines + head.chars().count() + 4;
    match judge(head, len, limits) {
        Some(request) if len <= limits.head_max_bytes => Opinion::Accepted(request),
        _ => Opinion::Refused,
    }
}

fn judge(head: &str, len: usize, limits: &HeadLimits) -> Option<Request> {
    let lines = oracle::lines(head)?;
    let [method_name, target, version] = lines[0].split(' ').collect::<Vec<_>>().try_into().ok()?;
    if !oracle::is_token(method_name) || method_name.len() > 32 {
        return None;
    }
    let method = method(method_name);
    let version = oracle::version(version)?;
    if target.len() > limits.target_max_bytes {
        return None;
    }
    let (form, authority, path, query) = split_target(method, target)?;

    let mut fields = oracle::fields(&lines[1..])?;
    if fields.len() > limits.fields_max_count {
        return None;
    }
    let hosts = oracle::values(&fields, FieldId::Host);
    let host = match hosts.as_slice() {
        [] if version == Version::Http10 => "",
        [host] if oracle::is_authority(host) => host,
        _ => return None,
    };
    let framing = match oracle::framing(&fields, version)? {
        (_, true) => Framing::Chunked,
        (Some(length), false) => Framing::Length(length),
        (None, false) => Framing::None,
    };
    let has_body = !matches!(framing, Framing::None | Framing::Length(0));
    let options = oracle::connection(&mut fields)?;
    if !options.iter().all(|option| oracle::is_token(option)) {
        return None;
    }
    let has_option = |name: &str| options.iter().any(|option| option == name);

    let mut expects = false;
    let mut upgrade = String::new();
    let mut te_trailers = false;
    if version == Version::Http11 {
        let expectations = oracle::values(&fields, FieldId::Expect);
        if !expectations
            .iter()
            .all(|value| value.eq_ignore_ascii_case("100-continue"))
        {
            return None;
        }
        expects = !expectations.is_empty() && has_body;
        upgrade = oracle::upgrade(&fields, &options)?;
        if !upgrade.is_empty() && has_body {
            return None;
        }
        te_trailers = oracle::members(&fields, FieldId::Te).contains(&"trailers".into());
    }
    Some(Request {
        method,
        method_name: bytes(method_name),
        form,
        path: bytes(&path),
        query: bytes(&query),
        host: bytes(if authority.is_empty() {
            host
        } else {
            &authority
        }),
        version,
        fields,
        framing,
        keep_alive: !has_option("close")
            && (version == Version::Http11 || has_option("keep-alive")),
        expect_continue: expects,
        upgrade: bytes(&upgrade),
        te_trailers,
        len,
    })
}

fn method(name: &str) -> Method {
    match name {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "DELETE" => Method::Delete,
        "CONNECT" => Method::Connect,
        "OPTIONS" => Method::Options,
        "TRACE" => Method::Trace,
        "PATCH" => Method::Patch,
        _ => Method::Other,
    }
}

/// Form, authority, path and query.
fn split_target(method: Method, target: &str) -> Option<(TargetForm, String, String, String)> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "!$%&'()*+,-./:;=?@[]_~".contains(c);
    if target.is_empty() || !target.chars().all(allowed) {
        return None;
    }
    if method == Method::Connect {
        let has_port = target
            .rsplit_once(':')
            .is_some_and(|(_, port)| port.chars().all(|c| c.is_ascii_digit()) && !port.is_empty());
        let good = oracle::is_authority(target) && has_port && !target.ends_with(']');
        return good.then(|| {
            (
                TargetForm::Authority,
                target.into(),
                String::new(),
                String::new(),
            )
        });
    }
    if target == "*" {
        return (method == Method::Options).then(|| {
            (
                TargetForm::Asterisk,
                String::new(),
                "*".into(),
                String::new(),
            )
        });
    }
    let (form, authority, local) = if target.starts_with('/') {
        (TargetForm::Origin, "", target)
    } else {
        let (scheme, rest) = target.split_once("://")?;
        if !["http", "https"].contains(&scheme.to_ascii_lowercase().as_str()) {
            return None;
        }
        let (authority, local) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if !oracle::is_authority(authority) {
            return None;
        }
        (TargetForm::Absolute, authority, local)
    };
    let decoded = percent_decoded(target)?;
    if decoded.contains('\0') {
        return None;
    }
    let (path, query) = local.split_at(local.find('?').unwrap_or(local.len()));
    let climbs = percent_decoded(path)?
        .split(['/', '\\'])
        .any(|segment| matches!(segment.split(';').next(), Some("." | "..")));
    (!climbs).then(|| (form, authority.into(), path.into(), query.into()))
}

/// Every escape as the character it stands for, or `None` when one is malformed.
fn percent_decoded(text: &str) -> Option<String> {
    let mut pieces = text.split('%');
    let mut decoded = String::from(pieces.next()?);
    for piece in pieces {
        let digits = piece
            .get(..2)
            .filter(|digits| digits.chars().all(|c| c.is_ascii_hexdigit()))?;
        decoded.push(u8::from_str_radix(digits, 16).ok()? as char);
        decoded.push_str(&piece[2..]);
    }
    Some(decoded)
}
