"""A machine that runs out: of descriptors, of disk, of a steady clock."""

from __future__ import annotations

import asyncio
import datetime
import json
import os
import resource
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.books import Told, ask, ask_all, balanced, keep_asking
from tests.chaos.conftest import Start
from tests.support.caller import Caller
from tests.support.http1 import Request
from tests.support.upstream import ScriptedUpstream, UpstreamConnection

SPARE_DESCRIPTORS = 40


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.timeout(120)
async def test_no_descriptors_left(start: Start, upstream: ScriptedUpstream) -> None:
    gateway = await start(timeout={"dial": 2})
    workers = gateway.worker_pids()
    limits = {pid: resource.prlimit(pid, resource.RLIMIT_NOFILE) for pid in workers}
    for pid in workers:
        in_use = len(os.listdir(f"/proc/{pid}/fd"))
        limit = (in_use + SPARE_DESCRIPTORS, limits[pid][1])
        resource.prlimit(pid, resource.RLIMIT_NOFILE, limit)
    # More callers than descriptors sit there and say nothing.
    idle = [await Caller.connect(gateway.port) for _ in range(4 * SPARE_DESCRIPTORS)]
    before = [_cpu_seconds(pid) for pid in workers]
    await asyncio.sleep(1)
    spent = [_cpu_seconds(pid) - cpu for pid, cpu in zip(workers, before, strict=True)]
    assert max(spent) < 0.9, f"a worker turns in circles: {spent}"
    told = Told()
    asking = asyncio.create_task(ask_all(told, gateway.port, "/short", 50))
    await asyncio.sleep(1)
    assert gateway.worker_pids() == workers
    status, _ = await asyncio.to_thread(gateway.admin, "GET", "/healthz")
    assert status == 200
    # Room comes back, and with it everything that waited or comes anew.
    for caller in idle:
        await caller.close()
    await asyncio.wait_for(asking, 60)
    assert told.answers.keys() <= {200, 502, 503, 504}
    late = Told()
    await ask_all(late, gateway.port, "/after", 10)
    assert late.answers == {200: 10}
    assert gateway.worker_pids() == workers
    told.asked += late.asked
    told.answers += late.answers
    await balanced(gateway, told, upstream)


async def test_a_log_that_takes_nothing_costs_lines_and_nothing_else(
    start: Start, upstream: ScriptedUpstream
) -> None:
    gateway = await start({"access_log": {"path": "/dev/full"}})
    told = Told()
    stop = asyncio.Event()
    asking = [asyncio.create_task(keep_asking(told, gateway.port, "/", stop)) for _ in range(10)]
    await asyncio.sleep(1)
    stop.set()
    await asyncio.gather(*asking)
    assert told.answers == {200: told.asked}
    balance = await balanced(gateway, told, upstream)
    assert (len(balance.lines), balance.dropped) == (0, told.asked)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for 64 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k,mode=700", "chaos", str(place)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("may not mount")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=False)


async def test_a_line_cut_by_a_full_disk_spoils_no_other(
    start: Start, upstream: ScriptedUpstream, small_disk: Path
) -> None:
    filler = small_disk / "filler"
    filler.write_bytes(b"x" * (40 << 10))
    log = small_disk / "access.log"
    gateway = await start({"workers": 1, "access_log": {"path": str(log)}})
    told = Told()
    for _ in range(10):
        await ask_all(told, gateway.port, "/full" + "x" * 60, 20)
        await asyncio.sleep(0.15)
    filler.unlink()
    kept = len(log.read_bytes())
    await ask_all(told, gateway.port, "/room", 20)
    assert told.answers == {200: told.asked}
    balance = await balanced(gateway, told, upstream, workers=1)
    assert balance.dropped > 0
    after = [line for line in balance.lines if line["path"] == "/room"]
    assert len(after) == 20, "lines were spoilt by the one before them"
    torn = [line for line in log.read_bytes()[:kept].split(b"\n") if not _is_json(line)]
    assert len(torn) <= 1


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return not line
    return True


FAKETIME = next(iter(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")), None)


@pytest.mark.skipif(FAKETIME is None, reason="no libfaketime")
async def test_a_wall_clock_that_jumps(
    start: Start, upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    """Waits and latencies are by the monotonic clock; the log follows the wall clock."""

    async def slow(request: Request, connection: UpstreamConnection) -> None:
        await asyncio.sleep(1.2)
        await connection.respond(200, request.target)

    upstream.on("/slow", slow)
    offset = tmp_path / "offset"
    offset.write_text("+0")
    environ = {
        "LD_PRELOAD": str(FAKETIME),
        "FAKETIME_TIMESTAMP_FILE": str(offset),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    gateway = await start(
        environ=environ,
        max_concurrent=5,
        queue={"size": 100, "timeout": 10},
        timeout={"response_header": 5},
    )
    told = Told()
    kept = await ask(told, gateway.port, "/kept")
    hours = [2, -2, 26, 0]
    for jump in hours:
        asking = asyncio.create_task(ask_all(told, gateway.port, "/slow", 10))
        await asyncio.sleep(0.5)
        offset.write_text(f"{jump * 3600:+d}")
        await asking
        # A connection that was idle across the jump is still there.
        kept = await ask(told, gateway.port, f"/kept{jump}", kept)
        assert kept is not None
        await asyncio.sleep(0.3)
        fresh = await ask(told, gateway.port, f"/jumped{jump}")
        assert fresh is not None
        await fresh.close()
        await asyncio.sleep(0.3)
    await kept.close()
    assert told.answers == {200: told.asked}
    balance = await balanced(gateway, told, upstream)
    assert all(0 <= line["upstream_latency_ms"] < 5000 for line in balance.lines)
    assert all(0 <= line["proxy_latency_ms"] < 5000 for line in balance.lines)
    total = balance.samples.total("gateway_upstream_latency_seconds_sum")
    assert total < told.asked * 5
    logged = {line["path"]: line["time"] for line in balance.lines}
    for jump in hours:
        at = datetime.datetime.fromisoformat(logged[f"/jumped{jump}"]).timestamp()
        assert abs(at - time.time() - jump * 3600) < 60, jump
