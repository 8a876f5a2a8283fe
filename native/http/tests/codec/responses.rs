//! Response heads: what passes, what does not, and by which section.

use gatewayx_http::ParseError::{self, *};
use gatewayx_http::{Method, Oddities, ResponseFraming, Version};

use crate::delivery::{Response, response, response_to};

/// RFC section, response head, rule.
#[rustfmt::skip]
pub(crate) const REFUSED: &[(&str, &str, ParseError)] = &[
    // Status line.
    ("9112-4", "not http at all\r\n\r\n", BadVersion),
    ("9112-2.2", "\r\nHTTP/1.1 200 OK\r\n\r\n", BadVersion),
    ("9112-2.3", "ICY 200 OK\r\n\r\n", BadVersion),
    ("9112-2.3", "http/1.1 200 OK\r\n\r\n", BadVersion),
    ("9112-2.3", "HTTP/2.0 200 OK\r\n\r\n", UnsupportedVersion),
    ("9112-2.3", "HTTP/2 200 OK\r\n\r\n", BadVersion),
    ("9112-4", "HTTP/1.10 200 OK\r\n\r\n", BadStatusLine),
    ("9112-4", "HTTP/1.1\t200 OK\r\n\r\n", BadStatusLine),
    ("9112-4", "HTTP/1.1\r\n\r\n", BadStatusLine),
    ("9112-4", "HTTP/1.1  200 OK\r\n\r\n", BadStatus),
    ("9112-4", "HTTP/1.1 2000 OK\r\n\r\n", BadStatus),
    ("9112-4", "HTTP/1.1 20 OK\r\n\r\n", BadStatus),
    ("9112-4", "HTTP/1.1 20x OK\r\n\r\n", BadStatus),
    ("9112-4", "HTTP/1.1 +20 OK\r\n\r\n", BadStatus),
    ("9112-4", "HTTP/1.1 200\tOK\r\n\r\n", BadStatus),
    ("9112-4", "HTTP/1.1 \r\n\r\n", BadStatus),
    ("9110-15", "HTTP/1.1 099 X\r\n\r\n", BadStatus),
    ("9110-15", "HTTP/1.1 000 X\r\n\r\n", BadStatus),
    ("9112-4", "HTTP/1.1 200 O\0K\r\n\r\n", BadReason),
    ("9112-4", "HTTP/1.1 200 O\x7fK\r\n\r\n", BadReason),
    ("9112-2.2", "HTTP/1.1 200 OK\n\n", BareLf),
    ("9112-2.2", "HTTP/1.1 200\n\n", BareLf),
    ("9112-2.2", "HTTP/1.1 200 OK\rX: 1\r\n\r\n", BareCr),
    ("9112-2.2", "HTTP/1.1 200\rX: 1\r\n\r\n", BareCr),
    // Field lines.
    ("9112-11.1", "HTTP/1.1 200 OK\r\nX: a\rSet-Cookie: evil=1\r\n\r\n", BareCr),
    ("9112-2.2", "HTTP/1.1 200 OK\r\nX: a\nSet-Cookie: evil=1\r\n\r\n", BareLf),
    ("9112-5.1", "HTTP/1.1 200 OK\r\nX : a\r\n\r\n", WhitespaceBeforeColon),
    ("9112-5.2", "HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n", ObsFold),
    ("9110-5.5", "HTTP/1.1 200 OK\r\nX: a\0\r\n\r\n", BadFieldValue),
    ("9112-5", "HTTP/1.1 200 OK\r\nNoColon\r\n\r\n", MissingColon),
    // Framing.
    ("9112-6.3", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", DuplicateContentLength),
    ("9112-6.3", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", DuplicateContentLength),
    ("9112-6.3", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", BadContentLength),
    ("9112-6.3", "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n", BadContentLength),
    ("9112-6.3", "HTTP/1.1 304 Not Modified\r\nContent-Length: x\r\n\r\n", BadContentLength),
    ("9112-6.1", "HTTP/1.1 200 OK\r\nTransfer-Encoding: foo\r\n\r\n", BadTransferEncoding),
    ("9112-6.1", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", BadTransferEncoding),
    ("9112-6.1", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", TransferEncodingWithLength),
    ("9112-6.1", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", TransferEncodingWithLength),
    ("9112-6.1", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", TransferEncodingInHttp10),
    ("9112-6.1", "HTTP/1.1 103 Early Hints\r\nTransfer-Encoding: chunked\r\n\r\n", TransferEncodingForbidden),
    ("9112-6.1", "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n", TransferEncodingForbidden),
    ("9110-8.6", "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello", ContentLengthForbidden),
    // Connection and Upgrade.
    ("9110-7.6.1", "HTTP/1.1 200 OK\r\nConnection: content-length\r\nContent-Length: 5\r\n\r\n", NominatedFraming),
    ("9110-7.8", "HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: a\r\nUpgrade: b\r\n\r\n", DuplicateUpgrade),
    ("9110-7.8", "HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: a b\r\n\r\n", BadUpgrade),
];

fn latin1(text: &str) -> Vec<u8> {
    text.chars().map(|c| c as u8).collect()
}

fn good(raw: &str) -> Response {
    good_to(Method::Get, raw)
}

fn good_to(method: Method, raw: &str) -> Response {
    let head = response_to(method, latin1(raw)).unwrap_or_else(|error| panic!("{raw:?}: {error}"));
    let head = head.expect("whole");
    assert_eq!(head.len, raw.chars().count());
    head
}

#[test]
fn refused() {
    for &(section, raw, error) in REFUSED {
        assert_eq!(response(latin1(raw)), Err(error), "{section}: {raw:?}");
    }
}

#[test]
fn status_lines() {
    for (line, version, status, reason) in [
        ("HTTP/1.1 200 OK", Version::Http11, 200, "OK"),
        (
            "HTTP/1.0 404 Not  Found\t",
            Version::Http10,
            404,
            "Not  Found\t",
        ),
        ("HTTP/1.1 200 ", Version::Http11, 200, ""),
        (
            "HTTP/1.1 200  two spaces",
            Version::Http11,
            200,
            " two spaces",
        ),
        ("HTTP/1.1 100 Continue", Version::Http11, 100, "Continue"),
        ("HTTP/1.1 500 caf\u{e9}", Version::Http11, 500, "caf\u{e9}"),
    ] {
        let head = good(&format!("{line}\r\n\r\n"));
        assert_eq!((head.version, head.status), (version, status), "{line}");
        assert_eq!(head.reason, latin1(reason), "{line}");
        assert!(!head.oddities.contains(Oddities::NO_REASON), "{line}");
    }
    for raw in [
        "",
        "H",
        "HTTP/1.1",
        "HTTP/1.1 ",
        "HTTP/1.1 2",
        "HTTP/1.1 200",
        "HTTP/1.1 200 OK",
        "HTTP/1.1 200 OK\r",
    ] {
        assert_eq!(response(raw), Ok(None), "{raw:?}");
    }
}

#[test]
fn framing_by_method_status_and_fields() {
    use ResponseFraming::{Chunked, Length, None, UntilClose};
    // RFC 9112 section 6.3: method, status, fields, framing, whether the connection stays.
    for (method, status, fields, framing, keep_alive) in [
        (Method::Get, 200, "Content-Length: 5\r\n", Length(5), true),
        (Method::Get, 200, "Content-Length: 0\r\n", Length(0), true),
        (
            Method::Get,
            200,
            "Transfer-Encoding: chunked\r\n",
            Chunked,
            true,
        ),
        (Method::Get, 200, "", UntilClose, false),
        (
            Method::Get,
            200,
            "Connection: keep-alive\r\n",
            UntilClose,
            false,
        ),
        (
            Method::Get,
            200,
            "Content-Length: 5\r\nConnection: close\r\n",
            Length(5),
            false,
        ),
        (
            Method::Get,
            200,
            "Content-Length: 5\r\nConnection: Keep-Alive, CLOSE\r\n",
            Length(5),
            false,
        ),
        (Method::Get, 404, "Content-Length: 5\r\n", Length(5), true),
        (Method::Get, 700, "Content-Length: 5\r\n", Length(5), true),
        (Method::Post, 205, "", UntilClose, false),
        (Method::Head, 200, "Content-Length: 5\r\n", None, true),
        (
            Method::Head,
            200,
            "Transfer-Encoding: chunked\r\n",
            None,
            true,
        ),
        (Method::Head, 200, "", None, true),
        (Method::Get, 304, "Content-Length: 5\r\n", None, true),
        (
            Method::Get,
            304,
            "Transfer-Encoding: chunked\r\n",
            None,
            true,
        ),
        (Method::Get, 304, "", None, true),
        (Method::Get, 204, "", None, true),
        (Method::Get, 204, "Content-Length: 0\r\n", None, true),
        (Method::Get, 100, "", None, true),
        (Method::Get, 103, "Link: </a>\r\n", None, true),
        (Method::Get, 103, "Content-Length: 0\r\n", None, true),
        (
            Method::Get,
            101,
            "Connection: upgrade\r\nUpgrade: websocket\r\n",
            None,
            false,
        ),
        (Method::Connect, 200, "Content-Length: 5\r\n", None, false),
        (
            Method::Connect,
            407,
            "Content-Length: 5\r\n",
            Length(5),
            true,
        ),
    ] {
        let head = good_to(method, &format!("HTTP/1.1 {status} X\r\n{fields}\r\n"));
        assert_eq!(
            (head.framing, head.keep_alive),
            (framing, keep_alive),
            "{method:?} {status} {fields:?}"
        );
    }
}

#[test]
fn http_10() {
    let bare = good("HTTP/1.0 200 OK\r\n\r\n");
    assert_eq!(
        (bare.framing, bare.keep_alive),
        (ResponseFraming::UntilClose, false)
    );
    assert!(bare.oddities.contains(Oddities::HTTP10_NO_LENGTH));
    assert!(!good("HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n").keep_alive);
    assert!(
        good("HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\n").keep_alive
    );
    assert!(
        good("HTTP/1.0 101 S\r\nConnection: upgrade\r\nUpgrade: a\r\n\r\n")
            .upgrade
            .is_empty()
    );
}

#[test]
fn oddities_are_told_apart_and_have_phrases() {
    for (raw, oddity, phrase) in [
        (
            "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n",
            Oddities::NO_REASON,
            "no reason phrase",
        ),
        (
            "HTTP/1.1 299 X\r\nContent-Length: 0\r\n\r\n",
            Oddities::UNKNOWN_STATUS,
            "unknown status code",
        ),
        (
            "HTTP/1.1 600 X\r\nContent-Length: 0\r\n\r\n",
            Oddities::UNKNOWN_STATUS,
            "unknown status code",
        ),
        (
            "HTTP/1.1 999 X\r\nContent-Length: 0\r\n\r\n",
            Oddities::UNKNOWN_STATUS,
            "unknown status code",
        ),
        (
            "HTTP/1.1 200 X\r\ncOntent-Length: 0\r\n\r\n",
            Oddities::ODD_CASE,
            "odd header case",
        ),
        (
            "HTTP/1.1 200 X\r\nContent-LengTh: 0\r\n\r\n",
            Oddities::ODD_CASE,
            "odd header case",
        ),
        (
            "HTTP/1.0 200 X\r\n\r\n",
            Oddities::HTTP10_NO_LENGTH,
            "HTTP/1.0 without length",
        ),
        (
            "HTTP/1.1 200 X\r\nContent-Length: 0\r\nConnection: a b\r\n\r\n",
            Oddities::BAD_CONNECTION_OPTION,
            "invalid connection option",
        ),
    ] {
        let head = good(raw);
        assert_eq!(head.oddities, oddity, "{raw:?}");
        assert_eq!(head.oddities.phrases().collect::<Vec<_>>(), [phrase]);
    }
    assert!(!good("HTTP/1.1 200 X\r\nContent-Length: 0\r\nConnection: a b\r\n\r\n").keep_alive);
    for raw in [
        "HTTP/1.1 200 \r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nCONTENT-LENGTH: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-length: 0\r\nTe: x\r\nX-Real-Ip: 1\r\nX-REAL-IP: 1\r\nETag: 1\r\nxXx: 1\r\n\r\n",
        "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
    ] {
        let head = good(raw);
        assert!(
            head.oddities.is_empty(),
            "{raw:?}: {:?}",
            head.oddities.phrases().collect::<Vec<_>>()
        );
    }
}

#[test]
fn hop_by_hop_fields_are_not_forwarded() {
    let head = good(
        "HTTP/1.1 200 OK\r\nConnection: close, X-Secret\r\nX-Secret: s\r\nKeep-Alive: timeout=9\r\n\
         Proxy-Connection: a\r\nProxy-Authenticate: b\r\nProxy-Authentication-Info: c\r\nUpgrade: h2c\r\n\
         Trailer: X-Sum\r\nContent-Length: 0\r\nX-Kept: 1\r\n\r\n",
    );
    assert_eq!(head.forwarded(), ["Trailer", "Content-Length", "X-Kept"]);
    // RFC 9110 section 8.6: HEAD and 304 may tell a length, 1xx and 204 must not.
    let forwarded = |status: u16| {
        good(&format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n")).forwarded()
    };
    assert_eq!(forwarded(304), ["Content-Length"]);
    assert!(forwarded(204).is_empty());
    assert!(forwarded(103).is_empty());
}

#[test]
fn upgrades() {
    let upgrade =
        |status: u16, fields: &str| good(&format!("HTTP/1.1 {status} X\r\n{fields}\r\n")).upgrade;
    assert_eq!(
        upgrade(101, "Connection: Upgrade\r\nUpgrade: websocket\r\n"),
        b"websocket"
    );
    assert!(upgrade(101, "Upgrade: websocket\r\n").is_empty());
    assert_eq!(
        upgrade(426, "Connection: upgrade\r\nUpgrade: h2c\r\n"),
        b"h2c"
    );
    assert!(
        upgrade(
            200,
            "Connection: upgrade\r\nUpgrade: h2\r\nUpgrade: h2c\r\n"
        )
        .is_empty()
    );
    assert!(upgrade(200, "Connection: upgrade\r\nUpgrade: a b\r\n").is_empty());
}

#[test]
fn each_of_several_responses_is_a_head_of_its_own() {
    let raw = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
    let interim = response(raw).expect("good").expect("whole");
    assert_eq!(interim.status, 103);
    let last = response(&raw[interim.len..]).expect("good").expect("whole");
    assert_eq!(
        (last.status, &raw[interim.len + last.len..]),
        (200, b"hello".as_slice())
    );
}
