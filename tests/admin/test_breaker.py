"""Forcing a circuit breaker through the admin API."""

import asyncio
import http.client
import json

import pytest

from tests.admin.conftest import TOKEN, KnownState


def _ask(port: int, method: str, proxy: str, body: str | None = None, token: str = TOKEN):  # type: ignore[no-untyped-def]
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        path = f"/api/gateway/proxies/{proxy}/breaker"
        connection.request(method, path, body, {"Authorization": f"Bearer {token}"})
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


@pytest.mark.parametrize("order", ["open", "closed", "auto"])
async def test_an_order_is_obeyed_and_shown(port: int, state: KnownState, order: str) -> None:
    told = await asyncio.to_thread(_ask, port, "POST", "sidecar", f'{{"state": "{order}"}}')
    assert told == (200, {"proxy": "sidecar", "state": order})
    assert state.breakers["sidecar"] == order
    assert await asyncio.to_thread(_ask, port, "GET", "sidecar") == told


@pytest.mark.parametrize(
    ("proxy", "body", "status", "reason"),
    [
        ("nobody", '{"state": "open"}', 404, "not_found"),
        ("bare", '{"state": "open"}', 409, "no_breaker"),
        ("sidecar", '{"state": "ajar"}', 422, "invalid"),
        ("sidecar", '{"state": "open", "more": 1}', 422, "invalid"),
        ("sidecar", "open", 422, "invalid"),
        ("sidecar", '{"state": "open"}' + " " * 2000, 422, "invalid"),
    ],
)
async def test_what_cannot_be_obeyed_changes_nothing(
    port: int, state: KnownState, proxy: str, body: str, status: int, reason: str
) -> None:
    answer = await asyncio.to_thread(_ask, port, "POST", proxy, body)
    assert (answer[0], answer[1]["reason"]) == (status, reason)
    assert state.breakers == {"sidecar": "auto"}


async def test_only_the_superuser_may(port: int, state: KnownState) -> None:
    answer = await asyncio.to_thread(_ask, port, "POST", "sidecar", '{"state": "open"}', "guess")
    assert answer[0] == 401
    assert state.breakers == {"sidecar": "auto"}


async def test_health_is_shown(port: int) -> None:
    def ask(proxy: str):  # type: ignore[no-untyped-def]
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            path = f"/api/gateway/proxies/{proxy}/health"
            connection.request("GET", path, headers={"Authorization": f"Bearer {TOKEN}"})
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()

    status, answer = await asyncio.to_thread(ask, "sidecar")
    assert (status, answer["proxy"]) == (200, "sidecar")
    assert answer["upstreams"][0]["failure"] == "status 500"
    status, answer = await asyncio.to_thread(ask, "nobody")
    assert (status, answer["reason"]) == (404, "not_found")
