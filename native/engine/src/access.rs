//! The access log: one JSON line an exchange, appended to a buffer that the driver takes away and writes.

use crate::rewrite::write_decimal;

/// Facts about one finished exchange.
#[derive(Debug)]
pub(crate) struct AccessRecord<'a> {
    pub(crate) time_unix_ms: u64,
    pub(crate) request_id: &'a [u8],
    pub(crate) proxy_name: &'a [u8],
    pub(crate) method: &'a [u8],
    pub(crate) path: &'a [u8],
    pub(crate) status: u16,
    pub(crate) upstream: &'a [u8],
    pub(crate) upstream_latency_ns: u64,
    pub(crate) proxy_latency_ns: u64,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) concurrent_count: u64,
    pub(crate) circuit_state: &'static str,
    pub(crate) error: &'static str,
    pub(crate) fault: &'static str,
    /// Present while tracing is on.
    pub(crate) trace_id: Option<[u8; 32]>,
}

/// Appends the record as a line.
pub(crate) fn write_record(out: &mut Vec<u8>, record: &AccessRecord<'_>) {
    out.extend_from_slice(b"{\"time\":\"");
    write_time(out, record.time_unix_ms);
    out.push(b'"');
    write_text(out, "request_id", record.request_id);
    write_text(out, "proxy_name", record.proxy_name);
    write_text(out, "method", record.method);
    write_text(out, "path", record.path);
    write_number(out, "status_code", u64::from(record.status));
    write_text(out, "upstream", record.upstream);
    write_millis(out, "upstream_latency_ms", record.upstream_latency_ns);
    write_millis(out, "proxy_latency_ms", record.proxy_latency_ns);
    write_number(out, "bytes_in", record.bytes_in);
    write_number(out, "bytes_out", record.bytes_out);
    write_text(out, "circuit_state", record.circuit_state.as_bytes());
    write_number(out, "concurrent_count", record.concurrent_count);
    write_text(out, "error", record.error.as_bytes());
    write_text(out, "fault", record.fault.as_bytes());
    if let Some(trace_id) = &record.trace_id {
        write_text(out, "trace_id", trace_id);
    }
    out.extend_from_slice(b"}\n");
}

fn write_key(out: &mut Vec<u8>, key: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(b"\":");
}

pub(crate) fn write_number(out: &mut Vec<u8>, key: &str, value: u64) {
    write_key(out, key);
    write_decimal(out, value);
}

fn write_millis(out: &mut Vec<u8>, key: &str, value_ns: u64) {
    write_key(out, key);
    write_decimal(out, value_ns / 1_000_000);
    out.push(b'.');
    write_padded(out, value_ns / 1_000 % 1_000, 3);
}

pub(crate) fn write_text(out: &mut Vec<u8>, key: &str, value: &[u8]) {
    write_key(out, key);
    out.push(b'"');
    if value
        .iter()
        .all(|&byte| (0x20..0x7f).contains(&byte) && byte != b'"' && byte != b'\\')
    {
        out.extend_from_slice(value);
    } else {
        for &byte in value {
            write_escaped(out, byte);
        }
    }
    out.push(b'"');
}

/// Anything but plain ASCII is written as the code point of its byte: a log line is always valid JSON.
fn write_escaped(out: &mut Vec<u8>, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    match byte {
        b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
        0x20..0x7f => out.push(byte),
        _ => {
            out.extend_from_slice(b"\\u00");
            out.extend_from_slice(&[
                DIGITS[usize::from(byte >> 4)],
                DIGITS[usize::from(byte & 15)],
            ]);
        }
    }
}

/// RFC 3339 in UTC with milliseconds. The calendar is Howard Hinnant's `civil_from_days`.
fn write_time(out: &mut Vec<u8>, unix_ms: u64) {
    let (days, day_ms) = (unix_ms / 86_400_000, unix_ms % 86_400_000);
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    for (value, width, end) in [
        (year, 4, b'-'),
        (month, 2, b'-'),
        (day, 2, b'T'),
        (day_ms / 3_600_000, 2, b':'),
        (day_ms / 60_000 % 60, 2, b':'),
        (day_ms / 1_000 % 60, 2, b'.'),
        (day_ms % 1_000, 3, b'Z'),
    ] {
        write_padded(out, value, width);
        out.push(end);
    }
}

fn write_padded(out: &mut Vec<u8>, value: u64, width: usize) {
    let start = out.len();
    out.resize(start + width, b'0');
    let mut rest = value;
    for digit in out[start..].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(unix_ms: u64) -> String {
        let mut out = Vec::new();
        write_time(&mut out, unix_ms);
        String::from_utf8(out).expect("ASCII")
    }

    #[test]
    fn times_are_rfc_3339() {
        assert_eq!(time(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(time(951_782_400_123), "2000-02-29T00:00:00.123Z");
        assert_eq!(time(1_767_225_599_999), "2025-12-31T23:59:59.999Z");
        assert_eq!(time(4_107_542_400_000), "2100-03-01T00:00:00.000Z");
    }

    #[test]
    fn a_line_is_valid_json_whatever_the_path_holds() {
        let path: Vec<u8> = (0..=255).collect();
        let mut out = Vec::new();
        let record = AccessRecord {
            time_unix_ms: 1,
            request_id: b"r",
            proxy_name: b"p",
            method: b"GET",
            path: &path,
            status: 200,
            upstream: b"127.0.0.1:1",
            upstream_latency_ns: 12_345_678,
            proxy_latency_ns: 45_000,
            bytes_in: 1,
            bytes_out: 2,
            concurrent_count: 3,
            circuit_state: "closed",
            error: "",
            fault: "delay",
            trace_id: Some([b'a'; 32]),
        };
        write_record(&mut out, &record);
        let line: serde_json::Value = serde_json::from_slice(&out).expect("JSON");
        assert_eq!(line["upstream_latency_ms"], 12.345);
        assert_eq!(line["proxy_latency_ms"], 0.045);
        let read: Vec<u32> = line["path"]
            .as_str()
            .expect("text")
            .chars()
            .map(u32::from)
            .collect();
        assert_eq!(read, (0..=255).collect::<Vec<u32>>());
        assert_eq!(out.iter().filter(|&&byte| byte == b'\n').count(), 1);
    }
}
