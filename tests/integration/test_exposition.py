"""The page that is written natively is the one that Python writes."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_families
from prometheus_client.parser import text_string_to_metric_families as text_families

from gatewayx.admin.exposition import write
from gatewayx.server.blocks import series
from tests.integration.conftest import Connect, Serve
from tests.support.upstream import ScriptedUpstream


def read(page: bytes, openmetrics: bool) -> list[tuple[Any, ...]]:
    text = page.decode()
    families = open_families(text + "# EOF\n") if openmetrics else text_families(text)
    return [(family.name, family.type, family.documentation, family.samples) for family in families]


@pytest.mark.parametrize("openmetrics", [False, True])
async def test_both_ways_of_writing_say_the_same(
    upstream: ScriptedUpstream,
    serve: Serve,
    connect: Connect,
    openmetrics: bool,
) -> None:
    gateway = await serve()
    caller = await connect(gateway)
    for number in range(5):
        await caller.get(f"/{number}")
    embedded = gateway.gateway  # type: ignore[attr-defined]
    proxies = series(embedded._compiled)
    native = embedded._metrics.exposition(proxies, openmetrics)
    plain = write(embedded._metrics.families(proxies), openmetrics=openmetrics)
    assert native.splitlines()[0] == plain.splitlines()[0]
    assert len(native.splitlines()) == len(plain.splitlines())
    assert read(native, openmetrics) == read(plain, openmetrics)
