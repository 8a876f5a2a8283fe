"""TLS settings: files that fit are compiled, those that do not are named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gatewayx.config import ConfigError, compile_engine, validate
from gatewayx.config.tls_files import system_roots
from tests.support.certificates import Authority


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def listening(tls: dict[str, Any]) -> dict[str, Any]:
    return {"listeners": [{"address": "127.0.0.1:8443", "tls": tls}]}


def proxying(*proxies: dict[str, Any]) -> dict[str, Any]:
    named = [
        {"name": f"p{index}", "path": f"/{index}", **proxy} for index, proxy in enumerate(proxies)
    ]
    return {"proxies": named}


def faults_of(data: dict[str, Any]) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        validate(data, {})
    return [str(fault) for fault in caught.value.faults]


def test_a_listener_is_compiled_with_what_its_files_hold(authority: Authority) -> None:
    one, two = authority.issue("one.test"), authority.issue("two.test")
    tls = {**one, "certificates": [two], "client_auth": "optional"}
    tls["client_ca_file"] = authority.ca_file
    compiled = compile_engine(validate(listening(tls), {}), {})["listeners"]["127.0.0.1:8443"][
        "tls"
    ]
    assert compiled == {
        "certificates": [
            {
                "chain_pem": Path(identity["cert_file"]).read_text(),
                "key_pem": Path(identity["key_file"]).read_text(),
            }
            for identity in (one, two)
        ],
        "client_auth": "optional",
        "client_ca_pem": Path(authority.ca_file).read_text(),
    }


def test_upstreams_that_are_trusted_alike_share_the_settings(authority: Authority) -> None:
    own = {"ca_file": authority.ca_file}
    config = proxying(
        {"upstream": "https://a.test", "tls": own},
        {"upstream": "https://b.test", "tls": {**own, "server_name": "c.test"}},
        {"upstream": "https://d.test"},
        {"upstream": "http://e.test"},
    )
    compiled = compile_engine(validate(config, {}), {})
    first, second, system, none = (proxy["upstreams"][0]["tls"] for proxy in compiled["proxies"])
    assert none is None
    assert first["settings"] == second["settings"] != system["settings"]
    assert [first["server_name"], second["server_name"]] == ["a.test", "c.test"]
    assert compiled["upstream_tls"].keys() == {first["settings"], system["settings"]}
    roots = compiled["upstream_tls"][system["settings"]]["roots_pem"]
    assert roots == Path(system_roots()).read_text()


def test_every_file_that_does_not_fit_is_named(authority: Authority, tmp_path: Path) -> None:
    one, two = authority.issue("one.test"), authority.issue("two.test")
    text = tmp_path / "text.pem"
    text.write_text("no certificate")
    tls = {
        "cert_file": one["cert_file"],
        "key_file": two["key_file"],
        "certificates": [{"cert_file": "/nowhere.crt", "key_file": one["key_file"]}],
        "client_auth": "required",
    }
    config = {
        "admin": {"tls": {"cert_file": two["cert_file"], "key_file": one["key_file"]}},
        **listening(tls),
        **proxying(
            {"upstream": "https://a", "tls": {"ca_file": str(text)}},
            {"upstream": "https://b", "tls": {"client_cert_file": one["cert_file"]}},
        ),
    }
    found = faults_of(config)
    assert found == [
        "admin.tls.cert_file: does not fit key_file, or is no PEM file: key values mismatch",
        "listeners[0].tls.cert_file: does not fit key_file, or is no PEM file: key values mismatch",
        "listeners[0].tls.certificates[0].cert_file: cannot read /nowhere.crt:"
        " No such file or directory",
        "listeners[0].tls.client_auth: needs client_ca_file: whom to trust",
        "proxies[0].tls.ca_file: holds no certificate in PEM: no certificate or crl found",
        "proxies[1].tls.client_cert_file: needs the other of client_cert_file and client_key_file",
    ]


def test_a_client_ca_without_asking_callers_is_a_mistake(authority: Authority) -> None:
    tls = {**authority.issue("one.test"), "client_ca_file": authority.ca_file}
    assert faults_of(listening(tls)) == [
        "listeners[0].tls.client_ca_file: needs client_auth: optional or required"
    ]
