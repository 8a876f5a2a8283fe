//! Hands bytes to the parsers in every way a network can, and insists on one result.

use gatewayx_http::{
    ChunkLimits, ChunkedDecoder, Field, FieldId, Framing, HeadLimits, HeadScan, Method, Oddities,
    ParseError, RequestHead, ResponseFraming, ResponseHead, Span, TargetForm, Version,
    parse_request, parse_response,
};

/// A field with its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FieldView {
    pub(crate) name: Vec<u8>,
    pub(crate) value: Vec<u8>,
    pub(crate) id: FieldId,
    pub(crate) hop_by_hop: bool,
}

/// A request head with its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) method_name: Vec<u8>,
    pub(crate) form: TargetForm,
    pub(crate) path: Vec<u8>,
    pub(crate) query: Vec<u8>,
    pub(crate) host: Vec<u8>,
    pub(crate) version: Version,
    pub(crate) fields: Vec<FieldView>,
    pub(crate) framing: Framing,
    pub(crate) keep_alive: bool,
    pub(crate) expect_continue: bool,
    pub(crate) upgrade: Vec<u8>,
    pub(crate) te_trailers: bool,
    pub(crate) len: usize,
}

/// A response head with its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) version: Version,
    pub(crate) status: u16,
    pub(crate) reason: Vec<u8>,
    pub(crate) fields: Vec<FieldView>,
    pub(crate) framing: ResponseFraming,
    pub(crate) keep_alive: bool,
    pub(crate) upgrade: Vec<u8>,
    pub(crate) oddities: Oddities,
    pub(crate) len: usize,
}

/// A head, `None` when it is not whole, or why it is refused.
pub(crate) type Verdict<T> = Result<Option<T>, ParseError>;

/// Parses a request under the default limits.
pub(crate) fn request(raw: impl AsRef<[u8]>) -> Verdict<Request> {
    request_within(raw, &HeadLimits::default())
}

/// Parses a request.
pub(crate) fn request_within(raw: impl AsRef<[u8]>, limits: &HeadLimits) -> Verdict<Request> {
    let mut head = used_request_head();
    deliver(raw.as_ref(), |buf, scan| {
        let whole = parse_request(buf, scan, limits, &mut head)?;
        Ok(whole.then(|| view_request(buf, &head)))
    })
}

/// Parses the response to a GET under the default limits.
pub(crate) fn response(raw: impl AsRef<[u8]>) -> Verdict<Response> {
    response_to(Method::Get, raw)
}

/// Parses the response to a request of that method under the default limits.
pub(crate) fn response_to(method: Method, raw: impl AsRef<[u8]>) -> Verdict<Response> {
    response_within(method, raw, &HeadLimits::default())
}

/// Parses a response.
pub(crate) fn response_within(
    method: Method,
    raw: impl AsRef<[u8]>,
    limits: &HeadLimits,
) -> Verdict<Response> {
    let mut head = used_response_head();
    deliver(raw.as_ref(), |buf, scan| {
        let whole = parse_response(buf, scan, limits, method, &mut head)?;
        Ok(whole.then(|| view_response(buf, &head)))
    })
}

/// One verdict for the bytes, however they arrive. The parser's head is the same throughout, so
/// that anything left over from an earlier parse would show.
fn deliver<T: PartialEq + std::fmt::Debug>(
    raw: &[u8],
    mut parse: impl FnMut(&[u8], &mut HeadScan) -> Verdict<T>,
) -> Verdict<T> {
    let whole = parse(raw, &mut HeadScan::default());

    let mut scan = HeadScan::default();
    let byte_by_byte = (0..=raw.len())
        .map(|end| parse(&raw[..end], &mut scan))
        .find(|verdict| !matches!(verdict, Ok(None)))
        .unwrap_or(Ok(None));
    assert_eq!(byte_by_byte, whole, "byte by byte: {}", raw.escape_ascii());

    // In long inputs only some places: all are alike but for the ends.
    let stride = 1 + raw.len() / 300;
    for cut in (0..raw.len()).step_by(stride) {
        let mut scan = HeadScan::default();
        let first = parse(&raw[..cut], &mut scan);
        let split = if first == Ok(None) {
            parse(raw, &mut scan)
        } else {
            first
        };
        assert_eq!(split, whole, "cut at {cut}: {}", raw.escape_ascii());
    }
    whole
}

/// What a chunked decoder made of the bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Body {
    pub(crate) data: Vec<u8>,
    /// Bytes consumed and trailer lines, when the message is whole; `None` while it is not.
    pub(crate) end: Option<(usize, Vec<u8>)>,
    pub(crate) error: Option<ParseError>,
}

/// Decodes a chunked body under the default limits.
pub(crate) fn body(raw: impl AsRef<[u8]>) -> Body {
    body_within(raw, ChunkLimits::default())
}

/// Decodes a chunked body.
pub(crate) fn body_within(raw: impl AsRef<[u8]>, limits: ChunkLimits) -> Body {
    let raw = raw.as_ref();
    let whole = decode(&[raw], limits);
    let bytes: Vec<&[u8]> = raw.chunks(1).collect();
    assert_eq!(
        decode(&bytes, limits),
        whole,
        "byte by byte: {}",
        raw.escape_ascii()
    );
    let stride = 1 + raw.len() / 300;
    for cut in (0..=raw.len()).step_by(stride) {
        let (first, second) = raw.split_at(cut);
        assert_eq!(
            decode(&[first, second], limits),
            whole,
            "cut at {cut}: {}",
            raw.escape_ascii()
        );
    }
    whole
}

/// Decodes a chunked body that comes cut at these places, in order.
pub(crate) fn body_in_pieces(raw: &[u8], cuts: &[usize]) -> Body {
    let mut pieces = Vec::new();
    let mut start = 0;
    for &cut in cuts.iter().chain([&raw.len()]) {
        pieces.push(&raw[start..cut]);
        start = cut;
    }
    decode(&pieces, ChunkLimits::default())
}

fn decode(pieces: &[&[u8]], limits: ChunkLimits) -> Body {
    let mut decoder = ChunkedDecoder::new(limits);
    let mut body = Body::default();
    let mut consumed = 0;
    for piece in pieces {
        let mut rest = *piece;
        while !rest.is_empty() {
            let step = match decoder.step(rest) {
                Ok(step) => step,
                Err(error) => {
                    assert_eq!(decoder.step(b"0\r\n\r\n"), Err(error), "errors are final");
                    body.error = Some(error);
                    return body;
                }
            };
            assert!(step.data.end <= step.consumed && step.consumed <= rest.len());
            body.data.extend_from_slice(&rest[step.data.clone()]);
            consumed += step.consumed;
            if step.done {
                body.end = Some((consumed, decoder.trailers().to_vec()));
                return body;
            }
            assert!(step.consumed > 0, "no progress");
            rest = &rest[step.consumed..];
        }
    }
    body
}

/// A head full of what another message left behind.
fn used_request_head() -> RequestHead {
    let left_over = Span { start: 0, end: 1 };
    RequestHead {
        method: Method::Connect,
        method_span: left_over,
        form: TargetForm::Authority,
        path: left_over,
        query: left_over,
        host: left_over,
        version: Version::Http10,
        fields: vec![left_over_field()],
        framing: Framing::Chunked,
        keep_alive: true,
        expect_continue: true,
        upgrade: left_over,
        te_trailers: true,
        len: 1,
    }
}

/// A head full of what another message left behind.
fn used_response_head() -> ResponseHead {
    let mut head = ResponseHead {
        version: Version::Http10,
        status: 1,
        reason: Span { start: 0, end: 1 },
        fields: vec![left_over_field()],
        framing: ResponseFraming::Chunked,
        keep_alive: true,
        upgrade: Span { start: 0, end: 1 },
        oddities: Oddities::NO_REASON,
        len: 1,
    };
    head.oddities.insert(Oddities::ODD_CASE);
    head
}

fn left_over_field() -> Field {
    let span = Span { start: 0, end: 1 };
    Field {
        name: span,
        value: span,
        id: FieldId::Host,
        hop_by_hop: true,
    }
}

fn view_request(buf: &[u8], head: &RequestHead) -> Request {
    let bytes = |span: Span| span.of(buf).to_vec();
    Request {
        method: head.method,
        method_name: bytes(head.method_span),
        form: head.form,
        path: bytes(head.path),
        query: bytes(head.query),
        host: bytes(head.host),
        version: head.version,
        fields: view_fields(buf, &head.fields),
        framing: head.framing,
        keep_alive: head.keep_alive,
        expect_continue: head.expect_continue,
        upgrade: bytes(head.upgrade),
        te_trailers: head.te_trailers,
        len: head.len,
    }
}

fn view_response(buf: &[u8], head: &ResponseHead) -> Response {
    Response {
        version: head.version,
        status: head.status,
        reason: head.reason.of(buf).to_vec(),
        fields: view_fields(buf, &head.fields),
        framing: head.framing,
        keep_alive: head.keep_alive,
        upgrade: head.upgrade.of(buf).to_vec(),
        oddities: head.oddities,
        len: head.len,
    }
}

fn view_fields(buf: &[u8], fields: &[Field]) -> Vec<FieldView> {
    fields
        .iter()
        .map(|field| FieldView {
            name: field.name.of(buf).to_vec(),
            value: field.value.of(buf).to_vec(),
            id: field.id,
            hop_by_hop: field.hop_by_hop,
        })
        .collect()
}

impl Request {
    /// Names of the fields that are forwarded.
    pub(crate) fn forwarded(&self) -> Vec<String> {
        forwarded(&self.fields)
    }
}

impl Response {
    /// Names of the fields that are forwarded.
    pub(crate) fn forwarded(&self) -> Vec<String> {
        forwarded(&self.fields)
    }
}

fn forwarded(fields: &[FieldView]) -> Vec<String> {
    let forwarded = fields.iter().filter(|field| !field.hop_by_hop);
    forwarded
        .map(|field| String::from_utf8_lossy(&field.name).into_owned())
        .collect()
}
