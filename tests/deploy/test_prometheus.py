"""Scrape configuration, alerts and dashboard, in a real Prometheus that scrapes real peers."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import yaml

from tests.deploy.schemas import DEPLOY, ROOT
from tests.envoy.policies import abort, delay, policy
from tests.envoy.process import ABORTS, DELAYS, DURATION, EnvoyProcess
from tests.support.caller import Caller
from tests.support.gateway import ADMIN_TOKEN, GatewayProcess, free_port
from tests.support.http1 import Request
from tests.support.upstream import ScriptedUpstream, UpstreamConnection

PROMETHEUS = DEPLOY / "prometheus"
DASHBOARD = json.loads((DEPLOY / "grafana/gatewayx.json").read_text("utf-8"))
RULES = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text("utf-8"))["groups"][0]["rules"]

FROM_ENVOY = {ABORTS, DELAYS, DURATION}


def promtool(*arguments: str) -> str:
    done = subprocess.run(
        ["promtool", *arguments], cwd=PROMETHEUS, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_alerts_fire_when_they_should_and_only_then() -> None:
    promtool("check", "rules", "alerts.yml")
    promtool("test", "rules", "alerts_test.yml")


def dashboard_queries() -> list[str]:
    return [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]


def test_every_metric_of_alerts_and_dashboard_exists() -> None:
    catalogue = (ROOT / "docs/METRICS.md").read_text("utf-8")
    known = set(re.findall(r"^\| `(\w+)`", catalogue, re.MULTILINE)) | FROM_ENVOY
    for query in [*dashboard_queries(), *(rule["expr"] for rule in RULES)]:
        used = re.findall(r"\b(?:gateway|wasmcustom)_\w+", query)
        assert used or "up{" in query, query
        for name in used:
            assert re.sub(r"_(bucket|sum|count)$", "", name) in known, query


class Prometheus:
    """Prometheus with the shipped configuration, but for addresses and pace."""

    def __init__(self, directory: Path, targets: dict[str, int]) -> None:
        (directory / "token").write_text(ADMIN_TOKEN)
        config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text("utf-8"))
        config["global"]["scrape_interval"] = "200ms"
        config["rule_files"] = [str(PROMETHEUS / "alerts.yml")]
        for job in config["scrape_configs"]:
            job["static_configs"] = [{"targets": [f"127.0.0.1:{targets[job['job_name']]}"]}]
            if "authorization" in job:
                job["authorization"]["credentials_file"] = str(directory / "token")
        path = directory / "prometheus.yml"
        path.write_text(yaml.safe_dump(config))
        promtool("check", "config", str(path))
        program = shutil.which("prometheus")
        assert program is not None
        self.port = free_port()
        self._log = (directory / "prometheus.txt").open("wb")
        self._process = subprocess.Popen(
            [
                program,
                f"--config.file={path}",
                f"--storage.tsdb.path={directory / 'data'}",
                f"--web.listen-address=127.0.0.1:{self.port}",
            ],
            stdout=self._log,
            stderr=self._log,
        )

    def query(self, text: str) -> list[dict[str, Any]]:
        """An instant query; raises when Prometheus refuses it."""
        query = urllib.parse.urlencode({"query": text})
        url = f"http://127.0.0.1:{self.port}/api/v1/query?{query}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
            return found

    def becomes(self, text: str, wanted: float) -> None:
        """Waits until a query has one value."""
        deadline = time.monotonic() + 40
        found: list[float] = []
        while found != [wanted]:
            assert time.monotonic() < deadline, f"{text} is {found}, never {wanted}"
            time.sleep(0.1)
            try:
                found = [float(each["value"][1]) for each in self.query(text)]
            except OSError:
                continue

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(20)
        self._log.close()


async def test_prometheus_answers_for_gateway_and_envoy(tmp_path: Path) -> None:
    upstream = ScriptedUpstream()
    await upstream.start()

    async def fail(_request: Request, connection: UpstreamConnection) -> None:
        await connection.respond(500)

    upstream.on("/broken", fail)
    slow = delay(20)
    slow["match"] = {"path": {"exact": "/slow"}}
    envoy = EnvoyProcess(tmp_path, upstream.port, [policy(slow, abort(503))])
    proxies = [{"name": "sidecar", "path": "/", "upstream": upstream.url}]
    gateway = GatewayProcess(tmp_path, {"proxies": proxies})
    await asyncio.to_thread(envoy.start)
    await asyncio.to_thread(gateway.start)
    targets = {"gatewayx": gateway.admin_port, "envoy": envoy.admin_port}
    prometheus = Prometheus(tmp_path, targets)
    try:
        for port in (envoy.port, gateway.port):
            caller = await Caller.connect(port)
            for path in ("/slow", "/", "/broken", "/slow", "/"):
                await caller.get(path)
            await caller.close()
        for query, wanted in (
            (f'{ABORTS}{{job="envoy"}}', 3),
            (f'{DELAYS}{{job="envoy"}}', 2),
            (f'{DURATION}_count{{job="envoy"}}', 2),
            (f'{DURATION}_bucket{{job="envoy",le="10"}}', 0),
            (f'{DURATION}_bucket{{job="envoy",le="25"}}', 2),
            ('sum(gateway_requests_total{job="gatewayx",proxy="sidecar",status="200"})', 4),
            ('sum(gateway_errors_total{job="gatewayx",type="5xx"})', 1),
        ):
            await asyncio.to_thread(prometheus.becomes, query, wanted)
        variables = {"$__rate_interval": "10s", "$instance": ".*", "$proxy": ".*"}
        for query in dashboard_queries():
            for name, value in variables.items():
                query = query.replace(name, value)
            assert await asyncio.to_thread(prometheus.query, query), query
    finally:
        prometheus.close()
        envoy.stop()
        await asyncio.to_thread(gateway.stop)
        gateway.kill()
        await upstream.stop()
