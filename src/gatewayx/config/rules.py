"""Rules between values: what no single value can be blamed for.

They read plain data that may be faulty elsewhere, and look only at the parts that are sound, so
that one run reports these faults beside all the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from ipaddress import ip_address

from gatewayx.config.fault import Location, dotted
from gatewayx.config.resilience_rules import resilience_findings
from gatewayx.config.values import host_name, listen_address, path_prefix, split_address

Finding = tuple[Location, str]


def findings(data: object) -> Iterator[Finding]:
    """Every broken rule."""
    yield from _one_upstream_key(data)
    yield from _a_weight_each(data)
    yield from _queue_behind_limit(data)
    yield from resilience_findings(data)
    yield from _distinct_proxies(data)
    yield from _distinct_addresses(data)
    yield from _admin_for_other_machines(data)


def _items(data: object, key: str) -> Iterator[tuple[int, dict[str, object]]]:
    values = data.get(key) if isinstance(data, dict) else None
    for index, item in enumerate(values if isinstance(values, list | tuple) else ()):
        if isinstance(item, dict):
            yield index, item


def _one_upstream_key(data: object) -> Iterator[Finding]:
    for index, proxy in _items(data, "proxies"):
        given = [key for key in ("upstream", "upstreams") if proxy.get(key) not in (None, (), [])]
        if not given:
            yield ("proxies", index), "upstream is required"
        elif len(given) == 2:
            yield ("proxies", index, "upstreams"), "is given beside upstream: set one of them"


def _a_weight_each(data: object) -> Iterator[Finding]:
    for index, proxy in _items(data, "proxies"):
        balancing = proxy.get("load_balancing")
        weights = balancing.get("weights") if isinstance(balancing, dict) else None
        upstreams = proxy.get("upstreams")
        count = len(upstreams) if isinstance(upstreams, list | tuple) and upstreams else 1
        if isinstance(weights, list | tuple) and weights and len(weights) != count:
            place = ("proxies", index, "load_balancing", "weights")
            yield place, f"has {len(weights)} weights for {count} upstreams"


def _queue_behind_limit(data: object) -> Iterator[Finding]:
    for index, proxy in _items(data, "proxies"):
        if proxy.get("queue") is not None and not proxy.get("max_concurrent"):
            yield ("proxies", index, "queue"), "needs max_concurrent: without it nothing waits"


def _distinct_proxies(data: object) -> Iterator[Finding]:
    names: dict[object, Location] = {}
    routes: dict[object, Location] = {}
    for index, proxy in _items(data, "proxies"):
        here: Location = ("proxies", index)
        name = proxy.get("name")
        if isinstance(name, str):
            first = names.setdefault(name, here)
            if first != here:
                yield (*here, "name"), f"{name!r} is already the name of {dotted(first)}"
        host = proxy.get("host")
        path = _sound(path_prefix, proxy.get("path", "/"))
        sound_host = _sound(host_name, host)
        if path is not None and (host is None or sound_host is not None):
            first = routes.setdefault((sound_host, path), here)
            if first != here:
                yield (*here, "path"), f"matches the same requests as {dotted(first)}"


def _distinct_addresses(data: object) -> Iterator[Finding]:
    admin = data.get("admin") if isinstance(data, dict) else None
    given: list[tuple[Location, object]] = [
        (("listeners", index, "address"), listener.get("address"))
        for index, listener in _items(data, "listeners")
    ]
    if isinstance(admin, dict):
        given.append((("admin", "address"), admin.get("address")))
    seen: dict[str, Location] = {}
    for location, value in given:
        address = _sound(listen_address, value)
        if address is None or split_address(address)[1] == 0:
            continue
        first = seen.setdefault(address, location)
        if first != location:
            yield location, f"is the address of {dotted(first)} as well"


def _admin_for_other_machines(data: object) -> Iterator[Finding]:
    """Tokens must not travel in the clear unless somebody has said so."""
    admin = data.get("admin") if isinstance(data, dict) else None
    if not isinstance(admin, dict) or admin.get("tls") is not None or admin.get("insecure") is True:
        return
    address = _sound(listen_address, admin.get("address"))
    if address is not None and not _is_loopback(split_address(address)[0]):
        message = "can be reached from other machines: set admin.tls, or admin.insecure: true"
        yield ("admin", "address"), message


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _sound(read: Callable[[str], str], value: object) -> str | None:
    if not isinstance(value, str):
        return None
    try:
        return read(value)
    except ValueError:
        return None
