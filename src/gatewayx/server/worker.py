"""A worker process: one loop, one engine.

It imports as little as it can: every worker pays for it in memory. What it serves it is told by the
supervisor, over an inherited socket, as one JSON object a line; see `control.py`.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import signal
import socket
import sys
from typing import Any

from gatewayx import _native
from gatewayx.server.control import Channel, Orders
from gatewayx.server.driver import Driver
from gatewayx.server.sockets import new_event_loop


async def work(channel: Channel, descriptors: socket.socket) -> None:
    """Serve by the supervisor's orders until told to stop, or until the supervisor is gone."""
    message = await channel.receive()
    if message is None:
        return
    orders = Orders(**message)
    metrics = _native.Metrics.attach(orders.metrics_fd, orders.slots, orders.blocks)
    driver = Driver(
        json.dumps(orders.config).encode(),
        metrics,
        slot=orders.slot,
        buffer_size=orders.buffer_size,
        buffers_per_read=orders.buffers_per_read,
        log_fd=orders.log_fd,
        spans_fd=orders.spans_fd,
        wake_fds=orders.wake_fds,
        dns=orders.dns,
    )
    # Starting takes a while: the policies in force may be others by now.
    await channel.send({"event": "made"})
    if (message := await channel.receive()) is None:
        return
    _inject(driver, message["policies"])
    for address, fd in orders.listener_fds.items():
        await driver.listen(address, socket.socket(fileno=fd))
    # What is alive now stays alive: the collector need never look at it again.
    gc.collect()
    gc.freeze()
    await channel.send({"event": "ready"})
    drain_seconds = orders.drain_seconds
    while (message := await channel.receive()) is not None:
        if message["order"] == "stop":
            drain_seconds = message["drain_seconds"]
            break
        if message["order"] == "reload":
            await _reload(driver, message, descriptors)
        _inject(driver, message["policies"])
        await channel.send({"event": "reloaded"})
    await driver.stop(drain_seconds)
    driver.native.close_log()


async def _reload(driver: Driver, message: dict[str, Any], descriptors: socket.socket) -> None:
    """Switch to another configuration between two events of the loop, then to its listeners."""
    driver.native.configure(json.dumps(message["config"]).encode())
    driver.resolver.configure(**message["dns"])
    for address in message["closed"]:
        driver.ignore(address)
    opened = message["opened"]
    if opened:
        # Sent before the message, so they are there.
        _, fds, _, _ = socket.recv_fds(descriptors, 1, len(opened))
        for address, fd in zip(opened, fds, strict=True):
            await driver.listen(address, socket.socket(fileno=fd))


def _inject(driver: Driver, policies: dict[str, Any]) -> None:
    driver.native.set_faults(json.dumps(policies).encode())


def main() -> int:
    """Run as `python -m gatewayx.server.worker CONTROL_FD DESCRIPTORS_FD`."""
    # The supervisor decides; a Ctrl-C at the terminal reaches it as well.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    logging.basicConfig(format="%(levelname)s %(message)s", level=logging.INFO)

    async def run() -> None:
        control, descriptors = (socket.socket(fileno=int(fd)) for fd in sys.argv[1:3])
        await work(await Channel.open(control), descriptors)

    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(run())
    return 0


if __name__ == "__main__":
    sys.exit(main())
