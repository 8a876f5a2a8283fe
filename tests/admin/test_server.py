"""The admin server's life on a loop that it does not own."""

import asyncio
import signal
import socket

import pytest

from gatewayx.admin import AdminServer, SuperuserToken, create_app
from tests.admin.conftest import TOKEN, KnownState, ask_at


def server_on(listening: socket.socket) -> AdminServer:
    return AdminServer(create_app(KnownState(), SuperuserToken(TOKEN)), listening)


async def test_it_leaves_signals_to_the_process() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    server = server_on(socket.create_server(("127.0.0.1", 0)))
    await server.start()
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    await server.stop()


async def test_it_accepts_from_start_to_stop_and_leaves_nothing_behind() -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    tasks = asyncio.all_tasks()
    server = server_on(listening)
    await server.start()
    assert (await asyncio.to_thread(ask_at, port, "/healthz")).status == 200
    await server.stop()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)
    assert listening.fileno() == -1
    assert asyncio.all_tasks() == tasks


async def test_a_kept_connection_does_not_hold_up_the_stop() -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    server = server_on(listening)
    await server.start()
    reader, writer = await asyncio.open_connection(*listening.getsockname())
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    await server.stop()
    await reader.read()
    assert reader.at_eof()
    writer.close()
    await writer.wait_closed()


async def test_a_socket_that_cannot_listen_is_told_at_the_start() -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    listening.close()
    server = server_on(listening)
    with pytest.raises(OSError, match="Bad file descriptor"):
        await server.start()


async def test_stop_before_start_is_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        await server_on(listening).stop()
