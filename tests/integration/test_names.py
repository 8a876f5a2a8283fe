"""Names of upstreams: looked up seldom, used whole, followed when they move."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from gatewayx.server import resolver as resolver_module
from gatewayx.server.dial import connect
from gatewayx.server.resolver import Address, Addresses, Resolver
from tests.integration.conftest import Connect, Serve
from tests.support.caller import error_of
from tests.support.gateway import free_port
from tests.support.upstream import ScriptedUpstream
from tests.support.waiting import eventually

HOST = "upstream.test"


def v4(*ips: str, port: int = 80) -> Addresses:
    return tuple(Address(socket.AF_INET, (ip, port)) for ip in ips)


class Zone:
    """A resolver's other end, whose answers the test chooses."""

    def __init__(self) -> None:
        self.ips: tuple[str, ...] = ("127.0.0.1",)
        self.failure: OSError | None = None
        self.slow = asyncio.Event()
        self.slow.set()
        self.lookups = 0

    async def __call__(self, host: str, port: int) -> Addresses:
        self.lookups += 1
        await self.slow.wait()
        if self.failure is not None:
            raise self.failure
        return v4(*self.ips, port=port)


@pytest.fixture
def zone() -> Zone:
    return Zone()


@pytest.fixture
def patched(zone: Zone, monkeypatch: pytest.MonkeyPatch, pytestconfig: pytest.Config) -> Zone:
    """The zone in place of the system's resolver; only a gateway in this process can be had."""
    if pytestconfig.getoption("--gateway") == "process":
        pytest.skip("names of another process cannot be patched")
    monkeypatch.setattr(resolver_module, "look_up", zone)
    return zone


@pytest.fixture
async def make(zone: Zone) -> AsyncIterator[Callable[..., Resolver]]:
    made: list[Resolver] = []

    def one(
        keep: Callable[..., int] = lambda *_: 0, *, ttl: float = 60, negative_ttl: float = 60
    ) -> Resolver:
        made.append(Resolver(keep, lookup=zone))
        made[-1].configure(ttl=ttl, negative_ttl=negative_ttl)
        return made[-1]

    yield one
    for resolver in made:
        resolver.close()


Make = Callable[..., Resolver]


async def test_a_thousand_dials_make_one_lookup(zone: Zone, make: Make) -> None:
    zone.slow.clear()
    resolver = make()
    dials = [asyncio.create_task(resolver.addresses(HOST, 80)) for _ in range(1_000)]
    await asyncio.sleep(0)
    for dial in dials[:500]:
        dial.cancel()
    await asyncio.sleep(0)
    zone.slow.set()
    assert [await dial for dial in dials[500:]] == [v4("127.0.0.1")] * 500
    await resolver.addresses(HOST, 80)
    assert zone.lookups == 1


async def test_a_name_that_is_not_there_is_asked_for_once_in_a_while(
    zone: Zone, make: Make
) -> None:
    zone.failure = socket.gaierror(socket.EAI_NONAME, "no such name")
    resolver = make(negative_ttl=0.05)
    for _ in range(100):
        with pytest.raises(socket.gaierror):
            await resolver.addresses(HOST, 80)
    assert zone.lookups < 10
    zone.failure = None
    await asyncio.sleep(0.06)
    assert await resolver.addresses(HOST, 80) == v4("127.0.0.1")


async def test_a_resolver_that_fails_takes_nothing_away(zone: Zone, make: Make) -> None:
    resolver = make(ttl=0.01, negative_ttl=0.01)
    assert await resolver.addresses(HOST, 80) == v4("127.0.0.1")
    zone.failure = socket.gaierror(socket.EAI_AGAIN, "the resolver is away")
    await asyncio.sleep(0.05)
    assert await resolver.addresses(HOST, 80) == v4("127.0.0.1")
    assert zone.lookups > 1
    zone.failure = socket.gaierror(socket.EAI_NONAME, "no such name")
    await asyncio.sleep(0.05)
    with pytest.raises(socket.gaierror):
        await resolver.addresses(HOST, 80)


async def test_a_name_in_use_is_looked_up_again_and_an_unused_one_is_not(
    zone: Zone, make: Make
) -> None:
    kept: list[list[str]] = []
    open_count = 1

    def keep(host: str, port: int, ips: list[str]) -> int:
        assert (host, port) == (HOST, 80)
        kept.append(ips)
        return open_count

    resolver = make(keep, ttl=0.02)
    await resolver.addresses(HOST, 80)
    await asyncio.sleep(0.1)
    zone.ips = ("127.0.0.2",)
    await eventually(lambda: kept[-1:] == [["127.0.0.2"]], "a lookup that sees the move")
    open_count = 0
    await asyncio.sleep(0.1)
    lookups = zone.lookups
    await asyncio.sleep(0.1)
    assert zone.lookups == lookups


async def test_what_is_known_is_bounded(
    zone: Zone, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolver_module, "NAMES_MAX_COUNT", 10)
    zone.failure = socket.gaierror(socket.EAI_NONAME, "no such name")
    resolver = make()
    for number in range(100):
        with pytest.raises(socket.gaierror):
            await resolver.addresses(f"{number}.test", 80)
    assert len(resolver._names) == 10


@pytest.mark.parametrize(
    ("host", "family"), [("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6)]
)
async def test_an_address_is_not_looked_up(host: str, family: int, zone: Zone, make: Make) -> None:
    (address,) = await make().addresses(host, 80)
    assert (address.family, address.target[:2]) == (family, (host, 80))
    assert zone.lookups == 0


async def test_addresses_take_turns_and_families_alternate(make: Make, zone: Zone) -> None:
    zone.ips = ("10.0.0.1", "10.0.0.2", "10.0.0.3")
    resolver = make()
    first = [(await resolver.addresses(HOST, 80))[0].ip for _ in range(6)]
    assert sorted(first) == sorted(zone.ips * 2)
    v6 = Address(socket.AF_INET6, ("::1", 80, 0, 0))
    mixed = resolver_module._interleaved((v6, *v4("10.0.0.1", "10.0.0.2")), 2)
    assert [address.family for address in mixed] == [
        socket.AF_INET6,
        socket.AF_INET,
        socket.AF_INET,
    ]


@pytest.fixture
def deaf() -> Iterator[tuple[str, int]]:
    """An address whose backlog is full, so that connecting takes for ever."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        address = listening.getsockname()
        fillers = []
        for _ in range(8):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(address)
            fillers.append(filler)
        yield address
        for filler in fillers:
            filler.close()


async def test_the_next_address_is_tried_when_one_refuses_or_is_silent(
    upstream: ScriptedUpstream, deaf: tuple[str, int]
) -> None:
    dead = v4("127.0.0.1", port=free_port())
    good = v4("127.0.0.1", port=upstream.port)
    silent = v4(deaf[0], port=deaf[1])
    for addresses in (good, dead + good, silent + good, silent + dead + good, dead + dead + good):
        async with asyncio.timeout(20):
            connected = await connect(addresses)
        assert connected.getpeername()[1] == upstream.port
        connected.close()
    with pytest.raises(ConnectionRefusedError):
        await connect(dead + dead)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.4):
            await connect(silent + silent)


async def test_a_name_with_a_dead_address_is_reached_by_the_other(
    upstream: ScriptedUpstream,
    patched: Zone,
    serve: Serve,
    connect: Connect,
) -> None:
    # 127.0.0.9 is this machine as well, and nothing listens there.
    patched.ips = ("127.0.0.9", "127.0.0.1")
    gateway = await serve(upstream=f"http://{HOST}:{upstream.port}")
    for _ in range(4):
        caller = await connect(gateway)
        assert (await caller.get("/", ("Connection", "close"))).status == 200
    assert patched.lookups == 1


async def test_an_unknown_name_is_a_failed_dial(
    patched: Zone, serve: Serve, connect: Connect
) -> None:
    patched.failure = socket.gaierror(socket.EAI_NONAME, "no such name")
    caller = await connect(await serve(upstream=f"http://{HOST}:80"))
    for _ in range(20):
        answer = await caller.get("/")
        assert (answer.status, error_of(answer)["reason"]) == (502, "dial_failed")
    assert patched.lookups < 20


async def test_pooled_connections_follow_a_name_that_moves(
    upstream: ScriptedUpstream,
    patched: Zone,
    serve: Serve,
    connect: Connect,
) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nnew")
            await writer.drain()

    async def serve_new(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await answer(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    moved = await asyncio.start_server(serve_new, "127.0.0.2", upstream.port)
    held = asyncio.Event()

    async def hold(request, connection) -> None:  # type: ignore[no-untyped-def]
        await held.wait()
        await connection.respond(200, b"old, and whole")

    upstream.on("/held", hold)
    try:
        config = {
            "dns": {"ttl": 0.05, "negative_ttl": 0.05},
            "proxies": [{"name": "a", "path": "/", "upstream": f"http://{HOST}:{upstream.port}"}],
        }
        gateway = await serve(config=config)
        busy, caller = await connect(gateway), await connect(gateway)
        await busy.request("GET", "/held")
        assert (await caller.get("/")).body != b"new"
        patched.ips = ("127.0.0.2",)
        for _ in range(500):
            if (await caller.get("/")).body == b"new":
                break
            await asyncio.sleep(0.01)
        else:
            raise AssertionError("the pool did not follow")
        held.set()
        assert (await busy.response()).body == b"old, and whole"
        # The connection that was busy at the move is not used again.
        answers = [(await one.get("/")).body for one in (busy, caller) for _ in range(5)]
        assert answers == [b"new"] * 10
    finally:
        moved.close()
