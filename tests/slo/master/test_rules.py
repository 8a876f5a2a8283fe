"""Exported rules are valid, and Prometheus's own engine fires what the master fires."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from gatewayx.slo.master.alerts import alert_labels, list_alerts
from gatewayx.slo.master.api import exported_rules
from gatewayx.slo.master.master import Master
from gatewayx.slo.master.rules.promql import Sources
from gatewayx.slo.master.targets import TargetBody, put_targets
from tests.slo.master.snapshots import FakeClock, Poster, ingress, service

pytestmark = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="no promtool here: install Debian's `prometheus`"
)


def promtool(*arguments: object) -> None:
    done = subprocess.run(
        ["promtool", *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def set_targets(master: Master, *bodies: TargetBody) -> None:
    with master.store.write() as conn:
        put_targets(master.store, conn, 1, bodies, master.settings.target, master.clock())


@pytest.mark.parametrize("prefix", ["", "otel_"])
def test_rules_pass_promtool(sqlite_master: Master, tmp_path: Path, prefix: str) -> None:
    set_targets(
        sqlite_master,
        TargetBody(target_type="service", target_key="shop/web", availability_percent=99.99),
        TargetBody(target_type="service", target_key='odd/"name\\', p95_ms=1.0),
        TargetBody(target_type="ingress", target_key="shop-web-80", window_days=7),
    )
    path = tmp_path / "rules.yml"
    path.write_text(exported_rules(sqlite_master, "default", "prometheus", Sources(prefix)))
    promtool("check", "rules", path)
    groups = yaml.safe_load(path.read_text())["groups"]
    alerts = [rule for group in groups for rule in group["rules"] if "alert" in rule]
    assert len(alerts) == 4 * (2 + 3)


def test_openslo_documents_are_whole(sqlite_master: Master, clock: FakeClock) -> None:
    Poster(sqlite_master, clock).post(
        services=[service("shop/web", 5)], ingress=[ingress("shop-web-80", [("200", "GET", 1)])]
    )
    text = exported_rules(sqlite_master, "default", "openslo", Sources())
    documents = list(yaml.safe_load_all(text))
    assert all(document["apiVersion"] == "openslo/v1" for document in documents)
    named = {(document["kind"], document["metadata"]["name"]) for document in documents}
    slos = [document["spec"] for document in documents if document["kind"] == "SLO"]
    assert [slo["service"] for slo in slos] == ["shop/web", "shop-web-80"]
    for slo in slos:
        assert slo["objectives"][0]["target"] == 0.999
        assert slo["timeWindow"] == [{"duration": "30d", "isRolling": True}]
        assert {("AlertPolicy", name) for name in slo["alertPolicies"]} <= named


@dataclass
class Scenario:
    """Events step by step, fed to a master as deltas and to Prometheus as counters."""

    step_s: int
    steps: int
    evaluate_every: int
    web: Callable[[int], tuple[int, int]]
    """Step to (requests, failures) of shop/web, which has the default target."""
    api: Callable[[int], tuple[int, int]]
    """The same of shop/api, which has a target of its own."""
    entry: Callable[[int], tuple[int, int]]
    """The same of an ingress key."""
    counters: dict[str, list[int]] = field(default_factory=dict)

    def play(self, master: Master, clock: FakeClock) -> dict[int, list[dict[str, Any]]]:
        """Feed a master; returns what fires at each evaluation, by seconds from the start."""
        poster = Poster(master, clock, step_s=self.step_s)
        fired: dict[int, list[dict[str, Any]]] = {}
        for step in range(1, self.steps + 1):
            services = []
            for name, play in (("web", self.web), ("api", self.api)):
                total, failed = play(step)
                services.append(service(f"shop/{name}", total - failed, failed))
                self._count(f"{name}/success", total - failed)
                self._count(f"{name}/failure", failed)
            total, failed = self.entry(step)
            entering = ingress(
                "shop-web-80", [("200", "GET", total - failed), ("503", "GET", failed)]
            )
            self._count("entry/200", total - failed)
            self._count("entry/503", failed)
            poster.post(services=services, ingress=[entering])
            if step % self.evaluate_every == 0:
                master.roll_up()
                master.evaluate()
                fired[step * self.step_s] = self._firing(master)
        return fired

    def _count(self, name: str, delta: int) -> None:
        values = self.counters.setdefault(name, [0])
        values.append(values[-1] + delta)

    def _firing(self, master: Master) -> list[dict[str, Any]]:
        with master.store.read() as conn:
            alerts = list_alerts(conn, 1, state="firing")
        return [alert_labels("default", alert) for alert in alerts]

    def series(self) -> list[dict[str, str]]:
        """The counters as promtool's input series."""
        mesh = 'direction="inbound",namespace="shop",route_name="",srv_port="80"'
        labels = {
            f"{name}/{outcome}": (
                f'response_total{{{mesh},deployment="{name}",classification="{outcome}"}}'
            )
            for name in ("web", "api")
            for outcome in ("success", "failure")
        }
        labels |= {
            f"entry/{code}": (
                "traefik_service_requests_total"
                f'{{service="shop-web-80@kubernetes",code="{code}",method="GET"}}'
            )
            for code in ("200", "503")
        }
        return [
            {"series": labels[name], "values": " ".join(map(str, values))}
            for name, values in self.counters.items()
        ]


def outage(
    first: int, last: int, rate: int = 100, failed: int = 8
) -> Callable[[int], tuple[int, int]]:
    """Steady traffic that fails in part between two steps."""
    return lambda step: (rate, failed if first <= step < last else 0)


# Minutes over five hours: a short, sharp outage pages by the fast rule, a long, mild one by the
# slow rule, and one of a service whose target allows it does not.
PAGES = Scenario(
    step_s=60,
    steps=5 * 60,
    evaluate_every=6,
    web=outage(100, 130, failed=20),
    api=outage(100, 130, failed=20),
    entry=outage(130, 240, failed=1),
)

# Half hours over four and a half days, for the tickets.
TICKETS = Scenario(
    step_s=1800,
    steps=2 * 24 * 9 // 2,
    evaluate_every=4,
    web=lambda step: (1000, 5 if 60 <= step < 120 else 0),
    api=lambda step: (1000, 15 if 60 <= step < 120 else 0),
    entry=lambda step: (1000, 2 if step % 2 else 1),
)


@pytest.mark.parametrize(
    ("scenario", "expected"),
    [
        (PAGES, {("page", "1h"), ("page", "6h")}),
        (TICKETS, {("ticket", "1d"), ("ticket", "3d")}),
    ],
    ids=["pages", "tickets"],
)
def test_prometheus_fires_what_the_master_fires(
    sqlite_master: Master,
    clock: FakeClock,
    tmp_path: Path,
    scenario: Scenario,
    expected: set[tuple[str, str]],
) -> None:
    set_targets(
        sqlite_master,
        TargetBody(target_type="service", target_key="shop/api", availability_percent=95.0),
    )
    fired = scenario.play(sqlite_master, clock)
    seen = {
        (labels["severity"], labels["long_window"])
        for alerts in fired.values()
        for labels in alerts
    }
    assert expected <= seen
    assert not any(labels["target"] == "shop/api" for a in fired.values() for labels in a)
    assert fired[max(fired)] != max(fired.values(), key=len), "something fired and was resolved"
    rules = tmp_path / "rules.yml"
    exported = exported_rules(sqlite_master, "default", "prometheus", Sources())
    # The same instants as the master's evaluations, so that holds count from the same ones.
    every = f"{scenario.step_s * scenario.evaluate_every}s"
    groups = yaml.safe_load(exported)
    for group in groups["groups"]:
        group["interval"] = every
        for rule in group["rules"]:
            rule.pop("annotations", None)  # prose is not compared
    rules.write_text(yaml.safe_dump(groups))
    test = {
        "rule_files": [rules.name],
        "evaluation_interval": every,
        "tests": [
            {
                "interval": f"{scenario.step_s}s",
                "input_series": scenario.series(),
                "alert_rule_test": [
                    {
                        "eval_time": f"{at_s}s",
                        "alertname": "SLOErrorBudgetBurn",
                        "exp_alerts": [{"exp_labels": _without_name(a)} for a in alerts],
                    }
                    for at_s, alerts in fired.items()
                ],
            }
        ],
    }
    path = tmp_path / "test.yml"
    path.write_text(yaml.safe_dump(test))
    promtool("test", "rules", path)
    assert len(fired) == scenario.steps // scenario.evaluate_every


def _without_name(labels: dict[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in labels.items() if name != "alertname"}
    if kept["target_type"] == "service":
        namespace, _, deployment = kept["target"].partition("/")
        return kept | {"namespace": namespace, "deployment": deployment}
    return kept | {"service_key": kept["target"]}
