"""One health probe: a request of its own connection, judged by its status line."""

from __future__ import annotations

import asyncio
import ssl
from functools import cache

from gatewayx.config import HealthCheckConfig
from gatewayx.config.tls import UpstreamTls
from gatewayx.config.values import UpstreamAddress

HEAD_MAX_BYTES = 16 << 10
"""A head that is longer is a failed probe."""


async def probe(address: UpstreamAddress, check: HealthCheckConfig, tls: UpstreamTls) -> str | None:
    """Ask once; `None` when the upstream is well, else what is wrong with it. Never raises."""
    try:
        async with asyncio.timeout(check.timeout):
            status = await _ask(address, check.path, tls)
    except TimeoutError:
        return "no answer in time"
    except OSError as error:
        return error.strerror or str(error) or "no connection"
    except (ValueError, EOFError, asyncio.LimitOverrunError):
        # ValueError: a name that is no host name, or an answer that is not HTTP.
        return "no HTTP answer"
    is_good = status in check.statuses if check.statuses else 200 <= status <= 399
    return None if is_good else f"status {status}"


async def _ask(address: UpstreamAddress, path: str, tls: UpstreamTls) -> int:
    name = (tls.server_name or address.host) if address.tls else None
    reader, writer = await asyncio.open_connection(
        address.host,
        address.port,
        ssl=_context(tls) if address.tls else None,
        server_hostname=name,
        limit=HEAD_MAX_BYTES,
    )
    try:
        request = (
            f"GET {path} HTTP/1.1\r\nHost: {address.authority}\r\n"
            "User-Agent: gatewayx-health-check\r\nConnection: close\r\n\r\n"
        )
        writer.write(request.encode("ascii"))
        while (status := _status(await reader.readuntil(b"\n"))) < 200:
            while (await reader.readuntil(b"\n")).strip():
                pass
        return status
    finally:
        writer.transport.abort()


def _context(tls: UpstreamTls) -> ssl.SSLContext:
    """Trusts what requests trust. Files are read anew each time: they may have been renewed."""
    if tls.ca_file is None and tls.client_cert_file is None:
        return _system_context()
    context = ssl.create_default_context(cafile=tls.ca_file)
    if tls.client_cert_file is not None:
        context.load_cert_chain(tls.client_cert_file, tls.client_key_file)
    return context


@cache
def _system_context() -> ssl.SSLContext:
    return ssl.create_default_context()


def _status(line: bytes) -> int:
    version, _, rest = line.partition(b" ")
    code = rest[:3]
    if not (version.startswith(b"HTTP/1.") and len(code) == 3 and code.isdigit()):
        raise ValueError("not a status line")
    return int(code)
