//! Chunked coding: what passes, what does not, and by which section.

use gatewayx_http::ParseError::{self, *};
use gatewayx_http::{CRLF, ChunkLimits, ChunkedDecoder, LAST_CHUNK, write_chunk_head};

use crate::delivery::{Body, body, body_within};

/// RFC section, body, data that is good before the fault, rule.
#[rustfmt::skip]
pub(crate) const REFUSED: &[(&str, &str, &str, ParseError)] = &[
    // Size lines.
    ("9112-7.1", "5\nhello\r\n0\r\n\r\n", "", BareLf),
    ("9112-7.1", "5\rhello\r\n0\r\n\r\n", "", BareCr),
    ("9112-7.1", "5\r\r\nhello", "", BareCr),
    ("9112-7.1", "+5\r\nhello", "", BadChunkSize),
    ("9112-7.1", "-5\r\nhello", "", BadChunkSize),
    ("9112-7.1", " 5\r\nhello", "", BadChunkSize),
    ("9112-7.1", "\t5\r\nhello", "", BadChunkSize),
    ("9112-7.1", "0x5\r\nhello", "", BadChunkSize),
    ("9112-7.1", "0_5\r\nhello", "", BadChunkSize),
    ("9112-7.1", "5,\r\nhello", "", BadChunkSize),
    ("9112-7.1", "5.0\r\nhello", "", BadChunkSize),
    ("9112-7.1", "Z\r\nhello", "", BadChunkSize),
    ("9112-7.1", "5g\r\nhello", "", BadChunkSize),
    ("9112-7.1", "5\0\r\nhello", "", BadChunkSize),
    ("9112-7.1", "\r\n0\r\n\r\n", "", BadChunkSize),
    ("9112-7.1", "\n", "", BareLf),
    ("9112-7.1", ";a=b\r\n", "", BadChunkSize),
    ("9112-7.1", "\u{ff}\r\n", "", BadChunkSize),
    ("9112-7.1", "10000000000000005\r\nhello", "", ChunkSizeTooLarge),
    ("9112-7.1", "FFFFFFFFFFFFFFFFF\r\nhello", "", ChunkSizeTooLarge),
    ("9112-7.1.1", "5\t\r\nhello", "", BadChunkExtension),
    ("9112-7.1.1", "5 \r\nhello", "", BadChunkExtension),
    ("9112-7.1.1", "5 5\r\nhello", "", BadChunkExtension),
    // Extensions.
    ("9112-7.1.1", "5;a\nhello", "", BareLf),
    ("9112-7.1.1", "5;a\rb\r\nhello", "", BareCr),
    ("9112-7.1.1", "5;a=\"\r\nhello", "", BadChunkExtension),
    ("9112-7.1.1", "5;a=\"\\\r\nhello", "", BadChunkExtension),
    ("9112-7.1.1", "5;a=\"\n", "", BareLf),
    ("9112-7.1.1", "5;\r\nhello", "", BadChunkExtension),
    ("9112-7.1.1", "5;;a\r\nhello", "", BadChunkExtension),
    ("9112-7.1.1", "5;a;\r\nhello", "", BadChunkExtension),
    ("9112-7.1.1", "5;a=\r\nhello", "", BadChunkExtension),
    ("9112-7.1.1", "5;=b\r\nhello", "", BadChunkExtension),
    ("9112-7.1.1", "5;a=b=c\r\nhello", "", BadChunkExtension),
    ("9112-7.1.1", "5;a b\r\nhello", "", BadChunkExtension),
    ("9112-7.1.1", "5;a=b c\r\nhello", "", BadChunkExtension),
    ("9112-7.1.1", "5;a \r\nhello", "", BadChunkExtension),
    ("9112-7.1.1", "5;a=b \r\nhello", "", BadChunkExtension),
    ("9112-7.1.1", "5;a=\"b\"c\r\nhello", "", BadChunkExtension),
    ("9112-7.1.1", "5;a=\"b\0\"\r\nhello", "", BadChunkExtension),
    ("9112-7.1.1", "5;a\0\r\nhello", "", BadChunkExtension),
    ("9112-7.1.1", "5;\u{e9}\r\nhello", "", BadChunkExtension),
    ("9112-7.1.1", "0;a\x7f\r\n\r\n", "", BadChunkExtension),
    // Data and its end.
    ("9112-7.1", "5\r\nhello\n0\r\n\r\n", "hello", BareLf),
    ("9112-7.1", "5\r\nhello\r0\r\n\r\n", "hello", BareCr),
    ("9112-7.1", "5\r\nhello0\r\n\r\n", "hello", BadChunkEnd),
    ("9112-7.1", "5\r\nhello!!\r\n0\r\n\r\n", "hello", BadChunkEnd),
    ("9112-7.1", "5\r\nhelloXX0\r\n\r\n", "hello", BadChunkEnd),
    ("9112-7.1", "5\r\nhello\r\n\r\n0\r\n\r\n", "hello", BadChunkSize),
    ("9112-7.1", "5\r\nhello\r\n0\n\r\n", "hello", BareLf),
    // Trailers.
    ("9112-7.1", "5\r\nhello\r\n0\r\n\n", "hello", BareLf),
    ("9112-7.1", "0\r\n\rX", "", BareCr),
    ("9112-7.1.2", "0\r\nX: a\0b\r\n\r\n", "", BadFieldValue),
    ("9112-7.1.2", "0\r\nHost: a\0b\r\n\r\n", "", BadFieldValue),
    ("9112-7.1.2", "0\r\nX: a\rb\r\n\r\n", "", BareCr),
    ("9112-7.1.2", "0\r\nX: a\nY: b\r\n\r\n", "", BareLf),
    ("9112-7.1.2", "0\r\nX: a\r\n b\r\n\r\n", "", ObsFold),
    ("9112-7.1.2", "0\r\n X: a\r\n\r\n", "", ObsFold),
    ("9112-7.1.2", "0\r\nX : a\r\n\r\n", "", WhitespaceBeforeColon),
    ("9112-7.1.2", "0\r\n: a\r\n\r\n", "", EmptyFieldName),
    ("9112-7.1.2", "0\r\nX\r\n\r\n", "", MissingColon),
    ("9112-7.1.2", "0\r\nX\n", "", BareLf),
    ("9112-7.1.2", "0\r\nX\0: a\r\n\r\n", "", BadFieldName),
    ("9112-7.1.2", "0\r\n\0X: a\r\n\r\n", "", BadFieldName),
    ("9112-7.1.2", "0\r\nX:\n", "", BareLf),
    ("9112-7.1.2", "0\r\nGET /smuggled HTTP/1.1\r\n", "", WhitespaceBeforeColon),
];

fn latin1(text: &str) -> Vec<u8> {
    text.chars().map(|c| c as u8).collect()
}

#[test]
fn refused() {
    for &(section, raw, data, error) in REFUSED {
        let expected = Body {
            data: data.into(),
            end: None,
            error: Some(error),
        };
        assert_eq!(body(latin1(raw)), expected, "{section}: {raw:?}");
    }
}

/// RFC section, body, data, trailers. All of it is consumed, and none of what follows.
#[rustfmt::skip]
const ACCEPTED: &[(&str, &str, &str, &str)] = &[
    ("9112-7.1", "5\r\nhello\r\n0\r\n\r\n", "hello", ""),
    ("9112-7.1", "0\r\n\r\n", "", ""),
    ("9112-7.1", "000\r\n\r\n", "", ""),
    ("9112-7.1", "0005\r\nhello\r\n0\r\n\r\n", "hello", ""),
    ("9112-7.1", "00000000000000000000000000000005\r\nhello\r\n0\r\n\r\n", "hello", ""),
    ("9112-7.1", "A\r\nhelloworld\r\n0\r\n\r\n", "helloworld", ""),
    ("9112-7.1", "a\r\nhelloworld\r\n0\r\n\r\n", "helloworld", ""),
    ("9112-7.1", "1\r\nh\r\n1\r\ne\r\n3\r\nllo\r\n0\r\n\r\n", "hello", ""),
    ("9112-7.1", "7\r\n\r\n0\r\n\r\n\r\n0\r\n\r\n", "\r\n0\r\n\r\n", ""),
    ("9112-7.1.1", "5;a=b\r\nhello\r\n0\r\n\r\n", "hello", ""),
    ("9112-7.1.1", "5;a\r\nhello\r\n0;last\r\n\r\n", "hello", ""),
    ("9112-7.1.1", "5 ; a = b\r\nhello\r\n0\r\n\r\n", "hello", ""),
    ("9112-7.1.1", "5;a;b=c \t;d=\"e;\\\"\u{e9}\t\" ;f\r\nhello\r\n0\r\n\r\n", "hello", ""),
    ("9112-7.1.1", "5;a=\"\"\r\nhello\r\n0\r\n\r\n", "hello", ""),
    ("9112-7.1.2", "0\r\nX-Sum: 1\r\n\r\n", "", "X-Sum: 1\r\n"),
    ("9112-7.1.2", "0\r\nX-Sum:\t 1 2 \t\r\ngrpc-status:0\r\nEmpty:\r\nBlank: \r\n\r\n", "", "X-Sum: 1 2\r\ngrpc-status: 0\r\nEmpty: \r\nBlank: \r\n"),
    ("9112-7.1.2", "0\r\nX:GET /smuggled HTTP/1.1\r\nHost: gw.test\r\n\r\n", "", "X: GET /smuggled HTTP/1.1\r\n"),
    ("9110-6.5.1", "0\r\nTransfer-Encoding: chunked\r\n\r\n", "", ""),
    ("9110-6.5.1", "0\r\nA: 1\r\nHost: evil.test\r\nB: 2\r\nContent-Length: 5\r\n\r\n", "", "A: 1\r\nB: 2\r\n"),
    ("9110-6.5.1", "0\r\nX-Forwarded-For: 10.0.0.1\r\nX_Forwarded_For: 10.0.0.1\r\nConnection: close\r\n\r\n", "", ""),
];

#[test]
fn accepted() {
    for &(section, raw, data, trailers) in ACCEPTED {
        let raw = latin1(raw);
        let expected = Body {
            data: data.into(),
            end: Some((raw.len(), trailers.into())),
            error: None,
        };
        assert_eq!(body(&raw), expected, "{section}: {}", raw.escape_ascii());
        let followed = [raw.as_slice(), b"\0GET /next"].concat();
        assert_eq!(
            body(followed),
            expected,
            "{section}: {}",
            raw.escape_ascii()
        );
        for end in 0..raw.len() {
            let cut = body(&raw[..end]);
            assert_eq!(
                (cut.end, cut.error),
                (None, None),
                "{section}: {}",
                raw[..end].escape_ascii()
            );
        }
    }
}

#[test]
fn a_huge_chunk_is_not_taken_for_a_small_one() {
    for size in [
        "100000005",
        "7fffffffffffffff",
        "ffffffffffffffff",
        "0000ffffffffffffffff",
    ] {
        let body = body(format!("{size}\r\nhello\r\n0\r\n\r\n"));
        assert_eq!(
            (body.data, body.end, body.error),
            (b"hello\r\n0\r\n\r\n".to_vec(), None, None)
        );
    }
}

#[test]
fn limits_are_met_exactly() {
    let limits = ChunkLimits {
        size_line_max_bytes: 8,
        extensions_max_bytes: 10,
        trailers_max_bytes: 20,
        trailer_fields_max_count: 2,
    };
    let error = |raw: &str| body_within(raw, limits).error;
    assert_eq!(error("00000000\r\n\r\n"), None);
    assert_eq!(error("000000000\r\n\r\n"), Some(ChunkLineTooLong));
    assert_eq!(error("0;aaaaaa\r\n\r\n"), None);
    assert_eq!(error("0;aaaaaaa\r\n\r\n"), Some(ChunkLineTooLong));
    // Ten bytes of extensions in three lines, then one more.
    assert_eq!(error("1;aaaa\r\nx\r\n1;aa\r\nx\r\n0;a\r\n\r\n"), None);
    assert_eq!(
        error("1;aaaa\r\nx\r\n1;aaa\r\nx\r\n0;a\r\n\r\n"),
        Some(ChunkExtensionsTooLarge)
    );
    // Twenty bytes of trailers with their line ends, then one more.
    assert_eq!(error("0\r\nX: 1\r\nY: 3456789\r\n\r\n"), None);
    assert_eq!(
        error("0\r\nX: 1\r\nY: 34567890\r\n\r\n"),
        Some(TrailersTooLarge)
    );
    assert_eq!(error("0\r\nA:\r\nB:\r\n\r\n"), None);
    assert_eq!(error("0\r\nA:\r\nB:\r\nC:\r\n\r\n"), Some(TooManyTrailers));
    // Dropped fields count.
    assert_eq!(
        error("0\r\nTE:\r\nTE:\r\nTE:\r\n\r\n"),
        Some(TooManyTrailers)
    );
}

#[test]
fn a_step_takes_all_up_to_the_next_data() {
    let mut decoder = ChunkedDecoder::new(ChunkLimits::default());
    let raw = b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\nrest";
    let first = decoder.step(raw).expect("good");
    assert_eq!(
        (first.data.clone(), first.consumed, first.done),
        (3..6, 11, false)
    );
    let second = decoder.step(&raw[first.consumed..]).expect("good");
    assert_eq!((second.data, second.consumed, second.done), (0..2, 9, true));
    let after = decoder.step(b"rest").expect("done stays done");
    assert_eq!((after.consumed, after.data.len(), after.done), (0, 0, true));
}

#[test]
fn what_is_written_is_read_back() {
    for len_bytes in [1, 9, 10, 15, 16, 17, 255, 256, 4096, 65_535, 70_000] {
        let data = vec![b'x'; len_bytes];
        let mut raw = Vec::new();
        write_chunk_head(&mut raw, len_bytes);
        assert_eq!(raw, format!("{len_bytes:x}\r\n").as_bytes());
        raw.extend_from_slice(&data);
        raw.extend_from_slice(CRLF);
        raw.extend_from_slice(LAST_CHUNK);
        raw.extend_from_slice(b"X-Sum: 1\r\n");
        raw.extend_from_slice(CRLF);
        let expected = Body {
            data,
            end: Some((raw.len(), b"X-Sum: 1\r\n".to_vec())),
            error: None,
        };
        if len_bytes <= 256 {
            assert_eq!(body(raw), expected);
        } else {
            let mut decoder = ChunkedDecoder::default();
            let step = decoder.step(&raw).expect("good");
            assert_eq!((step.data.len(), step.done), (len_bytes, true));
        }
    }
    let mut raw = Vec::new();
    write_chunk_head(&mut raw, usize::MAX);
    assert_eq!(raw, b"ffffffffffffffff\r\n");
}
