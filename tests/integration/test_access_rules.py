"""Who may call: rules, tokens, and what the upstream sees of them."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import Connect, Serve
from tests.support.caller import error_of
from tests.support.gateway import ADMIN_TOKEN, GatewayProcess
from tests.support.tokens import SECRET, bearer, jwt, key_set, sha256
from tests.support.upstream import ScriptedUpstream, UpstreamConnection
from tests.support.waiting import eventually

API_TOKEN = "gwx_ci_0123456789abcdef"
AUTH: dict[str, Any] = {
    "jwt": [{"secret": SECRET, "issuer": "https://id.test", "audience": ["api"]}],
    "tokens": [{"id": "ci", "sha256": sha256(API_TOKEN), "claims": {"role": "deployer"}}],
}
ANY_TOKEN = "@request.auth.id != ''"


def good(**claims: Any) -> str:
    return jwt(**{"iss": "https://id.test", "aud": "api", **claims})


async def test_a_rule_that_asks_for_a_caller(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    caller = await connect(await serve(auth=AUTH, access_rule=ANY_TOKEN))
    refused = await caller.get("/")
    assert refused.status == 401
    assert error_of(refused)["error"] == "Authentication Required"
    assert error_of(refused)["reason"] == "auth_required"
    assert refused.value("WWW-Authenticate") == b"Bearer"
    # The connection goes on, and nothing has reached the upstream.
    assert not upstream.requests
    for token in (API_TOKEN, good()):
        assert (await caller.get("/", bearer(token))).status == 200
    assert len(upstream.requests) == 2


@pytest.mark.parametrize(
    "token",
    [
        "gwx_ci_wrong",
        good(iss="https://evil.test"),
        good(aud="other"),
        good(exp=int(time.time()) - 3600),
        good(nbf=int(time.time()) + 3600),
        good(sub=""),
        jwt("another secret of thirty-two bytes!", iss="https://id.test", aud="api"),
        good(header={"alg": "none"}),
        good(header={"crit": ["exp"]}),
        good()[:-2],
        "a.b.c",
        "x" * 9000,
    ],
)
async def test_credentials_that_are_not_good(serve: Serve, connect: Connect, token: str) -> None:
    caller = await connect(await serve(auth=AUTH, access_rule=ANY_TOKEN))
    response = await caller.get("/", bearer(token))
    assert (response.status, error_of(response)["reason"]) == (401, "auth_required")


async def test_two_credentials_are_none(serve: Serve, connect: Connect) -> None:
    caller = await connect(await serve(auth=AUTH, access_rule=ANY_TOKEN))
    assert (await caller.get("/", bearer(API_TOKEN), bearer(good()))).status == 401


async def test_rules_tell_known_callers_apart(serve: Serve, connect: Connect) -> None:
    rule = "@request.auth.role = 'deployer' || @request.auth.groups = 'ops'"
    gateway = await serve(auth=AUTH, access_rule=rule)
    caller = await connect(gateway)
    for token, status in (
        (API_TOKEN, 200),
        (good(groups=["dev", "ops"]), 200),
        (good(groups=["dev"]), 403),
        (good(), 403),
    ):
        response = await caller.get("/", bearer(token))
        assert response.status == status
        if status == 403:
            assert error_of(response)["error"] == "Access Denied"
            assert error_of(response)["reason"] == "access_denied"
    metrics = await gateway.metrics()
    assert metrics.total("gateway_errors_total", type="access_denied") == 2
    assert [record["error"] for record in await gateway.access_log(4)][2:] == ["access_denied"] * 2


async def test_a_rule_without_a_caller_denies_without_asking(
    serve: Serve, connect: Connect
) -> None:
    rule = "@request.ip = '10.0.0.0/8' || @request.method = 'HEAD' && @request.headers.x-a = '1'"
    caller = await connect(await serve(access_rule=rule))
    denied = await caller.get("/")
    assert (denied.status, denied.value("WWW-Authenticate")) == (403, None)
    assert (await caller.ask("HEAD", "/")).status == 403
    assert (await caller.ask("HEAD", "/", ("X-A", "1"))).status == 200
    # Two fields are a list, which is neither of its items.
    assert (await caller.ask("HEAD", "/", ("X-A", "1"), ("x-a", "2"))).status == 403
    here = await connect(await serve(access_rule="@request.ip = '127.0.0.0/8'"))
    assert (await here.get("/")).status == 200


async def test_a_refused_body_does_not_end_the_connection(serve: Serve, connect: Connect) -> None:
    caller = await connect(await serve(auth=AUTH, access_rule=ANY_TOKEN))
    assert (await caller.ask("POST", "/", body=b"x" * 5000)).status == 401
    assert (await caller.ask("POST", "/", bearer(API_TOKEN), body=b"x" * 5000)).status == 200


async def test_credentials_for_the_gateway_stay_with_it(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    options: list[tuple[dict[str, Any], bool]] = [
        ({}, True),
        ({"pass_authorization": False}, False),
        ({"access_rule": ANY_TOKEN}, False),
        ({"access_rule": ANY_TOKEN, "pass_authorization": True}, True),
    ]
    for option, passed in options:
        caller = await connect(await serve(auth=AUTH, **option))
        assert (await caller.get("/", bearer(API_TOKEN))).status == 200
        assert (upstream.requests[-1].value("Authorization") is not None) == passed, option


async def test_a_public_proxy_takes_any_authorization(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    caller = await connect(await serve(auth=AUTH))
    for value in ("Basic dTpw", "Bearer wrong"):
        assert (await caller.get("/", ("Authorization", value))).status == 200
        assert upstream.requests[-1].value("Authorization") == value.encode()


async def test_the_superuser_passes_every_rule(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    proxies = [
        {"name": "closed", "path": "/closed", "upstream": upstream.url, "access_rule": ""},
        {
            "name": "denied",
            "path": "/denied",
            "upstream": upstream.url,
            "access_rule": "@request.ip = '10.0.0.1'",
        },
    ]
    config = {"auth": AUTH, "workers": 2, "proxies": proxies}

    def status(port: int, path: str, token: str | None) -> int:
        import http.client

        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", path, headers=dict([bearer(token)] if token else []))
        response = connection.getresponse()
        response.read()
        connection.close()
        return response.status

    def play(gateway: GatewayProcess) -> list[int]:
        return [
            status(gateway.port, path, token)
            for path in ("/closed", "/denied")
            for token in (None, API_TOKEN, ADMIN_TOKEN)
        ]

    gateway = GatewayProcess(tmp_path, config)
    try:
        await asyncio.to_thread(gateway.start)
        assert await asyncio.to_thread(play, gateway) == [401, 403, 200, 403, 403, 200]
    finally:
        await asyncio.to_thread(gateway.stop)
        gateway.kill()


async def test_keys_by_url_are_fetched_again_and_kept_while_the_issuer_is_down(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    """The keys come from the upstream's own port: one more path that answers JSON."""
    current = {"body": json.dumps(key_set(kid="one")).encode(), "status": 200}
    fetches = 0

    async def publish(request: object, connection: UpstreamConnection) -> None:
        nonlocal fetches
        fetches += 1
        await connection.respond(int(current["status"]), bytes(current["body"]))

    issuer = ScriptedUpstream()
    issuer.on("/keys", publish)
    await issuer.start()
    try:
        source = {
            "jwks_url": f"{issuer.url}/keys",
            "jwks_refresh": 0.05,
            "algorithms": ["HS256"],
        }
        caller = await connect(await serve(auth={"jwt": [source]}, access_rule=ANY_TOKEN))
        first = jwt(header={"kid": "one"})
        second = jwt("the next secret has thirty-two bytes", header={"kid": "two"})

        async def statuses() -> list[int]:
            return [(await caller.get("/", bearer(token))).status for token in (first, second)]

        assert await statuses() == [200, 401]
        current["status"] = 500
        seen = fetches
        await eventually(lambda: fetches > seen, "a fetch that fails")
        assert await statuses() == [200, 401]
        rotated = key_set("the next secret has thirty-two bytes", kid="two")
        current.update(status=200, body=json.dumps(rotated).encode())
        deadline = time.monotonic() + 20
        while await statuses() != [401, 200]:
            assert time.monotonic() < deadline, "the new keys are not in force"
            await asyncio.sleep(0.05)
    finally:
        await issuer.stop()


async def test_key_files_are_read_again_at_a_reload(
    tmp_path: Path, upstream: ScriptedUpstream
) -> None:
    keys = tmp_path / "keys.json"
    keys.write_text(json.dumps(key_set(kid="one")))
    source = {"jwks_file": str(keys), "algorithms": ["HS256"]}
    config = {
        "auth": {"jwt": [source]},
        "proxies": [{"name": "p", "path": "/", "upstream": upstream.url, "access_rule": ANY_TOKEN}],
    }
    token = jwt(header={"kid": "one"})

    def status(gateway: GatewayProcess) -> int:
        import http.client

        connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=10)
        connection.request("GET", "/", headers=dict([bearer(token)]))
        response = connection.getresponse()
        response.read()
        connection.close()
        return response.status

    gateway = GatewayProcess(tmp_path, config)
    try:
        await asyncio.to_thread(gateway.start)
        assert await asyncio.to_thread(status, gateway) == 200
        keys.write_text(json.dumps(key_set("the next secret has thirty-two bytes", kid="one")))
        answer, body = await asyncio.to_thread(gateway.admin, "POST", "/api/gateway/reload")
        assert answer == 200, body
        assert await asyncio.to_thread(status, gateway) == 401
    finally:
        await asyncio.to_thread(gateway.stop)
        gateway.kill()
