"""How exact injected delays are: `python -m benchmarks.fault_delays [MS] [CALLERS]`.

So many callers ask at once a gateway of one worker, embedded in the same process, whose policy
holds every request for so long and then aborts it. What is printed includes the callers' own time,
so run it on a machine that does nothing else, with a release build of the extension.
"""

from __future__ import annotations

import asyncio
import sys
import time

import gatewayx

REQUEST = b"GET / HTTP/1.1\r\nHost: gateway\r\n\r\n"


async def measure(port: int) -> float:
    """Milliseconds from the request to its answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    begun = time.perf_counter()
    writer.write(REQUEST)
    await reader.readuntil(b"\r\n\r\n")
    taken = (time.perf_counter() - begun) * 1000
    writer.close()
    return taken


async def main(delay_ms: float, callers: int) -> None:
    """Measure and print."""
    fault = {"percentage": 100, "delay": {"fixed_delay_ms": delay_ms}, "abort": {"httpStatus": 503}}
    policy = {"metadata": {"name": "delay"}, "spec": {"rules": [{"fault": fault}]}}
    async with gatewayx.Gateway(upstream="http://127.0.0.1:9") as gateway:
        await gateway.apply_policies([policy])
        port = int(gateway.url.rpartition(":")[2])
        taken = sorted(await asyncio.gather(*(measure(port) for _ in range(callers))))
    p50, p99 = taken[callers // 2], taken[min(callers - 1, callers * 99 // 100)]
    print(f"{callers} in flight, {delay_ms:g} ms: least {taken[0]:.2f}", end=" ")
    print(f"p50 {p50:.2f} p99 {p99:.2f} most {taken[-1]:.2f}")


if __name__ == "__main__":
    delay, count = [*sys.argv[1:], *("500", "500")[len(sys.argv) - 1 :]]
    asyncio.run(main(float(delay), int(count)))
