use super::{End, Framing, Reader};

fn requests(bytes: &[u8]) -> Reader {
    let mut reader = Reader::of_requests();
    reader.feed(bytes);
    reader
}

#[test]
fn messages_follow_each_other_however_they_are_cut() {
    let stream = b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc\
        \r\nPUT /b HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nde\r\n0\r\nT: u\r\n\r\n\
        GET /c HTTP/1.0\r\n\r\n";
    for cut in 0..=stream.len() {
        let mut reader = Reader::of_requests();
        reader.feed(&stream[..cut]);
        reader.feed(&stream[cut..]);
        assert_eq!(reader.fault, None);
        let bodies: Vec<_> = reader.messages.iter().map(|m| m.body.clone()).collect();
        assert_eq!(bodies, [&b"abc"[..], b"de", b""]);
        assert!(reader.messages.iter().all(|m| m.end == End::Whole));
        assert_eq!(reader.messages[1].trailers[0].name, "t");
        assert!(reader.is_between_messages());
    }
}

#[test]
fn what_two_readers_could_frame_differently_is_refused() {
    for (fields, body) in [
        ("Content-Length: 3\r\nContent-Length: 3\r\n", ""),
        ("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", ""),
        ("Content-Length: +3\r\n", ""),
        ("Transfer-Encoding: gzip, chunked\r\n", ""),
        ("Transfer-Encoding : chunked\r\n", ""),
        (" folded: x\r\n", ""),
        ("A: b\nContent-Length: 3\r\n", ""),
        ("A: b\rc\r\n", ""),
        ("A: \0\r\n", ""),
        ("Transfer-Encoding: chunked\r\n", "0x3\r\nabc\r\n"),
        ("Transfer-Encoding: chunked\r\n", "3\nabc"),
        ("Transfer-Encoding: chunked\r\n", "3\r\nabcX\r\n"),
        ("Transfer-Encoding: chunked\r\n", "3;\nabc\r\n"),
    ] {
        let text = format!("POST / HTTP/1.1\r\nHost: h\r\n{fields}\r\n{body}");
        assert!(requests(text.as_bytes()).fault.is_some(), "{text:?}");
    }
}

#[test]
fn a_response_is_framed_by_what_was_asked() {
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n";
    let mut reader = Reader::of_responses();
    reader.ask("HEAD");
    reader.ask("GET");
    reader.feed(head);
    assert_eq!(reader.messages[0].framing, Framing::None);
    reader.feed(head);
    reader.feed(b"ab");
    assert_eq!(reader.messages[1].end, End::Whole);
    reader.feed(head);
    assert!(reader.fault.is_some(), "nobody asked");
}

#[test]
fn only_a_clean_end_completes_a_body_without_length() {
    for clean in [true, false] {
        let mut reader = Reader::of_responses();
        reader.ask("GET");
        reader.feed(b"HTTP/1.1 200 OK\r\n\r\nabc");
        reader.end(clean);
        assert_eq!(reader.messages[0].end == End::Whole, clean);
    }
    let mut reader = Reader::of_responses();
    reader.ask("GET");
    reader.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabc");
    reader.end(true);
    assert_eq!(reader.messages[0].end, End::Cut);
}

#[test]
fn bytes_behind_an_upgrade_wait_for_its_answer() {
    let upgrade = b"GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    for switched in [true, false] {
        let mut reader = requests(upgrade);
        reader.feed(b"GET / HTTP/1.0\r\n\r\n");
        assert!(reader.is_held());
        reader.resolve_upgrade(switched);
        assert_eq!(reader.messages.len(), if switched { 1 } else { 2 });
        assert_eq!(reader.tunnel.is_empty(), !switched);
    }
}
