"""Plays one case against a running gateway and writes down what came of it, without judging.

After the first final response the connection is probed with a GET of its own. Its answer shows that
all answers to the case are in and that the connection is still open; a close in its place shows the
opposite. Nothing has to be waited for.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from itertools import count

from tests.hostile.cases import Case
from tests.support.http1 import NotHttp, Response, read_response
from tests.support.recorder import Caller, Exchange, Recorder, echo_body
from tests.support.wire import Wire

# Longer than every deadline of the gateways under test: past it, a case hangs.
HANG_SECONDS = 20.0
# For an end that was announced, and for an upstream connection that has to be given up.
END_SECONDS = 2.0

PROBE = b"/gx-probe"
_PROBE_REQUEST = b"GET " + PROBE + b" HTTP/1.1\r\nHost: gw.test\r\n\r\n"

_sources = count(1)


def _source_address() -> str:
    """A loopback address that no other run has."""
    number = next(_sources)
    return f"127.{64 + (number >> 16) % 128}.{(number >> 8) & 255}.{number & 255}"


@dataclass(frozen=True, slots=True)
class Delivery:
    """How the bytes are cut: the caller's in a request case, the upstream's in a response case."""

    split_at: int | None = None
    byte_by_byte: bool = False
    warm: bool = False

    def __str__(self) -> str:
        if self.split_at is not None:
            return f"split at {self.split_at}"
        return "byte by byte" if self.byte_by_byte else "warm" if self.warm else "whole"


@dataclass(slots=True)
class Observation:
    """What the caller and the upstream saw of one run."""

    delivery: Delivery
    responses: list[Response] = field(default_factory=list)
    interim: list[Response] = field(default_factory=list)
    received: bytes = b""
    garbage: str = ""
    ended: bool = False
    reset: bool = False
    hung: bool = False
    probe_answered: bool = False
    followup: bytes | None = None
    plain_get: str = "not asked"
    exchanges: list[Exchange] = field(default_factory=list)
    left_open: bool = False


class _Reader:
    """Takes responses off a wire one by one."""

    def __init__(self, wire: Wire, first_method: bytes) -> None:
        self.wire = wire
        self.at = 0
        self.method = first_method

    def poll(self) -> Response | None:
        raw = bytes(self.wire.received)
        response = read_response(raw, self.at, self.method, eof=self.wire.closed)
        if response is not None:
            self.at = response.end
            if response.status >= 200:
                self.method = b"GET"
        return response


async def plain_get(port: int, path: bytes = b"/gx-after") -> str:
    """A GET on a fresh connection; "" when it is answered as it has to be, else what came."""
    wire = await Wire.connect(port)
    try:
        await wire.send(b"GET %s HTTP/1.1\r\nHost: gw.test\r\n\r\n" % path)
        deadline = asyncio.get_running_loop().time() + HANG_SECONDS
        while asyncio.get_running_loop().time() < deadline:
            response = read_response(bytes(wire.received), 0, eof=wire.closed)
            if response is not None:
                answered = response.status == 200 and response.complete
                right = response.body == echo_body(b"GET", path, 0)
                return "" if answered and right else f"answered {bytes(wire.received)[:300]!r}"
            if wire.closed:
                return "closed without an answer"
            await wire.changed(1.0)
        return "no answer"
    except NotHttp as error:
        return f"answered with something else: {error}"
    finally:
        wire.close()


async def _send(
    case: Case, wire: Wire, delivery: Delivery, caller: Caller, saw_answer: asyncio.Event
) -> None:
    raw = case.raw
    if case.segments:
        await _send_segments(case, wire, saw_answer)
    elif not case.is_response and delivery.split_at is not None:
        await wire.send(raw[: delivery.split_at])
        await asyncio.sleep(0.002)
        await wire.send(raw[delivery.split_at :])
    elif not case.is_response and delivery.byte_by_byte:
        edge = len(raw) if len(raw) <= 640 else 256
        for index in range(edge):
            await wire.send(raw[index : index + 1])
            await asyncio.sleep(0.0005)
        if edge < len(raw):
            await wire.send(raw[edge:-edge])
            for index in range(len(raw) - edge, len(raw)):
                await wire.send(raw[index : index + 1])
                await asyncio.sleep(0.0005)
    else:
        await wire.send(raw)
    if case.half_close:
        wire.finish()
    elif case.client_rst:
        # The reset must not overtake what was sent.
        await caller.reached.wait()
        wire.reset_now()


async def _send_segments(case: Case, wire: Wire, saw_answer: asyncio.Event) -> None:
    rest = case.raw
    for segment in case.segments:
        if segment.get("send") == "head":
            await wire.send(rest)
        elif "send" in segment:
            await wire.send(segment["send"].encode("latin-1"))
        elif "wait_ms" in segment:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(saw_answer.wait(), segment["wait_ms"] / 1000)
        elif "byte_by_byte_ms" in segment:
            for byte in rest:
                if wire.closed:
                    return
                await wire.send(bytes([byte]))
                await asyncio.sleep(segment["byte_by_byte_ms"] / 1000)
        elif "split_between" in segment:
            first, second = (byte.encode("latin-1") for byte in segment["split_between"])
            pieces = rest.split(first + second)
            for index, piece in enumerate(pieces):
                last = index == len(pieces) - 1
                await wire.send((second if index else b"") + piece + (b"" if last else first))
                await asyncio.sleep(segment["pause_ms"] / 1000)
        else:
            raise ValueError(f"{case.id}: segment {segment!r}")


async def play(case: Case, delivery: Delivery, port: int, recorder: Recorder) -> Observation:
    """Sends the case and follows both sides to the end."""
    source = _source_address()
    caller = recorder.caller(source)
    if case.is_response:
        caller.split_at = delivery.split_at
        caller.byte_by_byte = delivery.byte_by_byte
    seen = Observation(delivery)
    wire = await Wire.connect(port, source)
    try:
        reader = _Reader(wire, case.method)
        if delivery.warm and not await _warm(wire, reader, case.method):
            seen.garbage = "the request that warms the connection was not answered"
            return seen
        await _follow(case, delivery, wire, reader, caller, seen)
    finally:
        wire.close()
    if case.late_seconds:
        # What comes late finds the connection idle in the pool.
        await asyncio.sleep(case.late_seconds + 0.1)
    if case.followup is not None:
        seen.followup = await _ask(port, case.followup)
    await _settle(seen, caller, faulty_response=case.is_response and case.expects_rejection)
    return seen


async def _warm(wire: Wire, reader: _Reader, method: bytes) -> bool:
    """One exchange on the same connection, which leaves an upstream connection in the pool."""
    await wire.send(b"GET /gx-warm HTTP/1.1\r\nHost: gw.test\r\n\r\n")
    reader.method = b"GET"
    while not wire.closed:
        if reader.poll() is not None:
            reader.method = method
            return True
        if not await wire.changed(HANG_SECONDS):
            return False
    return False


async def _follow(
    case: Case,
    delivery: Delivery,
    wire: Wire,
    reader: _Reader,
    caller: Caller,
    seen: Observation,
) -> None:
    start = reader.at
    saw_answer = asyncio.Event()
    sender = asyncio.ensure_future(_send(case, wire, delivery, caller, saw_answer))
    sender.add_done_callback(lambda _: wire.wake())
    clock = asyncio.get_running_loop().time
    deadline = clock() + HANG_SECONDS
    probing = False
    try:
        while True:
            try:
                response = reader.poll()
            except NotHttp as error:
                seen.garbage = str(error)
                if wire.closed or not await wire.changed(END_SECONDS):
                    break
                continue
            if response is not None:
                saw_answer.set()
                if 100 <= response.status < 200 and response.status != 101:
                    seen.interim.append(response)
                elif probing and response.body == echo_body(b"GET", PROBE, 0):
                    seen.probe_answered = True
                    break
                else:
                    seen.responses.append(response)
                    deadline = clock() + HANG_SECONDS
                if not response.complete:
                    break
                continue
            if wire.closed:
                break
            if seen.responses and not probing:
                if seen.responses[-1].announces_close:
                    deadline = min(deadline, clock() + END_SECONDS)
                elif sender.done():
                    probing = True
                    await wire.send(_PROBE_REQUEST)
            await wire.changed(max(0.001, deadline - clock()))
            if clock() >= deadline and not wire.closed:
                seen.hung = True
                break
    finally:
        sender.cancel()
        await asyncio.gather(sender, return_exceptions=True)
    seen.received = bytes(wire.received[start:])
    seen.ended = wire.closed
    seen.reset = wire.reset


async def _ask(port: int, request: bytes) -> bytes:
    """All that comes back on a fresh connection, to the end of the response and a moment more."""
    clock = asyncio.get_running_loop().time
    deadline = clock() + HANG_SECONDS
    wire = await Wire.connect(port)
    try:
        await wire.send(request)
        with contextlib.suppress(NotHttp):
            while read_response(bytes(wire.received), 0, eof=wire.closed) is None:
                if wire.closed or clock() > deadline:
                    break
                await wire.changed(1.0)
        await asyncio.sleep(0.02)
        return bytes(wire.received)
    finally:
        wire.close()


async def _settle(seen: Observation, caller: Caller, *, faulty_response: bool) -> None:
    """Waits until no message of this caller is half-way upstream, or its connection is gone.

    A connection on which the upstream sent something faulty is given the same time to be closed.
    """
    clock = asyncio.get_running_loop().time
    deadline = clock() + END_SECONDS
    seen.exchanges = caller.exchanges
    while any(
        not exchange.connection_closed
        and (exchange.unfinished or (faulty_response and not exchange.is_own))
        for exchange in caller.exchanges
    ):
        if clock() > deadline:
            seen.left_open = any(
                exchange.unfinished and not exchange.connection_closed
                for exchange in caller.exchanges
            )
            return
        await asyncio.sleep(0.005)
