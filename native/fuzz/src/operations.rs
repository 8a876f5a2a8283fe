//! The engine's inputs in any order, with any bytes: each byte of the data is an operation or part of one.

use std::time::Duration;

use gatewayx_engine::{ConnId, DialError};
use gatewayx_simulator::pair::{Dialling, Pair, one_proxy};

/// Pieces of messages: enough to get past the parsers, cut so that any order can follow. `#` becomes a number
/// that is used once, by which the ledger tells requests apart.
const CALLERS_WORDS: [&str; 14] = [
    "GET / HTTP/1.1\r\nHost: h\r\nX-Request-Id: #\r\n\r\n",
    "HEAD /a HTTP/1.1\r\nHost: h\r\nX-Request-Id: #\r\n\r\n",
    "GET / HTTP/1.0\r\nX-Request-Id: #\r\n\r\n",
    "PUT /b HTTP/1.1\r\nHost: h\r\nX-Request-Id: #\r\n",
    "POST /b HTTP/1.1\r\nHost: h\r\nX-Request-Id: #\r\n",
    "GET /c HTTP/1.1\r\nHost: h\r\nX-Request-Id: #\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    "Content-Length: 5\r\n\r\n",
    "Transfer-Encoding: chunked\r\n\r\n",
    "Expect: 100-continue\r\n",
    "Connection: close\r\n",
    "hello",
    "3\r\nabc\r\n",
    "0\r\n\r\n",
    "nonsense\r\n\r\n",
];

const TARGETS_WORDS: [&str; 14] = [
    "HTTP/1.1 200 OK\r\n",
    "HTTP/1.1 503 Busy\r\n",
    "HTTP/1.0 200 OK\r\n",
    "HTTP/1.1 204 No Content\r\n\r\n",
    "HTTP/1.1 100 Continue\r\n\r\n",
    "HTTP/1.1 103 Early Hints\r\n\r\n",
    "HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    "Content-Length: 5\r\n\r\n",
    "Transfer-Encoding: chunked\r\n\r\n",
    "Connection: close\r\n",
    "hello",
    "3\r\nabc\r\n",
    "0\r\n\r\n",
    "\r\n",
];

/// Operations on a model of the driver, which checks the engine after each of them.
pub fn operations(data: &[u8]) {
    let mut cfg = one_proxy();
    let mut bytes = data.iter().copied();
    let flags = bytes.next().unwrap_or(0);
    let proxy = &mut cfg["proxies"][0];
    proxy["websocket"] = (flags & 1 != 0).into();
    proxy["max_concurrent"] = u32::from(flags >> 1 & 3).into();
    if flags & 8 != 0 {
        proxy["queue"] = serde_json::json!({"size": 2, "timeout_ms": 1_000});
    }
    if flags & 16 != 0 {
        proxy["circuit_breaker"] = serde_json::json!({
            "failure_threshold": 2, "recovery_timeout_ms": 500, "half_open_requests": 1});
    }
    if flags & 32 != 0 {
        proxy["retry"] = serde_json::json!({
            "attempts": 3, "on_connect_failure": true, "on_reset": true, "on_timeout": true,
            "on_statuses": [503], "backoff_ms": 10, "backoff_max_ms": 50, "budget_percent": 100,
            "budget_floor": 100, "body_max_bytes": 4});
    }
    cfg["buffer"]["high_water_bytes"] = (if flags & 64 != 0 { 1 } else { 65_536 }).into();
    let mut pair = Pair::new(&cfg);
    let mut conns: Vec<ConnId> = Vec::new();
    let mut turn = 0;
    while let (Some(operation), Some(operand)) = (bytes.next(), bytes.next()) {
        turn += 1;
        operate(
            &mut pair,
            &mut conns,
            turn,
            (operation, operand),
            &mut bytes,
        );
    }
    pair.gateway.shut_down();
    pair.settle();
    let counts = pair.gateway.engine.counts();
    assert_eq!(
        (counts.downstreams, counts.upstreams, counts.exchanges),
        (0, 0, 0)
    );
    pair.gateway.ledger.close();
}

fn operate(
    pair: &mut Pair,
    conns: &mut Vec<ConnId>,
    turn: usize,
    (operation, operand): (u8, u8),
    bytes: &mut impl Iterator<Item = u8>,
) {
    while let Some(conn) = pair.try_accept() {
        conns.push(conn);
    }
    conns.retain(|&conn| pair.gateway.is_open(conn));
    match operation % 16 {
        0 if conns.len() < 16 => conns.push(pair.connect()),
        1 => {
            pair.dialling =
                [Dialling::Succeeds, Dialling::Fails, Dialling::Hangs][usize::from(operand % 3)]
        }
        2 => pair.try_fail_dial(if operand % 2 == 0 {
            DialError::Failed
        } else {
            DialError::TimedOut
        }),
        3 => pair.advance(Duration::from_millis(
            u64::from(operand) * u64::from(operand),
        )),
        4 if operand == 77 => pair.gateway.start_draining(),
        _ => {
            let Some(&conn) = conns.get(usize::from(operand) % conns.len().max(1)) else {
                return;
            };
            act(pair, conn, turn, operation, bytes);
        }
    }
    pair.settle();
}

fn act(
    pair: &mut Pair,
    conn: ConnId,
    turn: usize,
    operation: u8,
    bytes: &mut impl Iterator<Item = u8>,
) {
    let next = bytes.next().unwrap_or(0);
    match operation % 16 {
        6 => pair.reset(conn),
        7 => pair.narrow(conn, usize::from(next)),
        8 => pair.widen(conn, usize::from(next) * 64),
        _ if pair.has_shut_down(conn) => {}
        5 => pair.try_shut_down(conn),
        9 => {
            let raw: Vec<u8> = bytes.take(usize::from(next % 32)).collect();
            pair.send(conn, raw);
        }
        _ => {
            let words = match conn {
                ConnId::Downstream(_) => CALLERS_WORDS,
                ConnId::Upstream(_) => TARGETS_WORDS,
            };
            let word = words[usize::from(next) % words.len()];
            pair.send(conn, word.replace('#', &turn.to_string()));
        }
    }
}
