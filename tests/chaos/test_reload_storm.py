"""Reloads without end, under load: nobody may notice."""

from __future__ import annotations

import asyncio
import json
import time

import pytest
import yaml

from tests.chaos.books import Told, ask, balanced, keep_asking
from tests.chaos.conftest import Start
from tests.support.caller import Caller
from tests.support.gateway import GatewayProcess, free_port
from tests.support.http1 import Request
from tests.support.upstream import ScriptedUpstream, UpstreamConnection, chunk


def _rewrite(gateway: GatewayProcess, upstream: ScriptedUpstream, number: int, extra: int) -> None:
    """Another proxy comes, one goes, one changes; a listener comes and goes."""
    config = yaml.safe_load(gateway.config_path.read_text())
    main = {
        "name": "sidecar",
        "path": "/",
        "upstream": upstream.url,
        "max_concurrent": 100 + number % 7,
        "queue": {"size": 500, "timeout": 30},
        "headers": {"X-Reload": str(number)},
    }
    other = {"name": f"other-{number % 3}", "path": "/other", "upstream": upstream.url}
    ports = [gateway.port] + [extra] * (number % 2)
    config["proxies"] = [main, other]
    config["listeners"] = [{"address": f"127.0.0.1:{port}"} for port in ports]
    fresh = gateway.config_path.with_suffix(".new")
    fresh.write_text(json.dumps(config))
    fresh.rename(gateway.config_path)


@pytest.mark.parametrize(
    ("count", "seconds"),
    [
        pytest.param(20, 5, id="20-in-5s"),
        pytest.param(100, 60, id="100-in-60s", marks=[pytest.mark.slow, pytest.mark.timeout(300)]),
    ],
)
async def test_nobody_notices_reloads(
    count: int, seconds: float, start: Start, upstream: ScriptedUpstream
) -> None:
    finish = asyncio.Event()
    sent = 0

    async def stream(_: Request, connection: UpstreamConnection) -> None:
        nonlocal sent
        await connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while not finish.is_set():
            await connection.send(chunk(b"%d\n" % sent))
            sent += 1
            await asyncio.sleep(0.01)
        await connection.send(b"0\r\n\r\n")

    upstream.on("/stream", stream)
    gateway = await start()
    extra = free_port()
    told = Told()
    streaming = await Caller.connect(gateway.port)
    await streaming.request("GET", "/stream")
    reading = asyncio.create_task(streaming.response())
    stop = asyncio.Event()

    async def come_and_go() -> None:
        while not stop.is_set():
            if (caller := await ask(told, gateway.port, "/once")) is not None:
                await caller.close()

    asking = [
        asyncio.create_task(keep_asking(told, gateway.port, "/kept", stop)) for _ in range(24)
    ]
    asking += [asyncio.create_task(come_and_go()) for _ in range(8)]
    begun = time.monotonic()
    for number in range(1, count + 1):
        await asyncio.to_thread(_rewrite, gateway, upstream, number, extra)
        status, body = await asyncio.to_thread(gateway.admin, "POST", "/api/gateway/reload")
        assert status == 200, body
        await asyncio.sleep(max(0, begun + seconds * number / count - time.monotonic()))
    took = time.monotonic() - begun
    stop.set()
    await asyncio.gather(*asking)
    finish.set()
    whole = await asyncio.wait_for(reading, 20)
    await streaming.close()
    assert whole.complete
    assert whole.body == b"".join(b"%d\n" % number for number in range(sent))
    assert (told.failed, told.cut, told.answers) == (0, 0, {200: told.asked})
    told.asked += 1
    told.answers[200] += 1
    balance = await balanced(gateway, told, upstream)
    assert balance.lost == 0
    print(
        f"\n{count} reloads in {took:.1f} s: {told.asked} requests, {told.failed} failed,"
        f" {told.cut} cut; a stream of {sent} pieces whole"
    )


async def test_what_is_queued_at_a_listener_that_goes_is_served(
    start: Start, upstream: ScriptedUpstream
) -> None:
    """A listener is taken away while callers are being accepted: who is connected stays."""
    gateway = await start()
    extra = free_port()
    await asyncio.to_thread(_rewrite, gateway, upstream, 1, extra)
    assert (await asyncio.to_thread(gateway.admin, "POST", "/api/gateway/reload"))[0] == 200
    told = Told()
    kept = [await ask(told, extra, "/before") for _ in range(10)]
    await asyncio.to_thread(_rewrite, gateway, upstream, 2, extra)
    assert (await asyncio.to_thread(gateway.admin, "POST", "/api/gateway/reload"))[0] == 200
    for caller in kept:
        assert caller is not None
        again = await ask(told, extra, "/after", caller)
        assert again is not None
        await again.close()
    with pytest.raises(ConnectionRefusedError):
        await Caller.connect(extra)
    assert told.answers == {200: 20}
    await balanced(gateway, told, upstream)
