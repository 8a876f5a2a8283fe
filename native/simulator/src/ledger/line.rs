//! The access log: what a line says, and that it says what the caller saw.

use std::collections::BTreeMap;

use crate::books::Books;
use crate::oracle::End;

use super::Ledger;

/// How late timers may be in the simulator, with what the engine rounds.
const LATENESS_MAX_MS: f64 = 60.0;

/// One line.
#[derive(Clone, Debug)]
pub struct Line {
    /// Of the exchange.
    pub request_id: String,
    /// Empty when none matched.
    pub proxy_name: String,
    /// What the caller got, or 499.
    pub status: u16,
    /// Reason of a failure, or nothing.
    pub error: String,
    /// Kinds of the faults that were injected.
    pub fault: String,
    /// From the head's end to the end of the exchange.
    pub total_ms: f64,
    bytes_in: u64,
    bytes_out: u64,
}

impl Line {
    pub(super) fn parse(text: &[u8]) -> Self {
        let line: serde_json::Value = serde_json::from_slice(text).expect("a line is JSON");
        let text = |name: &str| line[name].as_str().expect(name).to_owned();
        let count = |name: &str| line[name].as_u64().expect(name);
        let millis = |name: &str| line[name].as_f64().expect(name);
        Self {
            request_id: text("request_id"),
            proxy_name: text("proxy_name"),
            status: u16::try_from(count("status_code")).expect("a status"),
            error: text("error"),
            fault: text("fault"),
            total_ms: millis("upstream_latency_ms") + millis("proxy_latency_ms"),
            bytes_in: count("bytes_in"),
            bytes_out: count("bytes_out"),
        }
    }
}

/// The log, added up.
#[derive(Clone, Debug, Default)]
pub struct LogSums {
    /// Lines.
    pub count: u64,
    /// How exchanges ended: by reason, and by nothing when they ended well.
    pub ends: BTreeMap<String, u64>,
    requests: BTreeMap<(String, String), u64>,
    errors: BTreeMap<(String, String), u64>,
    bytes_in: u64,
    bytes_out: u64,
}

impl LogSums {
    fn enter(&mut self, line: &Line) {
        self.count += 1;
        *self.ends.entry(line.error.clone()).or_default() += 1;
        let proxy = &line.proxy_name;
        let status = match line.status {
            100..=599 => line.status.to_string(),
            _ => "other".to_owned(),
        };
        *self.requests.entry((proxy.clone(), status)).or_default() += 1;
        let error = match &line.error[..] {
            "" if line.status >= 500 && !line.fault.contains("abort") => "5xx",
            error => error,
        };
        if !error.is_empty() {
            let label = (proxy.clone(), error.to_owned());
            *self.errors.entry(label).or_default() += 1;
        }
        // Bytes of requests that reached no proxy are not scraped.
        if !proxy.is_empty() {
            self.bytes_in += line.bytes_in;
            self.bytes_out += line.bytes_out;
        }
    }

    /// Adds another worker's.
    pub fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
        for (end, count) in &other.ends {
            *self.ends.entry(end.clone()).or_default() += count;
        }
        for (own, others) in [
            (&mut self.requests, &other.requests),
            (&mut self.errors, &other.errors),
        ] {
            for (label, count) in others {
                *own.entry(label.clone()).or_default() += count;
            }
        }
    }

    /// The counters are the sum of the log.
    pub(crate) fn agree_with(&self, books: &Books) {
        assert_eq!(
            self.requests, books.requests,
            "requests in the log and in the metrics"
        );
        assert_eq!(
            self.errors, books.errors,
            "errors in the log and in the metrics"
        );
        assert_eq!(self.bytes_in, books.bytes_in, "bytes received");
        assert_eq!(self.bytes_out, books.bytes_out, "bytes sent");
    }
}

impl Ledger {
    pub(super) fn enter(&mut self, line: Line) {
        self.sums.enter(&line);
        let id = line.request_id.clone();
        if let Some(&limit_ms) = self.totals_ms.get(&line.proxy_name)
            && limit_ms > 0
        {
            let total_ms = line.total_ms;
            assert!(
                total_ms <= limit_ms as f64 + LATENESS_MAX_MS,
                "{id} took {total_ms} ms, {limit_ms} are allowed"
            );
        }
        let Some(exchange) = self.exchanges.get_mut(&id) else {
            assert_eq!(line.status, 499, "{id}: nobody got this answer");
            return;
        };
        assert!(exchange.line.is_none(), "{id} has two lines in the log");
        exchange.line = Some(line.clone());
        let (key, index) = exchange.caller;
        let left = line.status == 499 || line.fault.contains("reset");
        let is_cut = line.fault.contains("truncate");
        match self.callers[&key].answer_to(index) {
            None => assert!(left, "{id}: the log has {} for no answer", line.status),
            Some(answer) => {
                let status = answer.status();
                assert!(
                    left || line.status == status,
                    "{id}: {line:?} for a {status}"
                );
                match answer.field("x-gateway-reason") {
                    Some(reason) => assert_eq!(line.error, reason, "{id}: reasons"),
                    None if status == 101 => {}
                    None => {
                        let whole = answer.end == End::Whole;
                        assert_eq!(
                            line.error.is_empty() && !is_cut,
                            whole,
                            "{id}: {line:?}, whole: {whole}"
                        );
                    }
                }
            }
        }
    }
}
