"""The agent's configuration: defaults as in the contract, every fault at its place."""

from pathlib import Path

import pytest

from gatewayx.slo.agent.config import ConfigError, address_parts, load_config
from gatewayx.slo.agent.loop import main


def write(tmp_path, text, name="agent.yaml"):
    path = tmp_path / name
    path.write_text(text)
    return path


def test_defaults(tmp_path):
    config = load_config(write(tmp_path, "{cluster_id: c, master_url: 'http://m:1'}"))
    assert config.otel_metrics_url == "http://otel-collector.otel.svc:8889/metrics"
    assert config.otel_health_url == "http://otel-collector.otel.svc:13133"
    assert (config.scrape_timeout, config.interval, config.exporter_expiry) == (5, 15, 300)
    assert config.exclude_namespaces == ("linkerd", "linkerd-viz", "kube-system", "otel")
    assert config.routes.file is config.routes.kubernetes is config.token is None


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.yaml", "cluster_id: c\nmaster_url: http://m:1\nroutes: {file: r.yaml}"),
        ("a.json", '{"cluster_id":"c","master_url":"http://m:1","routes":{"file":"r.yaml"}}'),
        ("a.toml", 'cluster_id="c"\nmaster_url="http://m:1"\nroutes.file="r.yaml"'),
    ],
)
def test_three_formats_say_the_same(tmp_path, name, text):
    config = load_config(write(tmp_path, text, name))
    assert (config.cluster_id, config.routes.file) == ("c", Path("r.yaml"))


def test_secrets_come_from_the_environment_and_are_not_shown(tmp_path):
    path = write(
        tmp_path, "{cluster_id: c, master_url: 'http://m:1', token: 'x{env.TOKEN}', routes: {}}"
    )
    config = load_config(path, {"TOKEN": "secret"})
    assert config.token.get_secret_value() == "xsecret"
    assert "secret" not in repr(config)
    with pytest.raises(ConfigError, match="TOKEN"):
        load_config(path, {})


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("interval: 0", "interval"),
        ("interval: .nan", "interval"),
        ("interval: 300", "exporter_expiry must exceed interval"),
        ("backoff_max: 0.5", "backoff_max is less"),
        ("otel_metrics_url: otel:8889", "otel_metrics_url"),
        ("metrics_address: '9108'", "not an address"),
        ("surprise: 1", "surprise"),
        ("routes: {kubernetes: {url: ftp://x}}", "routes.kubernetes.url"),
        ("cluster_id: ''", "cluster_id"),
    ],
)
def test_every_fault_has_its_place(tmp_path, change, problem):
    text = f"master_url: http://m:1\n{change}\n"
    if "cluster_id" not in change:
        text += "cluster_id: c\n"
    with pytest.raises(ConfigError, match=problem):
        load_config(write(tmp_path, text))


@pytest.mark.parametrize("text", ["[]", "{", "5", ""])
def test_what_is_not_a_mapping_is_refused(tmp_path, text):
    with pytest.raises(ConfigError, match=r"agent\.yaml"):
        load_config(write(tmp_path, text))


def test_addresses():
    assert address_parts("127.0.0.1:9108") == ("127.0.0.1", 9108)
    assert address_parts("[::1]:0") == ("::1", 0)
    for wrong in ("", ":1", "a:", "a:b", "a:70000", "a:-1"):
        with pytest.raises(ValueError, match="not an address"):
            address_parts(wrong)


def test_the_command_says_wrong_use(tmp_path, caplog):
    assert main(tmp_path / "none.yaml") == 2
    assert main(write(tmp_path, "cluster_id: c")) == 2
    assert "master_url" in caplog.text
