"""File and store as one configuration. The file wins; what is unfit is left out, and told.

A stored row may come from another version, or from another node with other variables: it must not
keep the gateway from serving the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from gatewayx.config import ConfigError, Fault, GatewayConfig, ProxyConfig, validate
from gatewayx.store.records import Combined, Entry, StoredProxy

PROXIES_MAX_COUNT = 1000
"""Of file and store together; the model's own bound."""

_PREFIX = "proxies[0]"


def combine(
    base: GatewayConfig,
    stored: Iterable[StoredProxy],
    environ: Mapping[str, str],
    secrets: Mapping[str, str],
) -> Combined:
    """Add the stored proxies that are valid and clash with none to those of the file."""
    entries = [Entry(proxy.name, "file", 0, proxy) for proxy in base.proxies]
    names = {proxy.name for proxy in base.proxies}
    routes = {(proxy.host, proxy.path): f"{proxy.name!r} of the file" for proxy in base.proxies}
    added: list[ProxyConfig] = []
    for row in stored:
        try:
            proxy = checked(row.document, environ, secrets)
        except ConfigError as error:
            entries.append(Entry(row.name, "store", row.version, None, error.faults))
            continue
        holder = routes.get((proxy.host, proxy.path))
        if row.name in names:
            fault = Fault("name", "is also the name of a proxy of the file, which wins")
        elif holder is not None:
            fault = Fault("path", f"matches the same requests as {holder}")
        elif len(base.proxies) + len(added) >= PROXIES_MAX_COUNT:
            fault = Fault("", f"is one more than the {PROXIES_MAX_COUNT} proxies there may be")
        else:
            routes[proxy.host, proxy.path] = repr(proxy.name)
            added.append(proxy)
            entries.append(Entry(row.name, "store", row.version, proxy))
            continue
        entries.append(Entry(row.name, "store", row.version, proxy, (fault,)))
    config = base.model_copy(update={"proxies": (*base.proxies, *added)})
    return Combined(config, tuple(entries))


def checked(
    document: object, environ: Mapping[str, str], secrets: Mapping[str, str]
) -> ProxyConfig:
    """A proxy from data. Raises `ConfigError` with paths inside the proxy."""
    try:
        return validate({"proxies": [document]}, environ, secrets=secrets).proxies[0]
    except ConfigError as error:
        raise ConfigError(
            replace(fault, path=fault.path.removeprefix(_PREFIX).removeprefix("."))
            for fault in error.faults
        ) from None
