"""A service of systemd: what it says, the sockets that it is given, the shipped units."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.caller import Caller
from tests.support.gateway import GatewayProcess, process_tree
from tests.support.systemd import Systemd
from tests.support.upstream import ScriptedUpstream
from tests.support.waiting import eventually

UNITS = Path(__file__).parents[2] / "deploy" / "systemd"


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Systemd]:
    """Receives what the gateways of one test say."""
    listener = Systemd(tmp_path)
    yield listener
    listener.close()


@pytest.fixture
def service(tmp_path: Path, upstream: ScriptedUpstream) -> Iterator[Any]:
    """Gateways of a test, not started yet."""
    made: list[GatewayProcess] = []

    def make(environ: dict[str, str], **settings: Any) -> GatewayProcess:
        proxy = {"name": "sidecar", "path": "/", "upstream": upstream.url}
        gateway = GatewayProcess(tmp_path, {"proxies": [proxy], **settings}, environ=environ)
        made.append(gateway)
        return gateway

    yield make
    for gateway in made:
        gateway.kill()


async def expect(systemd: Systemd, name: str) -> dict[str, str]:
    return await asyncio.to_thread(systemd.expect, name)


async def test_a_life_as_systemd_hears_of_it(service: Any, systemd: Systemd) -> None:
    gateway = service(systemd.environ(watchdog_seconds=0.4))
    await asyncio.to_thread(gateway.start)
    assert (await expect(systemd, "READY"))["STATUS"] == "1 of 1 workers serve 1 listeners"
    for _ in range(2):
        assert await expect(systemd, "WATCHDOG") == {"WATCHDOG": "1"}
    before_usec = time.monotonic_ns() // 1000
    gateway.signal(signal.SIGHUP)
    assert int((await expect(systemd, "RELOADING"))["MONOTONIC_USEC"]) >= before_usec
    assert (await expect(systemd, "READY"))["READY"] == "1"
    gateway.signal(signal.SIGTERM)
    stopping = await expect(systemd, "STOPPING")
    assert int(stopping["EXTEND_TIMEOUT_USEC"]) >= 30_000_000
    assert await asyncio.to_thread(gateway.wait) == 0


async def test_a_refused_reload_ends_too(service: Any, systemd: Systemd) -> None:
    gateway = service(systemd.environ())
    await asyncio.to_thread(gateway.start)
    await expect(systemd, "READY")
    gateway.config_path.write_text("listeners: 3")
    gateway.signal(signal.SIGHUP)
    await expect(systemd, "RELOADING")
    await expect(systemd, "READY")


async def test_workers_do_not_speak_for_the_service(service: Any, systemd: Systemd) -> None:
    gateway = service(systemd.environ(watchdog_seconds=5))
    await asyncio.to_thread(gateway.start)
    for pid in process_tree(gateway.pid)[1:]:
        environ = await asyncio.to_thread(Path(f"/proc/{pid}/environ").read_bytes)
        assert b"NOTIFY_SOCKET" not in environ
        assert b"WATCHDOG" not in environ


async def test_a_restart_on_systemds_socket_loses_no_connection(service: Any) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listening:
        gateway = service({})
        gateway.port = listening.getsockname()[1]
        gateway.config["listeners"] = [{"address": f"127.0.0.1:{gateway.port}"}]
        gateway.inherited = [listening]
        await asyncio.to_thread(gateway.start)
        first = await Caller.connect(gateway.port)
        assert (await first.get("/one")).status == 200
        await first.close()
        assert await asyncio.to_thread(gateway.stop) == 0
        # Nobody serves; the kernel accepts for the socket that systemd keeps.
        early = await Caller.connect(gateway.port)
        await early.request("GET", "/two")
        await asyncio.to_thread(gateway.start)
        assert (await early.response()).status == 200
        await early.close()


async def test_a_socket_that_no_listener_names_is_refused(service: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        gateway = service({})
        gateway.inherited = [listening]
        with pytest.raises(RuntimeError, match="which no listener has"):
            await asyncio.to_thread(gateway.start)


async def test_ready_turns_false_before_callers_are_refused(
    service: Any, upstream: ScriptedUpstream
) -> None:
    gateway = service({}, drain_delay=2)
    await asyncio.to_thread(gateway.start)
    gateway.signal(signal.SIGTERM)

    def not_ready() -> bool:
        return gateway.admin("GET", "/ready")[0] == 503

    for _ in range(200):
        if await asyncio.to_thread(not_ready):
            break
        await asyncio.sleep(0.01)
    # Told to go away, a caller that has not heard is still served.
    assert await asyncio.to_thread(not_ready)
    late = await Caller.connect(gateway.port)
    assert (await late.get("/late")).status == 200
    await late.close()
    assert await asyncio.to_thread(gateway.wait) == 0


async def test_a_second_sigint_cuts_the_delay_short(service: Any) -> None:
    gateway = service({}, drain_delay=600)
    await asyncio.to_thread(gateway.start)
    gateway.signal(signal.SIGINT)
    await eventually(lambda: gateway.admin("GET", "/ready")[0] == 503, "not ready")
    gateway.signal(signal.SIGINT)
    await asyncio.to_thread(gateway.wait)


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd")
@pytest.mark.parametrize("unit", ["gatewayx.service", "gatewayx.socket"])
def test_the_shipped_units_are_sound(unit: str, tmp_path: Path) -> None:
    for path in UNITS.iterdir():
        shutil.copy(path, tmp_path)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(tmp_path / unit)],
        env={**os.environ, "SYSTEMD_LOG_LEVEL": "warning"},
        capture_output=True,
        text=True,
        timeout=30,
    )
    complaints = [line for line in done.stderr.splitlines() if "gatewayx" in line]
    assert (done.returncode, complaints) == (0, [])


def test_the_shipped_socket_is_one_that_the_service_can_name() -> None:
    from gatewayx.config.values import listen_address

    lines = (UNITS / "gatewayx.socket").read_text().splitlines()
    [address] = [line.partition("=")[2] for line in lines if line.startswith("ListenStream=")]
    assert listen_address(address) == address
