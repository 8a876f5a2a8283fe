"""`gatewayx policy` and the stream of changes, against a running gateway."""

from __future__ import annotations

import asyncio
import http.client
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.chaos_policies.conftest import Faulted, Start, policy, statuses
from tests.support.gateway import ADMIN_TOKEN


async def run(gateway: Faulted, *arguments: str) -> subprocess.CompletedProcess[str]:
    admin = f"127.0.0.1:{gateway.process.admin_port}"
    command = [sys.executable, "-m", "gatewayx", "policy", *arguments]
    options = ["--admin", admin, "--token", ADMIN_TOKEN]
    return await asyncio.to_thread(
        subprocess.run, [*command, *options], capture_output=True, text=True, check=False
    )


async def test_the_commands(start: Start, tmp_path: Path) -> None:
    gateway = await start(workers=1)
    file = tmp_path / "policy.json"
    file.write_text(json.dumps(policy("late", abort={"httpStatus": 503})))
    checked = await run(gateway, "apply", "-f", str(file), "--dry-run")
    assert checked.stdout == "policy late valid, not applied\n"
    assert statuses(await gateway.ask(1, callers=1)) == {200: 1}
    applied = await run(gateway, "apply", "-f", str(file), "--duration-seconds", "60")
    assert (applied.returncode, applied.stdout) == (0, "policy late applied\n"), applied.stderr
    assert statuses(await gateway.ask(1, callers=1)) == {503: 1}
    listed = (await run(gateway, "list")).stdout.splitlines()[1].split()
    assert listed[:7] == ["late", "active", "*", "*", "1", "1", "1"]
    found = json.loads((await run(gateway, "get", "late", "-o", "json")).stdout)
    assert found["spec"]["rules"][0]["fault"]["duration_seconds"] == 60
    described = (await run(gateway, "describe", "late")).stdout
    assert "Injected:    1 (abort 1" in described
    assert (await run(gateway, "disable", "--all")).stdout == "policy late disabled\n"
    assert statuses(await gateway.ask(1, callers=1)) == {200: 1}
    assert (await run(gateway, "delete", "late")).returncode == 0
    assert (await run(gateway, "get", "late")).returncode == 1


async def test_a_bad_file_is_told_with_its_places(start: Start, tmp_path: Path) -> None:
    gateway = await start(workers=1)
    file = tmp_path / "bad.yaml"
    file.write_text("metadata: {name: p}\nspec: {rules: [{fault: {percentage: 101}}]}\n")
    refused = await run(gateway, "apply", "-f", str(file))
    assert refused.returncode == 2
    assert "spec.rules[0].fault.percentage: must be at most 100" in refused.stderr
    assert "spec.rules[0].fault: must have a delay or an abort" in refused.stderr


async def test_the_stream_tells_the_full_set_and_then_changes(start: Start) -> None:
    gateway = await start(workers=1)
    await gateway.apply("first", reset=True)
    port = gateway.process.admin_port
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    fields = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
    await asyncio.to_thread(connection.request, "GET", "/v1/config/stream", headers=fields)
    response = await asyncio.to_thread(connection.getresponse)

    def event() -> tuple[str, dict[str, Any]]:
        lines = iter(response.readline, b"\n")
        parts = dict(line.decode().strip().split(": ", 1) for line in lines)
        return parts["event"], json.loads(parts["data"])

    kind, data = await asyncio.to_thread(event)
    assert kind == "policies"
    assert [one["metadata"]["name"] for one in data["policies"]] == ["first"]
    await asyncio.to_thread(gateway.client.delete, "/v1/policies/first")
    kind, data = await asyncio.to_thread(event)
    assert (kind, data["changed"], data["removed"]) == ("change", [], ["first"])
    connection.close()
