"""Keys of issuers: tokens of another implementation, key sources, and tokens that end."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.integration.conftest import Connect, Serve
from tests.support.caller import Caller
from tests.support.gateway import GatewayProcess
from tests.support.tokens import SECRET, bearer, encoded, jwt, key_set
from tests.support.upstream import ScriptedUpstream, UpstreamConnection

ANY_TOKEN = "@request.auth.id != ''"


class Issuer:
    """Signs tokens with a key of RSA or P-256."""

    def __init__(self, algorithm: str, kid: str | None = None) -> None:
        self.algorithm = algorithm
        self.kid = kid
        self._rsa = rsa.generate_private_key(65537, 2048)
        self._ec = ec.generate_private_key(ec.SECP256R1())

    @property
    def pem(self) -> str:
        key = self._rsa if self.algorithm == "RS256" else self._ec
        form = PublicFormat.SubjectPublicKeyInfo
        return key.public_key().public_bytes(Encoding.PEM, form).decode()

    @property
    def jwk(self) -> dict[str, Any]:
        common = {"kid": self.kid, "alg": self.algorithm, "use": "sig"}
        if self.algorithm == "RS256":
            numbers = self._rsa.public_key().public_numbers()
            return {"kty": "RSA", "n": _number(numbers.n), "e": _number(numbers.e), **common}
        point = self._ec.public_key().public_numbers()
        x, y = (encoded(part.to_bytes(32, "big")) for part in (point.x, point.y))
        return {"kty": "EC", "crv": "P-256", "x": x, "y": y, **common}

    def token(self, **claims: Any) -> str:
        header = {"alg": self.algorithm, **({"kid": self.kid} if self.kid else {})}
        claims = {"sub": "u1", "exp": int(time.time()) + 60, **claims}
        signed = ".".join(encoded(json.dumps(part).encode()) for part in (header, claims))
        return f"{signed}.{encoded(self._sign(signed.encode()))}"

    def _sign(self, data: bytes) -> bytes:
        if self.algorithm == "RS256":
            return self._rsa.sign(data, padding.PKCS1v15(), SHA256())
        r, s = decode_dss_signature(self._ec.sign(data, ec.ECDSA(SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def _number(value: int) -> str:
    return encoded(value.to_bytes((value.bit_length() + 7) // 8, "big"))


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
async def test_tokens_of_another_implementation(
    serve: Serve, connect: Connect, tmp_path: Path, algorithm: str
) -> None:
    issuer, stranger = Issuer(algorithm, "one"), Issuer(algorithm, "one")
    pem, keys = tmp_path / "key.pem", tmp_path / "keys.json"
    pem.write_text(issuer.pem)
    keys.write_text(json.dumps({"keys": [Issuer(algorithm, "other").jwk, issuer.jwk]}))
    for source in ({"public_key_file": str(pem)}, {"jwks_file": str(keys)}):
        caller = await connect(await serve(auth={"jwt": [source]}, access_rule=ANY_TOKEN))
        for token, status in (
            (issuer.token(), 200),
            (stranger.token(), 401),
            # The public key as a shared secret: the oldest of all confusions.
            (jwt(issuer.pem), 401),
            (issuer.token(exp=int(time.time()) - 600), 401),
        ):
            assert (await caller.get("/", bearer(token))).status == status, source


async def test_issuers_are_told_apart_by_their_keys(serve: Serve, connect: Connect) -> None:
    sources = [
        {"secret": SECRET, "issuer": "https://one.test"},
        {"secret": "another secret of thirty-two bytes!", "issuer": "https://two.test"},
    ]
    rule = "@request.auth.iss = 'https://two.test'"
    caller = await connect(await serve(auth={"jwt": sources}, access_rule=rule))
    two = "another secret of thirty-two bytes!"
    for token, status in (
        (jwt(two, iss="https://two.test"), 200),
        (jwt(SECRET, iss="https://one.test"), 403),
        # A good signature of the one does not speak for the other.
        (jwt(SECRET, iss="https://two.test"), 401),
    ):
        assert (await caller.get("/", bearer(token))).status == status


async def test_a_token_ends_on_a_connection_that_goes_on(serve: Serve, connect: Connect) -> None:
    source = {"secret": SECRET, "leeway": 0}
    caller = await connect(await serve(auth={"jwt": [source]}, access_rule=ANY_TOKEN))
    ends = int(time.time()) + 3
    token = jwt(exp=ends)
    assert (await caller.get("/", bearer(token))).status == 200
    while (status := (await caller.get("/", bearer(token))).status) == 200:
        assert time.time() < ends + 20, "it never ends"
        await asyncio.sleep(0.05)
    assert status == 401
    assert time.time() > ends - 1


async def test_an_issuer_that_is_down_at_the_start(serve: Serve, connect: Connect) -> None:
    issuer = ScriptedUpstream()
    up = False

    async def publish(request: object, connection: UpstreamConnection) -> None:
        if up:
            await connection.respond(200, json.dumps(key_set(kid="one")).encode())
        else:
            await connection.respond(503)

    issuer.on("/keys", publish)
    await issuer.start()
    try:
        source = {
            "jwks_url": f"{issuer.url}/keys",
            "jwks_refresh": 0.05,
            "algorithms": ["HS256"],
        }
        caller = await connect(await serve(auth={"jwt": [source]}, access_rule=ANY_TOKEN))
        token = jwt(header={"kid": "one"})
        assert (await caller.get("/", bearer(token))).status == 401
        up = True
        deadline = time.monotonic() + 20
        while (await caller.get("/", bearer(token))).status != 200:
            assert time.monotonic() < deadline, "its keys are never in force"
            await asyncio.sleep(0.05)
    finally:
        await issuer.stop()


async def test_fetched_keys_reach_every_worker_and_undo_no_reload(
    tmp_path: Path, upstream: ScriptedUpstream
) -> None:
    """Keys come in while configurations change: what a reload has set stays."""
    issuer = ScriptedUpstream()
    second = "the next secret has thirty-two bytes"
    current = key_set(kid="one")

    async def publish(request: object, connection: UpstreamConnection) -> None:
        await connection.respond(200, json.dumps(current).encode())

    issuer.on("/keys", publish)
    await issuer.start()
    source = {
        "jwks_url": f"{issuer.url}/keys",
        "jwks_refresh": 0.05,
        "algorithms": ["HS256"],
    }
    proxy = {"name": "p", "path": "/", "upstream": upstream.url, "access_rule": ANY_TOKEN}
    config = {"workers": 2, "auth": {"jwt": [source]}, "proxies": [proxy]}
    gateway = GatewayProcess(tmp_path, config)

    async def statuses(token: str) -> set[int]:
        """Of connections enough for both workers."""
        callers = [await Caller.connect(gateway.port) for _ in range(12)]
        try:
            return {(await caller.get("/", bearer(token))).status for caller in callers}
        finally:
            for caller in callers:
                await caller.close()

    async def until(token: str, wanted: set[int]) -> None:
        deadline = time.monotonic() + 20
        while (found := await statuses(token)) != wanted:
            assert time.monotonic() < deadline, found
            await asyncio.sleep(0.05)

    try:
        await asyncio.to_thread(gateway.start)
        first_token = jwt(header={"kid": "one"})
        assert await statuses(first_token) == {200}
        proxy["access_rule"] = "@request.auth.role = 'ops'"
        gateway.config_path.write_text(json.dumps(gateway.config))
        current = key_set(second, kid="two")
        answer, body = await asyncio.to_thread(gateway.admin, "POST", "/api/gateway/reload")
        assert answer == 200, body
        await until(first_token, {401})
        await until(jwt(second, header={"kid": "two"}), {403})
        assert await statuses(jwt(second, header={"kid": "two"}, role="ops")) == {200}
    finally:
        await asyncio.to_thread(gateway.stop)
        gateway.kill()
        await issuer.stop()
