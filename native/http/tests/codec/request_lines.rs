//! Request lines: what passes, what does not, and by which section.

use gatewayx_http::ParseError::{self, *};
use gatewayx_http::{Method, TargetForm, Version};

use crate::delivery::request;

/// RFC section, request line with its end (or without, where it is refused before), rule.
#[rustfmt::skip]
pub(crate) const REFUSED: &[(&str, &str, ParseError)] = &[
    // What comes before the line.
    ("9112-2.2", "\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\n", TooManyEmptyLines),
    ("9112-2.2", "\r\n\r\n\r\n\r\n\r", TooManyEmptyLines),
    ("9112-2.2", "\nGET / HTTP/1.1\r\n", BareLf),
    ("9112-2.2", "\r\n\nGET / HTTP/1.1\r\n", BareLf),
    ("9112-2.2", "\rGET / HTTP/1.1\r\n", BareCr),
    ("9112-2.2", "\r\r\n", BareCr),
    ("9112-3", " GET / HTTP/1.1\r\n", BadMethod),
    ("9112-2.2", "   \r\n\r\n", BadMethod),
    // Method.
    ("9110-9.1", "GE,T / HTTP/1.1\r\n", BadMethod),
    ("9110-9.1", "GET\t/ HTTP/1.1\r\n", BadMethod),
    ("9110-9.1", "G\u{c9}T / HTTP/1.1\r\n", BadMethod),
    ("9110-9.1", "\0GET / HTTP/1.1\r\n", BadMethod),
    ("9110-9.1", ": / HTTP/1.1\r\n", BadMethod),
    ("9112-3", "BAD\r\n\r\n", BadMethod),
    ("9112-3", "GET\n", BareLf),
    ("9112-2.2", "\x16\x03\x01\x02", BadMethod),
    ("9112-3", "ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFG", MethodTooLong),
    // Parts and the spaces between.
    ("9112-3", "GET  / HTTP/1.1\r\n", EmptyTarget),
    ("9112-3", "GET  HTTP/1.1\r\n", EmptyTarget),
    ("9112-3", "GET \r\n", MissingVersion),
    ("9112-3", "GET /\r\n", MissingVersion),
    ("9112-3", "GET HTTP/1.1\r\n", MissingVersion),
    ("9112-3", "GET /a\n", BareLf),
    ("9112-3", "GET /\tHTTP/1.1\r\n", BadTargetByte),
    ("9112-3", "GET /\x0bHTTP/1.1\r\n", BadTargetByte),
    ("9112-3", "GET /  HTTP/1.1\r\n", BadVersion),
    ("9112-3.2", "GET /a b HTTP/1.1\r\n", BadVersion),
    ("9112-3.2", "GET / HTTP/1.1 HTTP/1.1\r\n", BadVersion),
    ("9112-3", "GET / HTTP/1.1 \r\n", BadVersion),
    ("9112-3", "GET / HTTP/1.1\t\r\n", BadVersion),
    ("9112-2.2", "GET / HTTP/1.1\rHost: a\r\n", BareCr),
    ("9112-2.2", "GET / HTTP/1.1\r\r\n", BareCr),
    ("9112-2.2", "GET / HTTP/1.1\nHost: a\n\n", BareLf),
    ("policy", "PROXY TCP4 10.0.0.1 10.0.0.2 1 80\r\n", BadVersion),
    // Version.
    ("9112-2.3", "GET / HTTP/01.01\r\n", BadVersion),
    ("9112-2.3", "GET / HTTP/1.10\r\n", BadVersion),
    ("9112-2.3", "GET / HTTP/4294967297.1\r\n", BadVersion),
    ("9112-2.3", "GET / HTTP/ 1.1\r\n", BadVersion),
    ("9112-2.3", "GET / HTTP/1\r\n", BadVersion),
    ("9112-2.3", "GET / HTTP/1,1\r\n", BadVersion),
    ("9112-2.3", "GET / HTTP/d.d\r\n", BadVersion),
    ("9112-2.3", "GET / http/1.1\r\n", BadVersion),
    ("9112-2.3", "GET / RTSP/1.0\r\n", BadVersion),
    ("9112-2.3", "GET / H\r\n", BadVersion),
    ("9112-2.3", "GET / HTTP/1.\r\n", BadVersion),
    ("9110-15.6.6", "GET / HTTP/2.0\r\n", UnsupportedVersion),
    ("9110-15.6.6", "GET / HTTP/0.9\r\n", UnsupportedVersion),
    ("9110-15.6.6", "GET / HTTP/1.2\r\n", UnsupportedVersion),
    ("9110-15.6.6", "GET / HTTP/9.9\r\n", UnsupportedVersion),
    ("9113-3.4", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", UnsupportedVersion),
    // Bytes of the target.
    ("9112-3.2", "GET /a\0b HTTP/1.1\r\n", BadTargetByte),
    ("9112-3.2", "GET /a\x7fb HTTP/1.1\r\n", BadTargetByte),
    ("9112-3.2", "GET /caf\u{e9} HTTP/1.1\r\n", BadTargetByte),
    ("3986-2", "GET /a\\..\\b HTTP/1.1\r\n", BadTargetByte),
    ("3986-2", "GET /a\"b HTTP/1.1\r\n", BadTargetByte),
    ("3986-2", "GET /<a> HTTP/1.1\r\n", BadTargetByte),
    ("3986-2", "GET /a^b HTTP/1.1\r\n", BadTargetByte),
    ("3986-2", "GET /a`b HTTP/1.1\r\n", BadTargetByte),
    ("3986-2", "GET /{a} HTTP/1.1\r\n", BadTargetByte),
    ("3986-2", "GET /a|b HTTP/1.1\r\n", BadTargetByte),
    ("9112-3.2.1", "GET /a#b HTTP/1.1\r\n", FragmentInTarget),
    ("9112-3.2.1", "GET # HTTP/1.1\r\n", FragmentInTarget),
    ("3986-2.1", "GET /a%zz HTTP/1.1\r\n", BadPercentEscape),
    ("3986-2.1", "GET /a% HTTP/1.1\r\n", BadPercentEscape),
    ("3986-2.1", "GET /a?b=%2 HTTP/1.1\r\n", BadPercentEscape),
    ("3986-7.3", "GET /a%00b HTTP/1.1\r\n", EncodedNul),
    ("3986-7.3", "GET /a?b=%00 HTTP/1.1\r\n", EncodedNul),
    // Segments that climb.
    ("3986-5.2.4", "GET /a/../b HTTP/1.1\r\n", DotSegment),
    ("3986-5.2.4", "GET /.. HTTP/1.1\r\n", DotSegment),
    ("3986-5.2.4", "GET /./a HTTP/1.1\r\n", DotSegment),
    ("3986-5.2.4", "GET /a/%2e%2E/b HTTP/1.1\r\n", DotSegment),
    ("3986-5.2.4", "GET /public/..%2fadmin HTTP/1.1\r\n", DotSegment),
    ("3986-5.2.4", "GET /public%5c..%5cadmin HTTP/1.1\r\n", DotSegment),
    ("policy", "GET /public/..;/admin HTTP/1.1\r\n", DotSegment),
    ("3986-5.2.4", "GET http://a/../b HTTP/1.1\r\n", DotSegment),
    // Forms.
    ("9112-3.2.3", "GET gw.test:80 HTTP/1.1\r\n", BadTargetForm),
    ("9112-3.2", "GET a HTTP/1.1\r\n", BadTargetForm),
    ("9112-3.2", "GET ?a HTTP/1.1\r\n", BadTargetForm),
    ("9112-3.2.4", "GET * HTTP/1.1\r\n", BadTargetForm),
    ("9112-3.2.4", "OPTIONS ** HTTP/1.1\r\n", BadTargetForm),
    ("9112-3.2.4", "options * HTTP/1.1\r\n", BadTargetForm),
    ("9112-3.2.3", "CONNECT / HTTP/1.1\r\n", BadTargetForm),
    ("9112-3.2.3", "CONNECT a HTTP/1.1\r\n", BadTargetForm),
    ("9112-3.2.3", "CONNECT a: HTTP/1.1\r\n", BadTargetForm),
    ("9112-3.2.3", "CONNECT [::1] HTTP/1.1\r\n", BadTargetForm),
    ("9112-3.2.3", "CONNECT * HTTP/1.1\r\n", BadTargetForm),
    ("9112-3.2.3", "CONNECT http://a:80/ HTTP/1.1\r\n", BadAuthority),
    ("9112-3.2.3", "CONNECT a:99999 HTTP/1.1\r\n", BadAuthority),
    ("9112-3.2.3", "CONNECT u@a:80 HTTP/1.1\r\n", BadAuthority),
    ("9110-4.2", "GET ftp://a/ HTTP/1.1\r\n", UnsupportedScheme),
    ("9110-4.2", "GET ://a/ HTTP/1.1\r\n", UnsupportedScheme),
    ("9110-4.2", "GET xhttp://a/ HTTP/1.1\r\n", UnsupportedScheme),
    ("9110-4.2", "GET javascript://a/ HTTP/1.1\r\n", UnsupportedScheme),
    ("9112-3.2", "GET http:/a HTTP/1.1\r\n", BadTargetForm),
    ("9110-4.2.1", "GET http:///a HTTP/1.1\r\n", BadAuthority),
    ("9110-4.2.1", "GET http:// HTTP/1.1\r\n", BadAuthority),
    ("9110-4.2.1", "GET http://?a HTTP/1.1\r\n", BadAuthority),
    ("9110-4.2.1", "GET http://:80/ HTTP/1.1\r\n", BadAuthority),
    ("policy", "GET http://a:99999/ HTTP/1.1\r\n", BadAuthority),
    ("3986-3.2.2", "GET http://[::1/ HTTP/1.1\r\n", BadAuthority),
    ("policy", "GET http://a%41/ HTTP/1.1\r\n", BadAuthority),
    ("9110-4.2.4", "GET http://u:p@a/ HTTP/1.1\r\n", Userinfo),
    ("9110-4.2.4", "GET http://@a/ HTTP/1.1\r\n", Userinfo),
    ("9110-4.2.4", "GET http://a@b@c/ HTTP/1.1\r\n", Userinfo),
];

#[test]
fn refused() {
    for &(section, line, error) in REFUSED {
        // Latin-1, so that U+00E9 is the byte 0xE9; the rule must not need what follows the line.
        let raw: Vec<u8> = line.chars().map(|c| c as u8).collect();
        assert_eq!(request(&raw), Err(error), "{section}: {line:?}");
        let whole = [raw.as_slice(), b"Host: a\r\n\r\n"].concat();
        assert_eq!(
            request(&whole),
            Err(error),
            "{section}: {line:?} with fields"
        );
    }
}

/// RFC section, request line, then what is made of it: form, path, query, host.
#[rustfmt::skip]
const ACCEPTED: &[(&str, &str, TargetForm, [&str; 3])] = &[
    ("9112-3.2.1", "GET / HTTP/1.1", TargetForm::Origin, ["/", "", "gw.test"]),
    ("9112-3.2.1", "GET /a/b HTTP/1.1", TargetForm::Origin, ["/a/b", "", "gw.test"]),
    ("9112-3.2.1", "GET /a?b=c?d HTTP/1.1", TargetForm::Origin, ["/a", "?b=c?d", "gw.test"]),
    ("9112-3.2.1", "GET /? HTTP/1.1", TargetForm::Origin, ["/", "?", "gw.test"]),
    ("9112-3.2.1", "GET /a?b=../c&d[]=1 HTTP/1.1", TargetForm::Origin, ["/a", "?b=../c&d[]=1", "gw.test"]),
    ("3986-3.3", "GET //admin HTTP/1.1", TargetForm::Origin, ["//admin", "", "gw.test"]),
    ("3986-3.3", "GET /:@!$&'()*+,;=-._~ HTTP/1.1", TargetForm::Origin, ["/:@!$&'()*+,;=-._~", "", "gw.test"]),
    ("3986-2.1", "GET /%20%2F%c3%A9%252e HTTP/1.1", TargetForm::Origin, ["/%20%2F%c3%A9%252e", "", "gw.test"]),
    ("3986-5.2.4", "GET /.well-known/a..b/... HTTP/1.1", TargetForm::Origin, ["/.well-known/a..b/...", "", "gw.test"]),
    ("9112-3.2.1", "GET /http://evil.test/ HTTP/1.1", TargetForm::Origin, ["/http://evil.test/", "", "gw.test"]),
    ("9112-3.2.2", "GET http://other.test/a?b HTTP/1.1", TargetForm::Absolute, ["/a", "?b", "other.test"]),
    ("9112-3.2.2", "GET http://other.test:1/a HTTP/1.1", TargetForm::Absolute, ["/a", "", "other.test:1"]),
    ("9112-3.2.2", "GET HTTPS://other.test HTTP/1.1", TargetForm::Absolute, ["", "", "other.test"]),
    ("9112-3.2.2", "GET http://other.test?b HTTP/1.1", TargetForm::Absolute, ["", "?b", "other.test"]),
    ("9112-3.2.2", "GET http://[::1]:80/ HTTP/1.1", TargetForm::Absolute, ["/", "", "[::1]:80"]),
    ("9112-3.2.2", "GET http://a/b@c HTTP/1.1", TargetForm::Absolute, ["/b@c", "", "a"]),
    ("9112-3.2.2", "OPTIONS http://a HTTP/1.1", TargetForm::Absolute, ["", "", "a"]),
    ("9112-3.2.3", "CONNECT a:80 HTTP/1.1", TargetForm::Authority, ["", "", "a:80"]),
    ("9112-3.2.3", "CONNECT [::1]:443 HTTP/1.1", TargetForm::Authority, ["", "", "[::1]:443"]),
    ("9112-3.2.4", "OPTIONS * HTTP/1.1", TargetForm::Asterisk, ["*", "", "gw.test"]),
];

#[test]
fn accepted() {
    for &(section, line, form, parts) in ACCEPTED {
        let raw = format!("{line}\r\nHost: gw.test\r\n\r\n");
        let head = request(&raw).unwrap_or_else(|error| panic!("{section}: {line:?}: {error}"));
        let head = head.expect("whole");
        assert_eq!(head.form, form, "{section}: {line:?}");
        let given =
            [&head.path, &head.query, &head.host].map(|part| str::from_utf8(part).expect("ASCII"));
        assert_eq!(given, parts, "{section}: {line:?}");
        assert_eq!(head.len, raw.len());
    }
}

#[test]
fn methods() {
    // RFC 9110 sections 9.1, 9.2.1 and 9.2.2: name, method, safe, idempotent.
    for (name, method, safe, idempotent) in [
        ("GET", Method::Get, true, true),
        ("HEAD", Method::Head, true, true),
        ("OPTIONS", Method::Options, true, true),
        ("TRACE", Method::Trace, true, true),
        ("PUT", Method::Put, false, true),
        ("DELETE", Method::Delete, false, true),
        ("POST", Method::Post, false, false),
        ("PATCH", Method::Patch, false, false),
        ("BREW", Method::Other, false, false),
        ("get", Method::Other, false, false),
        ("!#$%&'*+-.^_`|~09azAZ", Method::Other, false, false),
        (
            "ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEF",
            Method::Other,
            false,
            false,
        ),
    ] {
        let head = request(format!("{name} / HTTP/1.1\r\nHost: a\r\n\r\n"))
            .expect(name)
            .expect(name);
        assert_eq!(
            (head.method, head.method_name.as_slice()),
            (method, name.as_bytes())
        );
        assert_eq!(
            (method.is_safe(), method.is_idempotent()),
            (safe, idempotent),
            "{name}"
        );
    }
    let connect = request("CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n")
        .expect("good")
        .expect("whole");
    assert_eq!(connect.method, Method::Connect);
    assert!(!Method::Connect.is_idempotent());
}

#[test]
fn up_to_four_empty_lines_are_passed_over_and_counted() {
    for count in 0..=4 {
        let raw = format!("{}GET / HTTP/1.0\r\n\r\nrest", "\r\n".repeat(count));
        let head = request(&raw).expect("good").expect("whole");
        assert_eq!(head.len, raw.len() - 4);
        assert_eq!(head.version, Version::Http10);
    }
}

#[test]
fn a_lone_prefix_is_not_an_error() {
    for raw in [
        "",
        "\r",
        "\r\n",
        "G",
        "GET",
        "GET ",
        "GET /",
        "GET / ",
        "GET / HTTP/1",
        "GET / HTTP/1.1",
        "GET / HTTP/1.1\r",
    ] {
        assert_eq!(request(raw), Ok(None), "{raw:?}");
    }
}
