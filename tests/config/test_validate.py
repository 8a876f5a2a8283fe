"""The whole check: every fault at once, each at its place, nothing accepted and then ignored."""

from pathlib import Path
from typing import Any

import pytest

from gatewayx.config import ConfigError, GatewayConfig, load_file, validate
from gatewayx.config.fault import Fault, dotted
from gatewayx.config.not_yet import NOT_YET
from tests.support.certificates import Authority


def proxy(**settings: Any) -> dict[str, Any]:
    return {"name": "a", "upstream": "http://127.0.0.1:8001"} | settings


def faults_of(data: object, **environ: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        validate(data, environ)
    return [str(fault) for fault in caught.value.faults]


def test_defaults_are_those_of_the_documentation() -> None:
    config = validate({"proxies": [proxy()]}, {})
    timeout = config.proxies[0].timeout
    assert (timeout.dial, timeout.tls_handshake, timeout.response_header) == (2, 5, 30)
    assert (timeout.idle, timeout.expect_continue, timeout.total) == (90, 1, 0)
    assert (config.upstream_pool.idle_max, config.upstream_pool.idle_per_host_max) == (1000, 100)
    assert config.buffers.size == 32 * 1024
    assert config.listeners[0].address == "127.0.0.1:8080"
    assert config.admin.address == "127.0.0.1:9901"


def test_everything_that_restricts_is_off_by_default() -> None:
    plain = validate({"proxies": [proxy()]}, {}).proxies[0]
    assert plain.max_concurrent == 0
    assert plain.request_body_max == 0
    assert plain.circuit_breaker.enabled is False
    breaker = plain.circuit_breaker
    assert (breaker.failure_threshold, breaker.recovery_timeout) == (5, 30)
    assert breaker.half_open_requests == 1


def test_every_fault_of_a_file_is_reported_at_once(tmp_path: Path) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_text(
        """\
listeners: [{address: ":8080"}]
worker: 2
proxies:
  - name: sidecar
    upstream: http://127.0.0.1:8001
    max_concurent: 10
    timeout: {dial: 5s, idle: -1}
    headers: {Authorization: "Bearer {env.KEY}", "bad name": x}
  - name: sidecar
    upstream: https://10.0.0.1
    tls: {ca_file: /nowhere/ca.pem}
    queue: {size: 100}
"""
    )
    with pytest.raises(ConfigError) as caught:
        load_file(path, environ={})
    assert [str(fault).removeprefix(f"{path}:") for fault in caught.value.faults] == [
        "1:23: listeners[0].address: needs a host: 127.0.0.1:8080 for this machine,"
        " 0.0.0.0:8080 for every interface",
        "2:1: worker: unknown key; did you mean workers?",
        "6:5: proxies[0].max_concurent: unknown key; did you mean max_concurrent?",
        "7:21: proxies[0].timeout.dial: must be a number of seconds, such as 2 or 0.5",
        "7:31: proxies[0].timeout.idle: must be between 0 and 2592000 seconds (30 days)",
        "8:30: proxies[0].headers.Authorization: needs the environment variable KEY,"
        " which is unset",
        "8:50: proxies[0].headers['bad name']: is not a field name",
        "9:5: proxies[1].path: matches the same requests as proxies[0]",
        "9:11: proxies[1].name: 'sidecar' is already the name of proxies[0]",
        "11:20: proxies[1].tls.ca_file: cannot read /nowhere/ca.pem: No such file or directory",
        "12:12: proxies[1].queue: needs max_concurrent: without it nothing waits",
    ]


@pytest.mark.parametrize("name", ["gateway.toml", "gateway.json"])
def test_toml_and_json_faults_carry_the_key_path(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    texts = {
        "gateway.toml": '[[proxies]]\nname = "a"\nupstream = "http://a"\ntimeout.dial = true\n',
        "gateway.json": '{"proxies": [{"name": "a", "timeout": {"dial": true}}]}',
    }
    path.write_text(texts[name])
    with pytest.raises(ConfigError, match=r"proxies\[0\]\.timeout\.dial: must be a number"):
        load_file(path, environ={})


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (None, "is empty"),
        ([], "must be a map of settings"),
        (
            {"nothing_like_it": 1},
            "nothing_like_it: unknown key; known here: listeners, admin, workers,",
        ),
        ({"admin": {"adress": "a:1"}}, "admin.adress: unknown key; did you mean address?"),
        ({"downstream": {"limits": {"head": 10}}}, "downstream.limits.head: must be at least 1024"),
        (
            {"downstream": {"timeout": {"keep_alive": 0}}},
            "downstream.timeout.keep_alive: must be above 0",
        ),
        ({"listeners": []}, "listeners: must have at least 1 item"),
        ({"listeners": {}}, "listeners: must be a list"),
        ({"listeners": ["127.0.0.1:80"]}, "listeners[0]: must be a map"),
        ({"listeners": [{}]}, "listeners[0].address: is required"),
        ({"workers": 0}, "workers: must be auto, or a whole number from 1 to 1024"),
        ({"workers": "two"}, "workers: must be auto"),
        ({"access_log": {"format": "text"}}, "access_log.format: must be 'json'"),
        ({"access_log": {"enabled": "yes"}}, "access_log.enabled: must be true or false"),
        ({"access_log": {"path": ""}}, "access_log.path: must not be empty"),
        (
            {"upstream_pool": {"idle_max": 2_000_000}},
            "upstream_pool.idle_max: must be at most 1000000",
        ),
        ({"proxies": [{"upstream": "http://a"}]}, "proxies[0].name: is required"),
        ({"proxies": [{"name": "a"}]}, "proxies[0]: upstream is required"),
        (
            {"proxies": [proxy(upstreams=["http://b"])]},
            "proxies[0].upstreams: is given beside upstream",
        ),
        (
            {"proxies": [proxy(max_concurrent="10")]},
            "proxies[0].max_concurrent: must be a whole number",
        ),
        ({"proxies": [proxy(max_concurrent=-1)]}, "proxies[0].max_concurrent: must be at least 0"),
        (
            {"proxies": [proxy(access_rule=True)]},
            "proxies[0].access_rule: must be text: put it in quotes",
        ),
        (
            {"proxies": [proxy(headers={"X": 5})]},
            "proxies[0].headers.X: must be text: put it in quotes",
        ),
        ({"proxies": [proxy(headers=[])]}, "proxies[0].headers: must be a map"),
        (
            {"proxies": [proxy(headers={"x-a": "1", "X-A": "2"})]},
            "proxies[0].headers: x-a and X-A are the same",
        ),
        ({"proxies": [proxy(path="api")]}, "proxies[0].path: must start with '/'"),
        (
            {"proxies": [proxy(accept_encoding="gzip")]},
            "proxies[0].accept_encoding: must be 'pass' or 'strip'",
        ),
    ],
)
def test_a_single_fault(data: object, said: str) -> None:
    faults = faults_of(data)
    assert len(faults) == 1
    assert faults[0].startswith(said)


def test_duplicates_are_found_whatever_their_spelling() -> None:
    twins = [
        proxy(host="API.example.com", path="/v1/"),
        proxy(name="b", host="api.example.com", path="/v1"),
        proxy(name="c", path="/v1"),
        proxy(name="b", path="/v2"),
    ]
    assert faults_of({"proxies": twins}) == [
        "proxies[1].path: matches the same requests as proxies[0]",
        "proxies[3].name: 'b' is already the name of proxies[1]",
    ]


def test_duplicates_are_found_beside_other_faults() -> None:
    twins = [proxy(max_concurrent=-1), proxy(path=5), proxy(name="c", host="a b")]
    assert faults_of({"proxies": twins}) == [
        "proxies[1].name: 'a' is already the name of proxies[0]",
        "proxies[0].max_concurrent: must be at least 0",
        "proxies[1].path: must be text: put it in quotes",
        "proxies[2].host: must be a host name or an address, without a port",
    ]


def test_one_address_is_listened_on_once() -> None:
    data = {
        "listeners": [
            {"address": "LOCALHOST:80"},
            {"address": "localhost:80"},
            {"address": "[::1]:81"},
        ],
        "admin": {"address": "[::1]:81"},
    }
    assert faults_of(data) == [
        "listeners[1].address: is the address of listeners[0].address as well",
        "admin.address: is the address of listeners[2].address as well",
    ]
    free = {"listeners": [{"address": "a:0"}, {"address": "a:0"}]}
    assert len(validate(free, {}).listeners) == 2


_ASKED_FOR: dict[tuple[str, ...], object] = {
    ("buffers", "count"): 1024,
    ("store",): {"url": "sqlite:///a.db"},
    ("stats",): {"inclusion_list": []},
    ("proxy_from_environment",): True,
}


@pytest.mark.parametrize("row", NOT_YET, ids=lambda row: ".".join(row.keys))
def test_what_is_not_built_yet_is_refused_once_and_clearly(row: Any) -> None:
    value = _ASKED_FOR[row.keys]
    location: list[str | int] = []
    for key in reversed(row.keys):
        value = [value] if key == "*" else {key: value}
        location.insert(0, 0 if key == "*" else key)
    if "proxies" in value:
        value["proxies"][0].setdefault("name", "a")
        if not row.keys[2].startswith("upstream"):
            value["proxies"][0]["upstream"] = "http://a"
    if "listeners" in value:
        value["listeners"][0]["address"] = "127.0.0.1:1"
    assert faults_of(value) == [
        f"{dotted(tuple(location))}: {row.wanted} is not supported in this version"
    ]


def test_what_is_switched_off_is_accepted() -> None:
    breaker = {"enabled": False, "failure_threshold": 3, "recovery_timeout": 1.5}
    config = validate({"proxies": [proxy(circuit_breaker=breaker, access_rule="true")]}, {})
    assert config.proxies[0].circuit_breaker.failure_threshold == 3


@pytest.mark.parametrize(
    ("value", "environ", "said"),
    [
        ("{env.KEY}", {}, "needs the environment variable KEY, which is unset"),
        ("{env.KEY}", {"KEY": ""}, "needs the environment variable KEY, which is empty"),
        (
            "{env.KEY}",
            {"KEY": "s3cret\n"},
            "cannot use the environment variable KEY: it must not hold a line end",
        ),
        ("{env.}", {}, "holds a malformed reference: write {env.NAME}"),
        ("{env.A B}", {}, "holds a malformed reference"),
        ("{ENV.KEY}", {"KEY": "x"}, "holds a malformed reference"),
        ("{env.KEY", {"KEY": "x"}, "holds a malformed reference"),
    ],
)
def test_a_reference_that_cannot_be_resolved(
    value: str, environ: dict[str, str], said: str
) -> None:
    faults = faults_of({"proxies": [proxy(headers={"X": value})]}, **environ)
    assert len(faults) == 1
    assert faults[0].startswith(f"proxies[0].headers.X: {said}")
    assert "s3cret" not in faults[0]


def test_a_header_value_is_never_repeated_in_a_message() -> None:
    (fault,) = faults_of({"proxies": [proxy(headers={"Authorization": "hunter2\n"})]})
    assert "hunter2" not in fault


def test_a_configuration_survives_its_own_dump() -> None:
    data = {
        "proxies": [
            proxy(headers={"A": "b"}, request_body_max="10MiB", host="h", timeout={"dial": 0.5})
        ]
    }
    config = validate(data, {})
    assert validate(config.model_dump(), {}) == config
    assert GatewayConfig.model_validate_json(config.model_dump_json()) == config


def test_faults_print_as_much_of_a_place_as_is_known() -> None:
    assert str(Fault("a.b", "odd")) == "a.b: odd"
    assert str(Fault("", "odd", "f.yaml")) == "f.yaml: odd"
    assert str(Fault("a", "odd", "f.yaml", 3, 7)) == "f.yaml:3:7: a: odd"


@pytest.mark.parametrize("address", ["0.0.0.0:9901", "[::]:9901", "gateway.example:9901"])
def test_an_admin_api_for_other_machines_needs_tls_or_a_word(address: str, tmp_path: Path) -> None:
    fault = "admin.address: can be reached from other machines: set admin.tls, or"
    assert faults_of({"admin": {"address": address}}) == [f"{fault} admin.insecure: true"]
    assert validate({"admin": {"address": address, "insecure": True}}, {}).admin.insecure
    tls = Authority(tmp_path).issue("gateway.example")
    assert validate({"admin": {"address": address, "tls": tls}}, {}).admin.tls


@pytest.mark.parametrize("address", ["127.0.0.2:1", "[::1]:1", "localhost:1", "unix:/run/x.sock"])
def test_an_admin_api_for_this_machine_needs_neither(address: str) -> None:
    assert validate({"admin": {"address": address}}, {}).admin.address == address
