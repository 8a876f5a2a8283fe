"""The demo of `make run`: the upstream, the gateway in front of it, and the commands to try.

Runs until one of the two ends or the demo is told to stop (Ctrl-C, SIGTERM); then it stops both,
the gateway first, so that it can drain.
"""

import asyncio
import os
import secrets
import signal
import sys
import urllib.error
import urllib.request
from pathlib import Path

FOLDER = Path(__file__).parent
UPSTREAM = "http://127.0.0.1:8001"
ADMIN = "http://127.0.0.1:9901"

INVITATION = """
The gateway is up. Try, in another terminal:

  curl -i  http://127.0.0.1:8080/hello
  curl -N  http://127.0.0.1:8080/stream            # every event as it is sent
  curl -i  'http://127.0.0.1:8080/slow?seconds=9'  # 504: response_header is 5 s
  curl -H  'Authorization: Bearer {token}' http://127.0.0.1:9901/api/gateway/metrics

Configuration: examples/gateway.yaml. Access log: below. Ctrl-C stops.
"""


def answers(url: str) -> bool:
    """Whether a GET is answered with success."""
    try:
        with urllib.request.urlopen(url, timeout=1) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, TimeoutError, ConnectionError):
        return False


async def wait_for(url: str, process: asyncio.subprocess.Process) -> bool:
    """Whether the URL answered before the process ended."""
    while process.returncode is None:
        if await asyncio.to_thread(answers, url):
            return True
        await asyncio.sleep(0.1)
    return False


async def stop(process: asyncio.subprocess.Process) -> int:
    """End a process that may have ended already; its exit status."""
    if process.returncode is None:
        process.terminate()
    return await process.wait()


async def main() -> int:
    """Run both; the gateway's exit status."""
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, told.set)

    # Sessions of their own: a Ctrl-C reaches the demo alone, and the gateway stops first.
    start = asyncio.create_subprocess_exec
    upstream_program = str(FOLDER / "demo_upstream.py")
    upstream = await start(sys.executable, upstream_program, start_new_session=True)
    try:
        if not await wait_for(UPSTREAM, upstream):
            return 1
        gateway_arguments = ("-m", "gatewayx", "serve", "-c", str(FOLDER / "gateway.yaml"))
        token = secrets.token_hex(8)
        environ = os.environ | {"GATEWAYX_ADMIN_TOKEN": token}
        gateway = await start(
            sys.executable, *gateway_arguments, env=environ, start_new_session=True
        )
        if await wait_for(f"{ADMIN}/ready", gateway):
            print(INVITATION.format(token=token), flush=True)
            ends = [told.wait(), gateway.wait(), upstream.wait()]
            tasks = [asyncio.ensure_future(end) for end in ends]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                task.cancel()
        return await stop(gateway)
    finally:
        await stop(upstream)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
