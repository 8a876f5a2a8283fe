"""Rules, credentials and header templates in a configuration: what is refused, where and why."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gatewayx.config import ConfigError, compile_engine, validate
from gatewayx.config.access import explain
from gatewayx.config.auth import AuthConfig, compile_auth, usable_keys
from gatewayx.config.templates import constant, parts
from tests.support.tokens import SECRET, key_set, sha256

URL = "http://127.0.0.1:1"
PEM = """\
-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEYD54V/vp+54P9DXarYqx4MPcm+HK
RIQzNasYSoRQHQ/6S6Ps8tpMcT+KvIIC8W/e9k0W7Cm72M1P9jU7SLf/vg==
-----END PUBLIC KEY-----
"""


def faults(data: dict[str, Any], environ: dict[str, str] | None = None) -> list[tuple[str, str]]:
    with pytest.raises(ConfigError) as caught:
        validate(data, environ or {})
    return [(fault.path, fault.message) for fault in caught.value.faults]


def rule_fault(rule: str) -> tuple[str, str]:
    [found] = faults({"proxies": [{"name": "a", "upstream": URL, "access_rule": rule}]})
    return found


def jwt_fault(**source: Any) -> tuple[str, str]:
    [found] = faults({"auth": {"jwt": [source]}})
    return found


@pytest.mark.parametrize(
    ("rule", "character", "words"),
    [
        ("false", 1, "expected a text in quotes"),
        ("@request.auth.id == ''", 19, "expected a text in quotes"),
        ("@request.auth.id", 17, "expected = or !="),
        ("@request.headers.x = 'ü' and", 26, "expected && or ||"),
        ("@request.user = 'a'", 1, "unknown"),
        ("@request.ip = '10.0.0.1/8'", 15, "an address or a network"),
        ("(@request.ip = '::1'", 1, "not closed"),
    ],
)
def test_a_rule_is_refused_at_its_character(rule: str, character: int, words: str) -> None:
    path, message = rule_fault(rule)
    assert path == "proxies[0].access_rule"
    assert message.startswith(f"at character {character}: ")
    assert words in message


def test_a_rule_tells_what_it_looked_at() -> None:
    rule = "@request.method = 'GET' && (@request.auth.role = 'a' || @request.ip = '10.0.0.0/8')"
    subjects = [("method", "GET"), ("ip", "10.1.2.3"), ("auth.role", "b")]
    assert explain(rule, subjects) == (
        True,
        [
            ("@request.method = 'GET'", True),
            ("@request.auth.role = 'a'", False),
            ("@request.ip = '10.0.0.0/8'", True),
        ],
    )
    with pytest.raises(ValueError, match="expected"):
        explain("nonsense", [])


def test_every_source_of_keys(tmp_path: Path) -> None:
    pem, keys = tmp_path / "key.pem", tmp_path / "keys.json"
    pem.write_text(PEM)
    keys.write_text(json.dumps(key_set(kid="k")))
    url = "https://id.test/keys"
    sources: list[dict[str, Any]] = [
        {"secret": "{env.JWT_SECRET}"},
        {"public_key_file": str(pem)},
        {"jwks_file": str(keys), "algorithms": ["HS256"], "leeway": 0},
        {"jwks_url": url},
    ]
    environ = {"JWT_SECRET": SECRET}
    config = validate({"auth": {"jwt": sources}}, environ)
    issuers = compile_engine(config, environ)["auth"]["issuers"]
    assert [issuer["algorithms"] for issuer in issuers] == [
        ["HS256"],
        ["RS256", "ES256"],
        ["HS256"],
        ["RS256", "ES256"],
    ]
    assert issuers[0]["keys"] == [{"secret": SECRET}]
    assert issuers[1]["keys"] == [{"pem": PEM}]
    assert issuers[2]["keys"][0]["jwk"]["kid"] == "k"
    assert (issuers[2]["leeway_seconds"], issuers[3]["leeway_seconds"]) == (0, 30)
    assert issuers[3]["keys"] == []
    fetched = compile_engine(config, environ, key_sets={url: key_set(kid="f")})
    assert fetched["auth"]["issuers"][3]["keys"][0]["jwk"]["kid"] == "f"


def test_sources_that_give_no_key_are_refused(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("no key")
    empty = tmp_path / "empty.json"
    empty.write_text('{"keys": [{"kty": "OKP", "crv": "Ed25519", "x": "AA"}]}')
    place = "auth.jwt[0]"
    assert jwt_fault()[0] == place
    assert jwt_fault(secret=SECRET, jwks_url="https://id.test")[1].startswith("needs one of")
    assert jwt_fault(secret="short") == (f"{place}.secret", "must have at least 32 bytes")
    path, message = jwt_fault(secret="{env.NOT_THERE}")
    assert (path, "NOT_THERE, which is unset" in message) == (f"{place}.secret", True)
    path, message = jwt_fault(public_key_file=str(tmp_path / "missing"))
    assert (path, "cannot be read" in message) == (f"{place}.public_key_file", True)
    assert "no public key" in jwt_fault(public_key_file=str(text))[1]
    assert "is no JSON" in jwt_fault(jwks_file=str(text))[1]
    assert "holds no key" in jwt_fault(jwks_file=str(empty))[1]
    assert "https" in jwt_fault(jwks_url="http://id.test/keys")[1]
    assert jwt_fault(secret=SECRET, algorithms=["none"])[0] == f"{place}.algorithms[0]"


def test_only_usable_keys_of_a_set_are_taken() -> None:
    encryption = {**key_set()["keys"][0], "use": "enc"}
    mixed = {"keys": [encryption, {"kty": "new"}, *key_set(kid="k")["keys"]]}
    assert [key["jwk"]["kid"] for key in usable_keys(mixed)] == ["k"]
    for broken in ({}, [], {"keys": {}}, {"keys": []}, {"keys": [{}] * 65}):
        with pytest.raises(ValueError, match="key"):
            usable_keys(broken)


def test_tokens_are_known_by_digest_alone() -> None:
    digest = sha256("gwx_a_b")
    token = {"id": "a", "sha256": digest.upper(), "claims": {"role": "dev"}}
    config = AuthConfig.model_validate({"tokens": [token]})
    assert compile_auth(config, {}, {})["tokens"] == [
        {"id": "a", "digest": {"sha256": digest}, "claims": {"role": "dev"}}
    ]
    [(path, message)] = faults({"auth": {"tokens": [{"id": "a", "sha256": "gwx_a_b"}]}})
    assert (path, "64 hexadecimal" in message) == ("auth.tokens[0].sha256", True)
    twins = [{"id": name, "sha256": digest} for name in "ab"]
    [(path, message)] = faults({"auth": {"tokens": twins}})
    assert (path, message) == ("auth.tokens[1].sha256", "is that of auth.tokens[0] as well")


def test_header_values_are_taken_apart() -> None:
    environ, secrets = {"E": "env"}, {"S": "secret"}
    assert parts("a{env.E}b{secret.S}", environ, secrets) == [{"text": "aenvbsecret"}]
    assert parts("", environ, secrets) == [{"text": ""}]
    assert parts("{env.NO?}", environ, secrets) == [{"text": ""}]
    assert parts("u=@request.auth.a.b?, @request.ip @request.id", environ, secrets) == [
        {"text": "u="},
        {"claim": {"name": "a.b", "optional": True}},
        {"text": ", "},
        "ip",
        {"text": " "},
        "request_id",
    ]
    assert parts("@request.auth.id.", environ, secrets) == [
        {"claim": {"name": "id", "optional": False}},
        {"text": "."},
    ]
    assert constant(parts("{env.E}", environ, secrets)) == "env"
    assert constant(parts("@request.ip", environ, secrets)) is None
    # Where secrets are not at hand they are taken for sound.
    assert parts("{secret.NO}", environ, None) == [{"text": ""}]
    with pytest.raises(ValueError, match="the secret NO, which is unset"):
        parts("{secret.NO}", environ, secrets)
    with pytest.raises(ValueError, match="cannot use the secret S: it must not hold a line end"):
        parts("{secret.S}", environ, {"S": "a\r\nb"})


def test_secrets_reach_the_engine_and_no_fault() -> None:
    proxy = {"name": "a", "upstream": URL, "headers": {"X-Key": "{secret.KEY}"}}
    config = validate({"proxies": [proxy]}, {})
    [compiled] = compile_engine(config, {}, secrets={"KEY": "k-1"})["proxies"]
    assert compiled["headers"] == [["X-Key", "k-1"]]
    with pytest.raises(ConfigError, match="needs the secret KEY, which is unset"):
        compile_engine(config, {})
