//! Distributed traces: the context that goes upstream (W3C Trace Context, level 1), and the span of each
//! sampled exchange.
//!
//! A caller's valid `traceparent` is continued: same trace, a span of our own in between, the caller's
//! decision to sample kept. Anything else begins a new trace, and what the caller sent as `tracestate` with it
//! is dropped, because it belongs to a trace that we do not continue (section 3.3.1.4 and 4.3). Off, both
//! fields pass like any other.
//!
//! Spans leave like the access log does: JSON lines in a buffer that the driver takes away.

use gatewayx_http::RequestHead;

use crate::access::{write_number, write_text};
use crate::config::TracingConfig;
use crate::request_id::RequestIds;

/// `00-` + 32 + `-` + 16 + `-` + 2.
const PARENT_BYTES: usize = 55;

/// The `sampled` flag.
const SAMPLED: u8 = 1;

/// One exchange's place in its trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trace {
    pub(crate) trace_id: u128,
    /// Span of the caller; 0 when the trace begins here.
    pub(crate) parent_id: u64,
    /// Our own.
    pub(crate) span_id: u64,
    flags: u8,
}

impl Trace {
    /// Continues the caller's trace, or begins one.
    pub(crate) fn of(
        src: &[u8],
        head: &RequestHead,
        cfg: &TracingConfig,
        ids: &mut RequestIds,
    ) -> Self {
        let mut parents = head
            .fields
            .iter()
            .filter(|field| is_parent(field.name.of(src)));
        let parent = match (parents.next(), parents.next()) {
            (Some(only), None) => parse(only.value.of(src)),
            _ => None,
        };
        let span_id = ids.next_nonzero_u64();
        if let Some((trace_id, parent_id, flags)) = parent {
            // Flags that this version does not know are not ours to set.
            let flags = flags & SAMPLED;
            return Self {
                trace_id,
                parent_id,
                span_id,
                flags,
            };
        }
        let low = ids.next_nonzero_u64();
        let trace_id = u128::from(ids.next_u64()) << 64 | u128::from(low);
        let sampled = low % 1_000_000 < u64::from(cfg.sample_per_million);
        Self {
            trace_id,
            parent_id: 0,
            span_id,
            flags: u8::from(sampled),
        }
    }

    pub(crate) fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// The caller's trace is continued, so its `tracestate` still means something.
    pub(crate) fn continues(&self) -> bool {
        self.parent_id != 0
    }

    /// Appends the field for the upstream.
    pub(crate) fn write_field(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"traceparent: 00-");
        write_hex(out, self.trace_id, 32);
        out.push(b'-');
        write_hex(out, u128::from(self.span_id), 16);
        out.push(b'-');
        write_hex(out, u128::from(self.flags), 2);
        out.extend_from_slice(b"\r\n");
    }

    /// The trace id as 32 hexadecimal digits.
    pub(crate) fn id_text(&self) -> [u8; 32] {
        let mut out = Vec::with_capacity(32);
        write_hex(&mut out, self.trace_id, 32);
        out.try_into().expect("32 digits")
    }
}

/// Whether a caller's field is replaced by what `trace` says.
pub(crate) fn replaces(trace: &Trace, name: &[u8]) -> bool {
    is_parent(name) || (!trace.continues() && name.eq_ignore_ascii_case(b"tracestate"))
}

fn is_parent(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"traceparent")
}

/// Reads `version-traceid-parentid-flags` (section 3.2.2). A later version may add to the end.
fn parse(value: &[u8]) -> Option<(u128, u64, u8)> {
    let version = hex(value.get(..2)?)?;
    let whole = match version {
        0xff => false,
        0 => value.len() == PARENT_BYTES,
        _ => value.len() == PARENT_BYTES || value.get(PARENT_BYTES) == Some(&b'-'),
    };
    let dashes = [2, 35, 52].iter().all(|&at| value.get(at) == Some(&b'-'));
    if !whole || !dashes {
        return None;
    }
    let trace_id = hex(&value[3..35])?;
    let parent_id = hex(&value[36..52])? as u64;
    let flags = hex(&value[53..55])? as u8;
    (trace_id != 0 && parent_id != 0).then_some((trace_id, parent_id, flags))
}

/// Lower case only, as the specification has it.
fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |value: u128, &digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(value << 4 | u128::from(digit))
    })
}

fn write_hex(out: &mut Vec<u8>, value: u128, digits: u32) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.extend(
        (0..digits)
            .rev()
            .map(|digit| DIGITS[(value >> (4 * digit)) as usize & 15]),
    );
}

/// What a span tells of its exchange.
#[derive(Debug)]
pub(crate) struct SpanRecord<'a> {
    pub(crate) trace: Trace,
    pub(crate) start_unix_ns: u64,
    pub(crate) end_unix_ns: u64,
    pub(crate) request_id: &'a [u8],
    pub(crate) proxy_name: &'a [u8],
    /// The proxy's path: the route, of which there are few, where the path has no bound.
    pub(crate) route: &'a [u8],
    pub(crate) method: &'a [u8],
    pub(crate) path: &'a [u8],
    pub(crate) status: u16,
    pub(crate) upstream: &'a [u8],
    pub(crate) attempts: u32,
    pub(crate) error: &'static str,
}

/// Appends the span as a line.
pub(crate) fn write_span(out: &mut Vec<u8>, span: &SpanRecord<'_>) {
    out.extend_from_slice(b"{\"trace_id\":\"");
    write_hex(out, span.trace.trace_id, 32);
    out.extend_from_slice(b"\",\"span_id\":\"");
    write_hex(out, u128::from(span.trace.span_id), 16);
    out.extend_from_slice(b"\",\"parent_id\":\"");
    write_hex(out, u128::from(span.trace.parent_id), 16);
    out.push(b'"');
    write_number(out, "start_unix_ns", span.start_unix_ns);
    write_number(out, "end_unix_ns", span.end_unix_ns);
    write_text(out, "request_id", span.request_id);
    write_text(out, "proxy", span.proxy_name);
    write_text(out, "route", span.route);
    write_text(out, "method", span.method);
    write_text(out, "path", span.path);
    write_number(out, "status", u64::from(span.status));
    write_text(out, "upstream", span.upstream);
    write_number(out, "attempts", u64::from(span.attempts));
    write_text(out, "error", span.error.as_bytes());
    out.extend_from_slice(b"}\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const VALID: &[u8] = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn reads_what_the_specification_shows() {
        let read = parse(VALID).expect("valid");
        assert_eq!(
            read,
            (
                0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736,
                0x00f0_67aa_0ba9_02b7,
                1
            )
        );
    }

    #[test]
    fn refuses_what_the_specification_refuses() {
        for value in [
            &b""[..],
            b"00",
            b"ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            b"00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            b"00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            b"00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0g",
            b"00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            b"01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01x",
        ] {
            assert_eq!(parse(value), None, "{}", String::from_utf8_lossy(value));
        }
    }

    #[test]
    fn a_later_version_may_add_to_the_end() {
        let later = b"01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more";
        assert!(parse(later).is_some());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(trace_id in 1u128.., span_id in 1u64.., sampled: bool) {
            let trace = Trace { trace_id, parent_id: 0, span_id, flags: u8::from(sampled) };
            let mut field = Vec::new();
            trace.write_field(&mut field);
            let value = field.strip_prefix(b"traceparent: ").and_then(|rest| rest.strip_suffix(b"\r\n"));
            prop_assert_eq!(parse(value.expect("a field")), Some((trace_id, span_id, u8::from(sampled))));
        }

        #[test]
        fn nothing_panics(value in prop::collection::vec(any::<u8>(), 0..80)) {
            parse(&value);
        }
    }
}
