//! Random configurations.

use serde_json::{Value, json};

use super::Temper;
use crate::rng::Rng;

/// SHA-256 of `sim-token`, which some callers show.
const TOKEN_SHA256: &str = "104e8e6201c042a8a7a48ba07c5f25ce50b301f427ecd3703785435457f00372";

/// SHA-256 of `sim-root`, which opens every proxy.
const ROOT_SHA256: &str = "3e683a441c2620f429fed8b26ec98ab592ba7bc02b56e4641ff5373d7b70c414";

/// A route that callers may ask for.
#[derive(Clone, Debug)]
pub struct Route {
    /// Prefix of the path.
    pub path: String,
    /// Whether upgrades are allowed.
    pub websocket: bool,
}

/// A configuration, and what the simulator has to know of it.
#[derive(Clone, Debug)]
pub struct Layout {
    /// Whether all keep the rules.
    pub temper: Temper,
    /// For the engine.
    pub cfg: Value,
    /// Its routes.
    pub routes: Vec<Route>,
    /// Every wait has a deadline: no exchange can hang.
    pub bounded: bool,
    /// Unsent bytes above which the other side is not read.
    pub high_water_bytes: u64,
    /// Largest head.
    pub head_max_bytes: u64,
    /// Largest body that anybody sends.
    pub bodies_max_bytes: u64,
}

impl Layout {
    /// Draws one.
    pub fn draw(rng: &mut Rng, temper: Temper) -> Self {
        let bounded = temper == Temper::Calm || rng.chance(80);
        let high_water_bytes = rng.pick(&[1, 100, 4_096, 65_536]);
        let head_max_bytes = rng.pick(&[2_048, 65_536]);
        let names = ["a", "b", "c"];
        let count = rng.between(1, 3) as usize;
        let hosts = rng.between(1, 3);
        let mut routes = Vec::new();
        let mut proxies = Vec::new();
        for (name, block) in names.into_iter().zip(1..).take(count) {
            let path = match (block, rng.below(3)) {
                (1, 0) => "/".to_owned(),
                (_, 1) => format!("/{name}/deep"),
                _ => format!("/{name}"),
            };
            let websocket = rng.chance(50);
            let route = Route { path, websocket };
            proxies.push(proxy(rng, temper, bounded, name, block, &route, hosts));
            routes.push(route);
        }
        let downstream = match temper {
            Temper::Calm => json!({
                "request_head_ms": 600_000, "request_body_idle_ms": 600_000, "keep_alive_ms": 900_000,
                "write_idle_ms": 900_000, "linger_ms": 600_000, "head_max_bytes": head_max_bytes,
            }),
            Temper::Rough => json!({
                "request_head_ms": deadline(rng, bounded), "request_body_idle_ms": deadline(rng, bounded),
                "keep_alive_ms": deadline(rng, bounded), "write_idle_ms": deadline(rng, bounded),
                "linger_ms": deadline(rng, bounded), "head_max_bytes": head_max_bytes,
                "fields_max": rng.pick(&[16, 128]),
            }),
        };
        let idle_max = rng.pick(&[0, 1, 2, 5, 1000]);
        let cfg = json!({
            "proxies": proxies,
            "downstream": downstream,
            "upstream_pool": {"idle_max": idle_max, "idle_per_host_max": rng.pick(&[0, 1, 3, 100])},
            "buffer": {"high_water_bytes": high_water_bytes},
            "access_log": {"enabled": true},
            "auth": {"tokens": [
                {"id": "sim", "digest": {"sha256": TOKEN_SHA256}},
                {"id": "root", "digest": {"sha256": ROOT_SHA256}, "claims": {"mail": "m"}, "superuser": true},
            ]},
        });
        Self {
            temper,
            cfg,
            routes,
            bounded,
            high_water_bytes,
            head_max_bytes,
            bodies_max_bytes: rng.pick(&[300, 3_000, 3_000, 12_000, 300_000]),
        }
    }

    /// The same routes with other limits, for a reload.
    pub fn redraw(&self, rng: &mut Rng) -> Value {
        let mut cfg = self.cfg.clone();
        for (proxy, block) in cfg["proxies"]
            .as_array_mut()
            .expect("a list")
            .iter_mut()
            .zip(1..)
        {
            let name = proxy["name"].as_str().expect("a name").to_owned();
            let route = &self.routes[block - 1];
            *proxy = self::proxy(rng, self.temper, self.bounded, &name, block, route, 3);
        }
        cfg["upstream_pool"]["idle_max"] = rng.pick(&[0, 1, 5]).into();
        cfg
    }
}

fn proxy(
    rng: &mut Rng,
    temper: Temper,
    bounded: bool,
    name: &str,
    block: usize,
    route: &Route,
    hosts: u64,
) -> Value {
    let rough = temper == Temper::Rough;
    let timeout = if rough {
        json!({
            "dial_ms": deadline(rng, bounded), "response_header_ms": deadline(rng, bounded),
            "body_idle_ms": deadline(rng, bounded), "idle_ms": deadline(rng, bounded),
            "expect_continue_ms": deadline(rng, bounded), "tunnel_idle_ms": deadline(rng, bounded),
            "total_ms": rng.pick(&[0, 0, 0, 50, 500, 5_000]),
        })
    } else {
        json!({
            "dial_ms": 600_000, "response_header_ms": rng.pick(&[0, 900_000]), "body_idle_ms": 900_000,
            "idle_ms": rng.pick(&[10, 1_000, 90_000]), "expect_continue_ms": rng.pick(&[1, 20, 1_000]),
            "tunnel_idle_ms": 900_000, "total_ms": rng.pick(&[0, 3_600_000]),
        })
    };
    let upstreams: Vec<Value> = (0..rng.pick(&[1, 1, 2, 3]))
        .map(|_| {
            let host = format!("target-{}", rng.below(hosts));
            json!({"host": host, "port": 80, "authority": host, "weight": rng.between(1, 3),
                "base_path": rng.pick(&["", "", "/base"])})
        })
        .collect();
    let mut proxy = json!({
        "name": name, "block": block, "path": route.path, "websocket": route.websocket,
        "upstreams": upstreams, "strip_path": rng.chance(30), "pass_host": rng.chance(20),
        "strip_accept_encoding": rng.chance(20), "timeout": timeout,
    });
    add_policies(rng, rough, &mut proxy);
    add_access(rng, rough, &mut proxy);
    if rng.chance(30) {
        proxy["headers"] = json!([["X-Added", "yes"]]);
    }
    if rough && rng.chance(25) {
        proxy["request_body_max_bytes"] = rng.pick(&[1, 1_000, 20_000]).into();
    }
    if rough && rng.chance(5) {
        proxy["active"] = false.into();
    }
    proxy
}

/// Limiter, queue, breaker, retries, balancing. In a calm world they may delay, never refuse.
fn add_policies(rng: &mut Rng, rough: bool, proxy: &mut Value) {
    if rng.chance(40) {
        proxy["max_concurrent"] = rng.pick(&[1, 2, 4]).into();
        if rng.chance(30) {
            proxy["adaptive"] = json!({
                "limit_min": 1, "interval_ms": rng.pick(&[1, 20, 500]), "samples_min": rng.between(1, 4),
                "tolerance_percent": rng.pick(&[0, 25, 200]), "measure_every": rng.between(1, 5),
            });
        }
        if !rough || rng.chance(50) {
            let size = if rough { rng.pick(&[1, 3, 100]) } else { 1_000 };
            let timeout_ms = if rough {
                rng.between(1, 3_000)
            } else {
                36_000_000
            };
            proxy["queue"] = json!({"size": size, "timeout_ms": timeout_ms,
                "order": rng.pick(&["fifo", "lifo"])});
        }
    }
    if rng.chance(30) {
        proxy["circuit_breaker"] = json!({
            "recovery_jitter_percent": rng.pick(&[0, 0, 50, 100]),
            "failure_threshold": rng.between(0, 4), "recovery_timeout_ms": rng.pick(&[1, 20, 200, 2_000]),
            "half_open_requests": rng.between(1, 3), "header": rng.chance(50),
            "failure_statuses": if rough { vec![500, 502, 503] } else { vec![599] },
        });
        if rough && rng.chance(50) {
            proxy["circuit_breaker"]["window"] = json!({
                "window_ms": rng.pick(&[1_000, 10_000]), "volume_min": rng.between(1, 5),
                "failure_percent": rng.pick(&[0, 20, 50, 100]), "slow_percent": rng.pick(&[0, 20, 100]),
                "slow_after_ms": rng.pick(&[1, 50, 1_000]),
            });
        }
    }
    if rng.chance(35) {
        proxy["retry"] = json!({
            "attempts": rng.between(1, 4), "on_connect_failure": rng.chance(60),
            "on_reset": rng.chance(60), "on_timeout": rng.chance(40),
            "on_statuses": if rough { vec![503, 404] } else { vec![] },
            "backoff_ms": rng.between(0, 50), "backoff_max_ms": 200,
            "budget_percent": rng.pick(&[0, 20, 100]), "budget_floor": rng.pick(&[0, 3, 100]),
            "body_max_bytes": rng.pick(&[0, 100, 16_384]),
        });
    }
    proxy["load_balancing"] = json!({
        "algorithm": rng.pick(&["round_robin", "least_connections", "random_of_two", "consistent_hash"]),
        "slow_start_ms": rng.pick(&[0, 1_000]), "eject_after_failures": rng.pick(&[0, 1, 3]),
        "eject_ms": 50, "eject_max_ms": 1_000, "eject_max_percent": rng.pick(&[10, 50, 100]),
    });
}

/// Rules, rate limits and what the target is told of the caller. In a calm world everybody may call.
fn add_access(rng: &mut Rng, rough: bool, proxy: &mut Value) {
    proxy["pass_authorization"] = rng.chance(50).into();
    if rng.chance(20) {
        let id = json!({"claim": {"name": "id", "optional": true}});
        proxy["header_templates"] = json!([{"name": "X-Caller", "parts": ["ip", id]}]);
    }
    if !rough {
        return;
    }
    if rng.chance(25) {
        proxy["access_rule"] = rng
            .pick(&[
                "",
                "@request.auth.id != ''",
                "@request.method = 'GET' && @request.ip != '::1'",
                "@request.method = 'PUT' || @request.auth.role = 'nobody'",
            ])
            .into();
    }
    if rng.chance(8) {
        let mail = json!({"claim": {"name": "mail"}});
        proxy["header_templates"] = json!([{"name": "X-Mail", "parts": [mail]}]);
    }
    if rng.chance(15) {
        proxy["rate_limit"] = json!({
            "requests": rng.between(1, 20), "per_ms": rng.pick(&[10, 1_000]), "burst": rng.between(1, 10),
            "key": rng.pick(&["proxy", "ip", "auth_id"]),
        });
    }
}

/// A deadline of the scale on which peers of a rough world dawdle.
fn deadline(rng: &mut Rng, bounded: bool) -> u64 {
    match rng.below(6) {
        0 if !bounded => 0,
        0 | 1 => rng.between(1, 20),
        2 | 3 => rng.between(20, 1_000),
        _ => rng.between(1_000, 60_000),
    }
}
