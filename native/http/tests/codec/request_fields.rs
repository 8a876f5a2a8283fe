//! Field lines of requests, and the rules that span several: what passes, what does not, and by
//! which section.

use gatewayx_http::ParseError::{self, *};
use gatewayx_http::{FieldId, Framing};

use crate::delivery::{Request, request};

/// RFC section, what follows `Host: gw.test\r\n` in an HTTP/1.1 request (without the empty line),
/// rule.
#[rustfmt::skip]
pub(crate) const REFUSED: &[(&str, &str, ParseError)] = &[
    // Lines.
    ("9112-2.2", "X: 1\nY: 2\r\n", BareLf),
    ("9112-2.2", "X: \n\nGET /smuggled HTTP/1.1\r\n", BareLf),
    ("9112-2.2", "X: y\rTransfer-Encoding: chunked\r\n", BareCr),
    ("9112-2.2", "X: y\n\rTransfer-Encoding: chunked\r\n", BareLf),
    ("9112-2.2", "\n", BareLf),
    ("9112-2.2", "\r\r\n", BareCr),
    ("9112-2.2", "\rX: 1\r\n", BareCr),
    ("9112-2.2", "X: 1\r\r\n", BareCr),
    ("9112-2.2", "X\n: 1\r\n", BareLf),
    ("9112-2.2", " \r\nX: 1\r\n", ObsFold),
    ("9112-5.2", "X: a\r\n b\r\n", ObsFold),
    ("9112-5.2", "X: a\r\n\tb\r\n", ObsFold),
    ("9112-5.2", "Transfer-Encoding\r\n : chunked\r\n", MissingColon),
    ("9112-5.2", " Transfer-Encoding: chunked\r\n", ObsFold),
    ("9112-5.2", "Transfer-Encoding: chunked\r\n , identity\r\n", ObsFold),
    // Names.
    ("9112-5.1", "X-Test : 1\r\n", WhitespaceBeforeColon),
    ("9112-5.1", "Content-Length : 5\r\n", WhitespaceBeforeColon),
    ("9112-5.1", "Transfer-Encoding\t: chunked\r\n", WhitespaceBeforeColon),
    ("9112-5.1", "X Y: 1\r\n", WhitespaceBeforeColon),
    ("9112-5.1", "Transfer-Encoding chunked\r\n", WhitespaceBeforeColon),
    ("9110-5.1", ":\r\nX-After: 1\r\n", EmptyFieldName),
    ("9110-5.1", ": chunked\r\n", EmptyFieldName),
    ("9112-5", "NoColonHere\r\n", MissingColon),
    ("9112-5", "X\r", MissingColon),
    ("9110-5.1", "Bad[Name]: 1\r\n", BadFieldName),
    ("9110-5.1", "X\0Y: 1\r\n", BadFieldName),
    ("9110-5.1", "Transfer-Encoding\0: chunked\r\n", BadFieldName),
    ("9110-5.1", "\x01Transfer-Encoding: chunked\r\n", BadFieldName),
    ("9110-5.1", "Transfer-Encoding\u{ff}: chunked\r\n", BadFieldName),
    ("9110-5.1", "\"X\": 1\r\n", BadFieldName),
    ("9110-5.1", "X/Y: 1\r\n", BadFieldName),
    ("9110-5.1", "X\x7f: 1\r\n", BadFieldName),
    // Values.
    ("9110-5.5", "X: a\0b\r\n", BadFieldValue),
    ("9110-5.5", "X: a\x07b\r\n", BadFieldValue),
    ("9110-5.5", "X: a\x7fb\r\n", BadFieldValue),
    ("9110-5.5", "X: a\x1b[0m\r\n", BadFieldValue),
    ("9110-5.5", "Content-Length: 5\0\r\n", BadFieldValue),
    ("9110-5.5", "Content-Length: 5\x0b\r\n", BadFieldValue),
    ("9110-5.5", "Content-Length: \x0c5\r\n", BadFieldValue),
    ("9110-5.5", "Transfer-Encoding: chunked\0\r\n", BadFieldValue),
    ("9110-5.5", "Transfer-Encoding: \x0bchunked\r\n", BadFieldValue),
    // Host.
    ("9112-3.2", "Host: gw.test\r\n", DuplicateHost),
    ("9112-3.2", "host: other.test\r\n", DuplicateHost),
    // Content-Length.
    ("9110-8.6", "Content-Length: +5\r\n", BadContentLength),
    ("9110-8.6", "Content-Length: 0x5\r\n", BadContentLength),
    ("9110-8.6", "Content-Length: 5 5\r\n", BadContentLength),
    ("9110-8.6", "Content-Length: 5.0\r\n", BadContentLength),
    ("9110-8.6", "Content-Length: ,5\r\n", BadContentLength),
    ("9110-8.6", "Content-Length: five\r\n", BadContentLength),
    ("9110-8.6", "Content-Length: \"5\"\r\n", BadContentLength),
    ("9110-8.6", "Content-Length: -1\r\n", BadContentLength),
    ("9110-8.6", "Content-Length:\r\n", BadContentLength),
    ("9110-8.6", "Content-Length: \u{b2}\r\n", BadContentLength),
    ("9112-6.3", "Content-Length: 5, 5\r\n", BadContentLength),
    ("9112-6.3", "Content-Length: 5, 6\r\n", BadContentLength),
    ("9112-6.3", "Content-Length: 5\r\nContent-Length: 5\r\n", DuplicateContentLength),
    ("9112-6.3", "Content-Length: 5\r\ncontent-length: 6\r\n", DuplicateContentLength),
    ("9112-6.3", "Content-Length: 0\r\nX: 1\r\nContent-Length:\r\n", DuplicateContentLength),
    ("9110-8.6", "Content-Length: 18446744073709551621\r\n", ContentLengthTooLarge),
    ("policy", "Content-Length: 9223372036854775808\r\n", ContentLengthTooLarge),
    ("9110-8.6", "Content-Length: 99999999999999999999999999\r\n", ContentLengthTooLarge),
    // Transfer-Encoding.
    ("9112-6.1", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", TransferEncodingWithLength),
    ("9112-6.1", "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", TransferEncodingWithLength),
    ("9112-6.1", "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n", TransferEncodingWithLength),
    ("9112-6.1", "Transfer-Encoding:\r\nContent-Length: 5\r\n", TransferEncodingWithLength),
    ("9112-6.1", "Transfer-Encoding: identity\r\nContent-Length: x\r\n", TransferEncodingWithLength),
    ("9112-6.3", "Transfer-Encoding: chunked, gzip\r\n", BadTransferEncoding),
    ("9112-6.1", "Transfer-Encoding: gzip, chunked\r\n", BadTransferEncoding),
    ("9112-6.1", "Transfer-Encoding: chunked, chunked\r\n", BadTransferEncoding),
    ("9112-6.1", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", BadTransferEncoding),
    ("9112-6.1", "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n", BadTransferEncoding),
    ("9112-6.1", "Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n", BadTransferEncoding),
    ("9110-5.6.1", "Transfer-Encoding: ,chunked\r\n", BadTransferEncoding),
    ("9110-5.6.1", "Transfer-Encoding: chunked,\r\n", BadTransferEncoding),
    ("9112-7", "Transfer-Encoding: chunked;a=b\r\n", BadTransferEncoding),
    ("9112-7", "Transfer-Encoding: \"chunked\"\r\n", BadTransferEncoding),
    ("9112-7", "Transfer-Encoding: 'chunked'\r\n", BadTransferEncoding),
    ("9112-7", "Transfer-Encoding: xchunked\r\n", BadTransferEncoding),
    ("9112-7", "Transfer-Encoding: chunkedx\r\n", BadTransferEncoding),
    ("9112-7", "Transfer-Encoding: identity\r\n", BadTransferEncoding),
    ("9112-7", "Transfer-Encoding:\r\n", BadTransferEncoding),
    // Connection.
    ("9110-7.6.1", "Connection: close, Host\r\n", NominatedFraming),
    ("9110-7.6.1", "Connection: Content-Length\r\nContent-Length: 0\r\n", NominatedFraming),
    ("9110-7.6.1", "Connection: transfer-encoding\r\n", NominatedFraming),
    ("9110-7.6.1", "Connection: a b\r\n", BadConnectionOption),
    ("9110-7.6.1", "Connection: \"close\"\r\n", BadConnectionOption),
    ("9110-7.6.1", "Connection: close;\r\n", BadConnectionOption),
    // Expect.
    ("9110-10.1.1", "Expect: 200-ok\r\n", UnknownExpectation),
    ("9110-10.1.1", "Expect: 100-continue, x\r\n", UnknownExpectation),
    ("9110-10.1.1", "Expect: 100-continue\r\nExpect: x\r\n", UnknownExpectation),
    ("9110-10.1.1", "Expect:\r\n", UnknownExpectation),
    // Upgrade.
    ("9110-7.8", "Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 5\r\n", UpgradeWithBody),
    ("9110-7.8", "Connection: upgrade\r\nUpgrade: websocket\r\nTransfer-Encoding: chunked\r\n", UpgradeWithBody),
    ("9110-7.8", "Connection: upgrade\r\nUpgrade: a\r\nUpgrade: b\r\n", DuplicateUpgrade),
    ("9110-7.8", "Connection: upgrade\r\nUpgrade: a b\r\n", BadUpgrade),
    ("9110-7.8", "Connection: upgrade\r\nUpgrade: a/\r\n", BadUpgrade),
    ("9110-7.8", "Connection: upgrade\r\nUpgrade: a/1/2\r\n", BadUpgrade),
];

fn latin1(text: &str) -> Vec<u8> {
    text.chars().map(|c| c as u8).collect()
}

fn with_fields(lines: &str) -> Result<Option<Request>, ParseError> {
    request(latin1(&format!(
        "POST /a HTTP/1.1\r\nHost: gw.test\r\n{lines}\r\n"
    )))
}

fn good(lines: &str) -> Request {
    with_fields(lines)
        .unwrap_or_else(|error| panic!("{lines:?}: {error}"))
        .expect("whole")
}

#[test]
fn refused() {
    for &(section, lines, error) in REFUSED {
        assert_eq!(with_fields(lines), Err(error), "{section}: {lines:?}");
    }
}

#[test]
fn errors_of_lines_do_not_wait_for_the_end_of_the_head() {
    let of_lines = [
        BareCr,
        BareLf,
        ObsFold,
        WhitespaceBeforeColon,
        EmptyFieldName,
        MissingColon,
        BadFieldName,
        BadFieldValue,
    ];
    for &(section, lines, error) in REFUSED
        .iter()
        .filter(|(.., error)| of_lines.contains(error))
    {
        let raw = latin1(&format!("POST /a HTTP/1.1\r\nHost: gw.test\r\n{lines}"));
        assert_eq!(request(raw), Err(error), "{section}: {lines:?}");
    }
}

#[test]
fn hosts() {
    let host = |lines: &str| request(latin1(&format!("GET / HTTP/1.1\r\n{lines}\r\n")));
    for value in [
        "gw.test",
        "GW.Test",
        "gw.test:8080",
        "[::1]:80",
        "10.0.0.1",
        "a_b",
        "gw.test:",
    ] {
        let head = host(&format!("Host: {value}\r\n"))
            .expect(value)
            .expect("whole");
        assert_eq!(head.host, value.as_bytes());
    }
    for value in [
        "",
        "gw.test, evil.test",
        "user@gw.test",
        "[::1",
        "gw.test\u{ff}",
        "gw.test/",
        "gw test",
        "gw.test:x",
        "a:65536",
        "http://gw.test",
        "gw\u{ff}.test",
        "gw.test#",
        "gw.test?",
        "gw%2etest",
    ] {
        assert_eq!(host(&format!("Host: {value}\r\n")), Err(BadHost), "{value}");
    }
    assert_eq!(host(""), Err(MissingHost));
    assert_eq!(host("Hosts: a\r\n"), Err(MissingHost));
    assert_eq!(host(" Host: gw.test\r\n"), Err(ObsFold));
    assert_eq!(host("Host: gw.test\x02\r\n"), Err(BadFieldValue));
    assert_eq!(host("Host: gw.test\nX-Injected: 1\r\n"), Err(BareLf));
    assert_eq!(host("Host: a\r\nHost: a\r\n"), Err(DuplicateHost));
}

#[test]
fn a_target_with_an_authority_still_needs_a_good_host() {
    assert_eq!(request("GET http://a/ HTTP/1.1\r\n\r\n"), Err(MissingHost));
    assert_eq!(
        request("GET http://a/ HTTP/1.1\r\nHost: b,c\r\n\r\n"),
        Err(BadHost)
    );
    assert_eq!(
        request("GET http://a/ HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"),
        Err(DuplicateHost)
    );
    let head = request("GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n")
        .expect("good")
        .expect("whole");
    assert_eq!(head.host, b"a");
}

#[test]
fn http_10() {
    let head = |lines: &str| request(format!("POST / HTTP/1.0\r\n{lines}\r\n"));
    let plain = head("").expect("good").expect("whole");
    assert!(plain.host.is_empty() && !plain.keep_alive);
    assert_eq!(head("Host:\r\n"), Err(BadHost));
    assert_eq!(head("Host: a\r\nHost: a\r\n"), Err(DuplicateHost));
    // RFC 9112 section 6.1.
    assert_eq!(
        head("Transfer-Encoding: chunked\r\n"),
        Err(TransferEncodingInHttp10)
    );
    assert_eq!(
        head("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n"),
        Err(TransferEncodingWithLength)
    );
    // RFC 9112 section 9.3.
    assert!(
        head("Connection: keep-alive\r\n")
            .expect("good")
            .expect("whole")
            .keep_alive
    );
    assert!(
        !head("Connection: keep-alive, close\r\n")
            .expect("good")
            .expect("whole")
            .keep_alive
    );
    // RFC 9110 sections 10.1.1, 7.8 and 10.1.4: none of these takes effect.
    let ignored = head(
        "Expect: 100-continue\r\nContent-Length: 5\r\nConnection: upgrade\r\nUpgrade: websocket\r\nTE: trailers\r\n",
    );
    let ignored = ignored.expect("good").expect("whole");
    assert!(!ignored.expect_continue && ignored.upgrade.is_empty() && !ignored.te_trailers);
    assert_eq!(ignored.framing, Framing::Length(5));
    assert!(head("Expect: whatever\r\n").is_ok());
}

#[test]
fn framings() {
    assert_eq!(good("").framing, Framing::None);
    for (value, length) in [
        ("0", 0),
        ("5", 5),
        ("005", 5),
        ("010", 10),
        ("\t5\t", 5),
        ("  7  ", 7),
    ] {
        assert_eq!(
            good(&format!("Content-Length:{value}\r\n")).framing,
            Framing::Length(length)
        );
    }
    for value in ["chunked", "ChUnKeD", " chunked\t"] {
        assert_eq!(
            good(&format!("transfer-ENCODING:{value}\r\n")).framing,
            Framing::Chunked
        );
    }
    // An alias never frames and is never forwarded.
    let alias = good("Transfer_Encoding: chunked\r\nContent_Length: 5\r\n");
    assert_eq!(alias.framing, Framing::None);
    assert_eq!(alias.forwarded(), ["Host"]);
    assert!(Framing::Chunked.has_bytes() && Framing::Length(1).has_bytes());
    assert!(!Framing::Length(0).has_bytes() && !Framing::None.has_bytes());
}

#[test]
fn values_keep_their_bytes_and_lose_the_whitespace_around_them() {
    for (written, value) in [
        ("", ""),
        (" ", ""),
        (" \t \t", ""),
        ("a", "a"),
        (" a\tb  c\t ", "a\tb  c"),
        (" caf\u{e9}\u{ff}\u{80} ", "caf\u{e9}\u{ff}\u{80}"),
        ("\t:colon: ", ":colon:"),
        (
            " !\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~",
            "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~",
        ),
    ] {
        let head = good(&format!("X-Test:{written}\r\n"));
        assert_eq!(head.fields[1].name, b"X-Test");
        assert_eq!(head.fields[1].value, latin1(value), "{written:?}");
    }
}

#[test]
fn hop_by_hop_fields_are_not_forwarded() {
    let head = good(
        "Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nTE: trailers\r\nProxy: http://evil.test/\r\n\
         Connection: X-A\r\nConnection: ,x-b,, close ,\r\nX-A: 1\r\nX-B: 2\r\nx-a: 3\r\nX-C: 4\r\nUpgrade: x\r\n\
         Proxy-Authorization: a\r\nTrailer: X-Sum\r\nX_Forwarded_For: 10.0.0.1\r\nx_forwarded-for: 10.0.0.1\r\n\
         X_Custom: 1\r\nProxy_Connection: x\r\n",
    );
    assert_eq!(head.forwarded(), ["Host", "X-C", "Trailer", "X_Custom"]);
    assert!(!head.keep_alive && head.te_trailers);
}

#[test]
fn nominated_fields_keep_their_identity() {
    let head = good(
        "Connection: Authorization, X-Request-Id, X-Gateway-Auth\r\nAuthorization: Bearer t\r\nX-Request-Id: 1\r\n",
    );
    assert_eq!(head.forwarded(), ["Host"]);
    assert_eq!(head.fields[2].id, FieldId::Authorization);
    assert!(head.keep_alive);
}

#[test]
fn connection_options_are_bounded() {
    let options = |count: usize| format!("Connection: {}\r\n", vec!["x"; count].join(","));
    assert!(with_fields(&options(32)).is_ok());
    assert_eq!(with_fields(&options(33)), Err(TooManyConnectionOptions));
    assert_eq!(
        with_fields(&[options(20), options(13)].concat()),
        Err(TooManyConnectionOptions)
    );
}

#[test]
fn expectations() {
    assert!(good("Expect: 100-continue\r\nContent-Length: 5\r\n").expect_continue);
    assert!(good("Expect: 100-CONTINUE\r\nTransfer-Encoding: chunked\r\n").expect_continue);
    assert!(
        good("Expect: 100-continue\r\nExpect: 100-continue\r\nContent-Length: 5\r\n")
            .expect_continue
    );
    assert!(!good("Expect: 100-continue\r\n").expect_continue);
    assert!(!good("Expect: 100-continue\r\nContent-Length: 0\r\n").expect_continue);
    assert!(!good("Content-Length: 5\r\n").expect_continue);
}

#[test]
fn upgrades() {
    let upgrade = |lines: &str| good(lines).upgrade;
    assert_eq!(
        upgrade("Connection: Upgrade\r\nUpgrade: websocket\r\n"),
        b"websocket"
    );
    assert_eq!(
        upgrade("Connection: keep-alive, UPGRADE\r\nUpgrade: h2c, a/1\r\nContent-Length: 0\r\n"),
        b"h2c, a/1"
    );
    assert!(upgrade("Upgrade: websocket\r\n").is_empty());
    assert!(upgrade("Connection: upgrade\r\n").is_empty());
    assert!(upgrade("Connection: upgrade\r\nUpgrade:\r\n").is_empty());
    assert!(
        upgrade("Connection: close\r\nUpgrade: a b\r\nUpgrade: c\r\nContent-Length: 5\r\n")
            .is_empty()
    );
}

#[test]
fn trailers_are_welcome_when_te_says_so() {
    assert!(good("TE: trailers\r\n").te_trailers);
    assert!(good("TE: gzip;q=0.5, Trailers\r\n").te_trailers);
    assert!(good("TE: gzip\r\nTE: trailers\r\n").te_trailers);
    assert!(!good("TE: gzip\r\n").te_trailers);
    assert!(!good("TE: trailers;q=1\r\n").te_trailers);
    assert!(!good("").te_trailers);
}

#[test]
fn what_follows_the_head_is_left_alone() {
    let raw = "GET /a HTTP/1.1\r\nHost: a\r\n\r\n\0garbage";
    let head = request(raw).expect("good").expect("whole");
    assert_eq!(head.len, raw.len() - 8);
    assert!(head.keep_alive);
}
