//! Messages that are nearly right: built from the grammar with odd pieces among the good ones, then
//! mutated.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

/// Bytes that mean something to some parser.
const TELLING: &[u8] = b"\r\n\r\n :;,\t\0\x0b\x7f\x80\xff%/.?#\\\"=_-[]@*0159afxX";

fn pieces(choices: &'static [&'static str]) -> impl Strategy<Value = String> {
    select(choices).prop_map(String::from)
}

const METHODS: &[&str] = &[
    "GET", "GET", "GET", "POST", "POST", "HEAD", "OPTIONS", "CONNECT", "get", "BREW", "G T", "",
];

const TARGETS: &[&str] = &[
    "/",
    "/a",
    "/a/b?c=d",
    "//a",
    "/a%20b",
    "/a%2",
    "/a%00",
    "/%2e%2e/",
    "/a/../b",
    "/a/..;x/b",
    "/.a",
    "/a#b",
    "/a?b#c",
    "*",
    "http://b.test/a",
    "HTTPS://b.test:81?q",
    "http://b.test",
    "ftp://b/",
    "http://u@b/",
    "http:///",
    "a:80",
    "[::1]:80",
    "a",
    "/a\\b",
    "/caf\u{e9}",
    "/a[0]",
    "",
    "/%2f%5c",
    "/a;b=/c",
    "/?/../",
];

const VERSIONS: &[&str] = &[
    "HTTP/1.1",
    "HTTP/1.1",
    "HTTP/1.1",
    "HTTP/1.1",
    "HTTP/1.0",
    "HTTP/2.0",
    "HTTP/1.10",
    "http/1.1",
    "",
];

const NAMES: &[&str] = &[
    "Host",
    "Content-Length",
    "Content-Length",
    "Transfer-Encoding",
    "Transfer-Encoding",
    "Connection",
    "Connection",
    "Expect",
    "Upgrade",
    "TE",
    "X-A",
    "X-B",
    "x-a",
    "Keep-Alive",
    "Proxy",
    "content_length",
    "X_Forwarded_For",
    "X_A",
    "Close",
    "X-Forwarded-For",
    "X-Request-Id",
    "Server",
    "serVer",
    "Bad Name",
    "Bad:",
    "",
    " X",
];

const VALUES: &[&str] = &[
    "a",
    "gw.test",
    "gw.test:80",
    "[::1]",
    "a,b",
    "5",
    "0",
    "05",
    "+5",
    "5,5",
    "99999999999999999999",
    "9223372036854775808",
    "chunked",
    "Chunked",
    "gzip, chunked",
    "close",
    "keep-alive",
    "Upgrade, X-A",
    "x-b,,close",
    "host",
    "\"x\"",
    "100-continue",
    "trailers",
    "gzip, trailers",
    "websocket",
    "h2c/1, a",
    "a/b/c",
    "",
    " ",
    "\t",
    "caf\u{e9}",
    "a\tb",
    "a\x7f",
    "a\0b",
];

const GAPS: &[&str] = &[" ", " ", " ", "", "\t ", "  "];

const ENDS: &[&str] = &[
    "\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\n", "\r", "\r\n ", "\r\r\n",
];

fn line_end() -> impl Strategy<Value = String> {
    prop_oneof![60 => Just(String::from("\r\n")), 1 => pieces(ENDS)]
}

const GOOD_FIELDS: &[&str] = &[
    "Content-Length: 5",
    "Content-Length: 0",
    "Transfer-Encoding: chunked",
    "Connection: close",
    "Connection: keep-alive",
    "Connection: x-a, Upgrade",
    "Connection:,X-B,",
    "Upgrade: websocket",
    "Upgrade: h2c/1, a",
    "Expect: 100-continue",
    "TE: gzip, trailers",
    "X-A: 1",
    "X-B: a b",
    "x-a:",
    "X_A: 2",
    "X-Request-Id: 7",
    "X_Forwarded_For: a",
    "Keep-Alive: x",
    "Proxy: a",
    "Server: caf\u{e9}",
    "serVer: a\tb",
    "Close: 1",
    "Accept-Encoding: \t gzip \t",
    "Host_: a",
];

fn field() -> impl Strategy<Value = String> {
    let good = pieces(GOOD_FIELDS).prop_map(|line| format!("{line}\r\n"));
    let odd = (
        pieces(NAMES),
        pieces(GAPS),
        pieces(VALUES),
        pieces(GAPS),
        line_end(),
    )
        .prop_map(|(name, before, value, after, end)| {
            format!("{name}:{before}{value}{after}{end}")
        });
    prop_oneof![5 => good, 1 => odd]
}

fn head(start_line: impl Strategy<Value = String>) -> impl Strategy<Value = Vec<u8>> {
    let host = prop_oneof![9 => Just("Host: gw.test\r\n"), 1 => Just("")];
    let text = (start_line, line_end(), host, vec(field(), 0..5), line_end()).prop_map(
        |(start, end, host, fields, last)| format!("{start}{end}{host}{}{last}", fields.concat()),
    );
    mutated(text)
}

/// Latin-1 bytes of the text, in a third of the cases with a few changed.
fn mutated(text: impl Strategy<Value = String>) -> impl Strategy<Value = Vec<u8>> {
    let change = (any::<prop::sample::Index>(), select(TELLING), 0..4_u8);
    let changes = prop_oneof![2 => Just(Vec::new()), 1 => vec(change, 1..4)];
    (text, changes).prop_map(|(text, changes)| {
        let mut raw: Vec<u8> = text.chars().map(|c| c as u8).collect();
        for (place, byte, kind) in changes {
            let at = place.index(raw.len() + 1);
            match kind {
                0 => raw.insert(at, byte),
                1 if at < raw.len() => raw[at] = byte,
                2 if at < raw.len() => drop(raw.remove(at)),
                3 => raw.truncate(raw.len().max(8) - at % 8),
                _ => raw.push(byte),
            }
        }
        raw
    })
}

/// A request head, perhaps with something before and behind it.
pub(crate) fn request() -> impl Strategy<Value = Vec<u8>> {
    let before = select(
        &[
            "",
            "",
            "",
            "",
            "\r\n",
            "\r\n\r\n\r\n\r\n",
            "\r\n\r\n\r\n\r\n\r\n",
            "\n",
        ][..],
    );
    let good_line = select(
        &[
            "GET /a?b HTTP/1.1",
            "POST / HTTP/1.1",
            "GET http://b.test/a HTTP/1.1",
            "GET / HTTP/1.0",
        ][..],
    );
    let odd_line = (pieces(METHODS), pieces(TARGETS), pieces(VERSIONS))
        .prop_map(|(method, target, version)| format!("{method} {target} {version}"));
    let line = prop_oneof![2 => good_line.prop_map(String::from), 1 => odd_line];
    let start = (before, line).prop_map(|(before, line)| format!("{before}{line}"));
    head(start)
}

const STATUSES: &[&str] = &[
    "200", "200", "200", "100", "101", "103", "204", "304", "404", "500", "599", "600", "999",
    "099", "20", "2000", "2 0",
];

const REASONS: &[&str] = &[
    " OK",
    " OK",
    " ",
    "",
    "  a\tb",
    " caf\u{e9}",
    " a\0",
    "\tOK",
];

/// A response head.
pub(crate) fn response() -> impl Strategy<Value = Vec<u8>> {
    let good_line = (
        select(&["HTTP/1.1", "HTTP/1.0"][..]),
        select(&[101, 103, 200, 204, 299, 304, 404, 600][..]),
    )
        .prop_map(|(version, status)| format!("{version} {status} Some reason"));
    let odd_line = (pieces(VERSIONS), pieces(STATUSES), pieces(REASONS))
        .prop_map(|(version, status, reason)| format!("{version} {status}{reason}"));
    head(prop_oneof![2 => good_line, 1 => odd_line])
}

const SIZES: &[&str] = &[
    "5",
    "05",
    "a",
    "A",
    "1",
    "00",
    "ffffffffffffffff",
    "10000000000000000",
    "+5",
    "0x5",
    "",
    "5 ",
    " 5",
    "g",
];

const EXTENSIONS: &[&str] = &[
    "",
    "",
    "",
    "",
    ";a",
    ";a=b",
    " ; a = b",
    ";a=\"b\"",
    ";a=\"\\\"\"",
    ";",
    ";a=",
    ";a=\"",
    ";a b",
    ";a;b;c=d",
    ";a ",
    ";\u{e9}",
    ";a=\"\u{e9}\t\"",
];

fn chunk() -> impl Strategy<Value = String> {
    let good = prop_oneof![
        Just("5\r\nhello\r\n"),
        Just("1\r\n\r\r\n"),
        Just("a;x=y\r\nhelloworld\r\n")
    ]
    .prop_map(String::from);
    let odd = (
        pieces(SIZES),
        pieces(EXTENSIONS),
        line_end(),
        select(&["hello", "x", "helloworld", ""][..]),
        line_end(),
    )
        .prop_map(|(size, extension, first, data, second)| {
            format!("{size}{extension}{first}{data}{second}")
        });
    prop_oneof![8 => good, 1 => odd]
}

/// A chunked body, perhaps with trailers and with something behind it.
pub(crate) fn body() -> impl Strategy<Value = Vec<u8>> {
    let odd_last = (
        pieces(&["0", "0", "0", "000", ""]),
        pieces(EXTENSIONS),
        line_end(),
    )
        .prop_map(|(size, extension, end)| format!("{size}{extension}{end}"));
    let last = prop_oneof![2 => Just(String::from("0\r\n")), 1 => odd_last];
    let behind = select(&["", "GET / HTTP/1.1\r\n", "\0"][..]);
    let text = (
        vec(chunk(), 0..4),
        last,
        vec(trailer(), 0..3),
        line_end(),
        behind,
    )
        .prop_map(|(chunks, last, trailers, end, behind)| {
            format!(
                "{}{last}{}{end}{behind}",
                chunks.concat(),
                trailers.concat()
            )
        });
    mutated(text)
}

const TRAILER_NAMES: &[&str] = &[
    "X-A",
    "x_b",
    "Host",
    "content_length",
    "X-Forwarded-For",
    "TE",
    "Grpc-Status",
    "Bad Name",
    "",
];

fn trailer() -> impl Strategy<Value = String> {
    let good = pieces(&[
        "X-A: 1",
        "x_b:\t a b ",
        "Host: a",
        "content_length:5",
        "Grpc-Status: 0",
        "TE:",
    ]);
    let odd = (
        pieces(TRAILER_NAMES),
        pieces(GAPS),
        pieces(VALUES),
        pieces(GAPS),
        line_end(),
    )
        .prop_map(|(name, before, value, after, end)| {
            format!("{name}:{before}{value}{after}{end}")
        });
    prop_oneof![3 => good.prop_map(|line| format!("{line}\r\n")), 1 => odd]
}
