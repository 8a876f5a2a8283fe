//! Who may call, how often, and what the target is told of them.

use gatewayx_simulator::pair::{Pair, one_proxy};
use serde_json::{Value, json};

use crate::{get, ms, ok, reason, request, status};

const TOKEN: &str = "Authorization: Bearer sim-token\r\n";

fn guarded(options: Value) -> Pair {
    let mut cfg = one_proxy();
    cfg["auth"] = json!({"tokens": [{
        "id": "sim", "digest": {"sha256": "104e8e6201c042a8a7a48ba07c5f25ce50b301f427ecd3703785435457f00372"}, "claims": {"team": "blue", "bad": "a\r\nX-Evil: 1"},
    }]});
    let proxy = cfg["proxies"][0].as_object_mut().expect("a proxy");
    proxy.extend(options.as_object().expect("options").clone());
    Pair::new(&cfg)
}

#[test]
fn a_refusal_is_counted_and_reaches_nobody() {
    let mut pair = guarded(json!({"access_rule": "@request.auth.team = 'blue'"}));
    let caller = pair.ask(get("first"));
    let answer = pair.received(caller);
    assert_eq!((status(&answer), reason(&answer)), ("401", "auth_required"));
    assert!(answer.contains("WWW-Authenticate: Bearer\r\n"));
    assert!(pair.has_no_dial());
    pair.send(caller, request("GET", "second", TOKEN));
    let target = pair.accept();
    assert!(pair.received(target).contains("GET /second "));
    pair.send(target, ok("done"));
    assert!(pair.received(caller).ends_with("done"));
}

#[test]
fn a_caller_who_is_known_and_not_let_in_is_denied() {
    let mut pair = guarded(json!({"access_rule": "@request.auth.team = 'red'"}));
    let caller = pair.ask(request("GET", "first", TOKEN));
    let answer = pair.received(caller);
    assert_eq!((status(&answer), reason(&answer)), ("403", "access_denied"));
    assert!(!answer.contains("WWW-Authenticate"));
}

#[test]
fn no_claim_ends_a_line() {
    let claim = |optional| json!({"claim": {"name": "bad", "optional": optional}});
    let template =
        |optional| json!([{"name": "X-Team", "parts": [{"text": "t="}, claim(optional)]}]);
    let mut pair = guarded(json!({"header_templates": template(true)}));
    pair.ask(request("GET", "first", TOKEN));
    let target = pair.accept();
    let sent = pair.received(target);
    assert!(sent.contains("X-Team: t=\r\n"), "{sent}");
    assert!(!sent.contains("X-Evil"), "{sent}");
    let mut strict = guarded(json!({"header_templates": template(false)}));
    let caller = strict.ask(request("GET", "first", TOKEN));
    assert_eq!(reason(&strict.received(caller)), "claim_missing");
}

#[test]
fn a_rate_limit_refills_with_time() {
    let limit = json!({"requests": 1, "per_ms": 1_500, "burst": 1, "key": "ip"});
    let mut pair = guarded(json!({"rate_limit": limit}));
    let caller = pair.ask(get("first"));
    let target = pair.accept();
    pair.send(target, ok("done"));
    let answer = pair.received(caller);
    assert!(
        answer.contains("RateLimit-Limit: 1\r\nRateLimit-Remaining: 0\r\nRateLimit-Reset: 2\r\n")
    );
    pair.send(caller, get("second"));
    let answer = pair.received(caller);
    assert_eq!((status(&answer), reason(&answer)), ("429", "rate_limited"));
    assert!(answer.contains("Retry-After: 2\r\n"));
    pair.advance(ms(1_500));
    pair.send(caller, get("third"));
    assert!(pair.received(target).contains("GET /third "));
}
