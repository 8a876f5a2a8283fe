"""Changing the configuration of a running gateway."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.caller import Caller
from tests.support.gateway import ADMIN_TOKEN, GatewayProcess, free_port
from tests.support.http1 import Request
from tests.support.upstream import ScriptedUpstream, UpstreamConnection, chunk
from tests.support.waiting import eventually


@pytest.fixture
async def upstream() -> Any:
    scripted = ScriptedUpstream()
    await scripted.start()
    yield scripted
    await scripted.stop()


@pytest.fixture
async def gateway(tmp_path: Path, upstream: ScriptedUpstream) -> Any:
    proxy = {"name": "first", "path": "/first", "upstream": upstream.url}
    process = GatewayProcess(tmp_path, {"workers": 2, "proxies": [proxy]})
    await asyncio.to_thread(process.start)
    yield process
    await asyncio.to_thread(process.kill)


def rewrite(gateway: GatewayProcess, **changes: Any) -> None:
    """Replace the file as an editor would: whole, at once."""
    config = yaml.safe_load(gateway.config_path.read_text()) | changes
    fresh = gateway.config_path.with_suffix(".new")
    fresh.write_text(json.dumps(config))
    fresh.rename(gateway.config_path)


async def reload(gateway: GatewayProcess) -> subprocess.CompletedProcess[str]:
    """`gatewayx reload`, as a user runs it."""
    return await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "gatewayx", "reload", "--admin", f"127.0.0.1:{gateway.admin_port}"],
        env={**os.environ, "GATEWAYX_ADMIN_TOKEN": ADMIN_TOKEN},
        capture_output=True,
        text=True,
        timeout=30,
    )


async def ask(port: int, target: str) -> int:
    caller = await Caller.connect(port)
    try:
        return (await caller.get(target)).status
    finally:
        await caller.close()


async def test_proxies_and_listeners_come_and_go(
    gateway: GatewayProcess, upstream: ScriptedUpstream
) -> None:
    assert await ask(gateway.port, "/first") == 200
    assert await ask(gateway.port, "/second") == 404
    other = free_port()
    proxies = [{"name": "second", "path": "/second", "upstream": upstream.url}]
    listeners = [{"address": f"127.0.0.1:{port}"} for port in (gateway.port, other)]
    rewrite(gateway, proxies=proxies, listeners=listeners)
    done = await reload(gateway)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"added second; removed first; listening on 127.0.0.1:{other}\n"
    for port in (gateway.port, other):
        assert await ask(port, "/second") == 200
        assert await ask(port, "/first") == 404
    rewrite(gateway, listeners=listeners[:1])
    assert (await reload(gateway)).stdout == f"no longer listening on 127.0.0.1:{other}\n"
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", other)) == errno.ECONNREFUSED


async def test_a_bad_file_changes_nothing_and_says_why(gateway: GatewayProcess) -> None:
    rewrite(gateway, proxies=[{"name": "first", "path": "/first", "upstrem": "http://a"}])
    done = await reload(gateway)
    assert done.returncode == 2
    assert "upstrem: unknown key; did you mean upstream?" in done.stderr
    assert await ask(gateway.port, "/first") == 200


async def test_an_address_in_use_changes_nothing(gateway: GatewayProcess) -> None:
    taken = f"127.0.0.1:{gateway.admin_port}"
    rewrite(gateway, proxies=[], listeners=[{"address": taken}], admin={"address": "127.0.0.1:1"})
    done = await reload(gateway)
    assert done.returncode == 1
    assert f"cannot listen on {taken}" in done.stderr
    assert await ask(gateway.port, "/first") == 200


async def test_counters_and_open_streams_outlive_reloads(
    gateway: GatewayProcess, upstream: ScriptedUpstream
) -> None:
    finish = asyncio.Event()

    async def stream(request: Request, connection: UpstreamConnection) -> None:
        await connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        await connection.send(chunk(b"begun"))
        await finish.wait()
        await connection.send(chunk(b"ended") + b"0\r\n\r\n")

    upstream.on("/stream", stream)
    assert await ask(gateway.port, "/first") == 200
    streaming = await Caller.connect(gateway.port)
    await streaming.request("GET", "/first/stream")
    assert b"begun" in await streaming.until(b"begun")
    failures = 0
    for number in range(6):
        extra = {"name": f"extra-{number}", "path": "/extra", "upstream": upstream.url}
        changed = {"name": "first", "path": "/first", "upstream": upstream.url, "retry_after": 9}
        rewrite(gateway, proxies=[changed, extra])
        gateway.signal(signal.SIGHUP)
        statuses = await asyncio.gather(*(ask(gateway.port, "/first") for _ in range(20)))
        failures += sum(status != 200 for status in statuses)
    assert failures == 0
    finish.set()
    assert b"ended" in await streaming.until(b"0\r\n\r\n")
    await streaming.close()
    samples = await asyncio.to_thread(gateway.metrics)
    assert samples.total("gateway_requests_total", proxy="first", status="200") == 1 + 6 * 20 + 1


async def test_a_raised_limit_lets_the_waiting_in(
    gateway: GatewayProcess, upstream: ScriptedUpstream
) -> None:
    finish = asyncio.Event()

    async def hold(request: Request, connection: UpstreamConnection) -> None:
        await finish.wait()
        await connection.respond(200, b"through")

    upstream.on("/hold", hold)
    limited = {
        "name": "first",
        "path": "/first",
        "upstream": upstream.url,
        "queue": {"size": 9, "timeout": 60},
    }
    rewrite(gateway, proxies=[{**limited, "max_concurrent": 1}])
    assert (await reload(gateway)).stdout == "changed first\n"
    callers = [await Caller.connect(gateway.port) for _ in range(3)]
    for caller in callers:
        await caller.request("GET", "/first/hold")
    await eventually(lambda: len(upstream.requests) == 1, "the first request")
    rewrite(gateway, proxies=[{**limited, "max_concurrent": 3}])
    assert (await reload(gateway)).stdout == "changed first\n"
    await eventually(lambda: len(upstream.requests) == 3, "those that waited")
    finish.set()
    for caller in callers:
        assert (await caller.response()).status == 200
        await caller.close()
