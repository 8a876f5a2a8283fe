"""Header fields that the gateway puts together: what the upstream is told of the caller."""

from __future__ import annotations

from typing import Any

import pytest

from gatewayx.config import ConfigError
from tests.integration.conftest import Connect, Serve
from tests.support.caller import error_of
from tests.support.tokens import SECRET, bearer, jwt
from tests.support.upstream import ScriptedUpstream

AUTH: dict[str, Any] = {"jwt": [{"secret": SECRET}]}
ANY_TOKEN = "@request.auth.id != ''"


async def test_values_are_put_in_and_the_callers_own_fields_are_not_believed(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIDECAR_KEY", "k-1")
    headers = {
        "Authorization": "Bearer {env.SIDECAR_KEY}",
        "X-User": "@request.auth.id",
        "X-Roles": "[@request.auth.realm.roles]",
        "X-Trace": "ip=@request.ip; id=@request.id; key={env.SIDECAR_KEY}{env.UNSET?}",
    }
    gateway = await serve(auth=AUTH, access_rule=ANY_TOKEN, headers=headers)
    caller = await connect(gateway)
    token = jwt(realm={"roles": ["dev", "ops"]})
    forged = (("X-User", "root"), ("x_user", "root"), ("X-Roles", "admin"))
    response = await caller.get("/", bearer(token), *forged)
    assert response.status == 200
    [request] = upstream.requests
    assert request.values("X-User") == [b"u1"]
    assert request.values("x_user") == []
    assert request.values("X-Roles") == [b"[dev,ops]"]
    assert request.values("Authorization") == [b"Bearer k-1"]
    request_id = response.value("X-Request-Id")
    assert request_id is not None
    assert request.values("X-Trace") == [b"ip=127.0.0.1; id=" + request_id + b"; key=k-1"]


async def test_a_claim_that_is_missing_is_refused_or_empty(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    headers = {"X-Mail": "@request.auth.email", "X-Team": "@request.auth.team?"}
    caller = await connect(await serve(auth=AUTH, access_rule=ANY_TOKEN, headers=headers))
    refused = await caller.get("/", bearer(jwt(team="a")))
    assert (refused.status, error_of(refused)["reason"]) == (403, "claim_missing")
    assert (await caller.get("/", bearer(jwt(email="a@b.test")))).status == 200
    [request] = upstream.requests
    assert (request.values("X-Mail"), request.values("X-Team")) == ([b"a@b.test"], [b""])


async def test_a_public_proxy_may_know_its_callers(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    caller = await connect(await serve(auth=AUTH, headers={"X-User": "@request.auth.id?"}))
    await caller.get("/")
    await caller.get("/", bearer(jwt()))
    await caller.get("/", bearer("wrong"))
    assert [request.values("X-User") for request in upstream.requests] == [[b""], [b"u1"], [b""]]


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nb", "a\rb", "nul\0", "del\x7f", "\x1b[0m"])
async def test_no_claim_ends_a_line(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect, value: str
) -> None:
    headers = {"X-Name": "@request.auth.name", "X-Maybe": "@request.auth.name?"}
    strict = await connect(await serve(auth=AUTH, access_rule=ANY_TOKEN, headers=headers))
    assert (await strict.get("/", bearer(jwt(name=value)))).status == 403
    assert (await strict.get("/", bearer(jwt(name=["fine", value])))).status == 403
    lenient = {"X-Maybe": "@request.auth.name?"}
    caller = await connect(await serve(auth=AUTH, access_rule=ANY_TOKEN, headers=lenient))
    assert (await caller.get("/", bearer(jwt(name=value)))).status == 200
    [request] = upstream.requests
    assert request.values("X-Maybe") == [b""]
    assert request.value("X-Evil") is None


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("{env.NOT_THERE}", "needs the environment variable NOT_THERE, which is unset"),
        ("{secret.KEY}", "needs the secret KEY, which is unset"),
        ("{ env.X}", "malformed reference"),
        ("{secret.}", "malformed reference"),
        ("@request.auth", "malformed reference"),
        ("@request.path", "malformed reference"),
        ("@request.idx", "malformed reference"),
        ("@request.auth.id", "write @request.auth.id?"),
    ],
)
async def test_references_without_a_value_are_faults(
    serve: Serve, value: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NOT_THERE", raising=False)
    with pytest.raises(ConfigError) as caught:
        await serve(headers={"X-A": value})
    [fault] = caught.value.faults
    assert fault.path == "proxies[0].headers.X-A"
    assert words in fault.message
