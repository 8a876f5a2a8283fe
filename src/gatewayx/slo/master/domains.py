"""Domains: what enters the cluster, by the name that users type.

Sources count by service key and do not know domains, so a key that two domains lead to counts for
both of them. Keys without a route are listed apart.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from gatewayx.slo.master.answers import Answer, golden_answer
from gatewayx.slo.master.figures import Figures
from gatewayx.slo.master.mesh import NotReported
from gatewayx.slo.master.reading import Reading
from gatewayx.slo.master.routes import MappedRoute, mapped_routes
from gatewayx.slo.master.series import history
from gatewayx.slo.master.targets import Status

_SEVERITY = (Status.UNKNOWN, Status.HEALTHY, Status.WARNING, Status.CRITICAL)

RoutesByDomain = Mapping[str, Mapping[str, list[MappedRoute]]]


def domains(reading: Reading) -> Answer:
    """Every domain with its services, and the service keys that no domain leads to."""
    found = {
        reading.key_of("ingress", identity): figures
        for identity, figures in reading.reader.ingress(reading.conn, reading.plan).items()
    }
    routes = _routes_by_domain(reading)
    routed = {key for by_key in routes.values() for key in by_key}
    return {
        **reading.header(),
        "domains": [_domain(reading, name, routes[name], found) for name in sorted(routes)],
        "unrouted": [
            _service(reading, key, found[key], []) for key in sorted(found.keys() - routed)
        ],
    }


def domain_detail(reading: Reading, name: str) -> Answer:
    """One domain with its services and its history.

    Raises:
        NotReported: no route of the range has the domain.
    """
    by_key, ids = _domain_keys(reading, name)
    figures = reading.reader.ingress(reading.conn, reading.plan, list(ids)) if ids else {}
    found = {ids[identity]: sums for identity, sums in figures.items()}
    return {**reading.header(), **_domain(reading, name, by_key, found)}


def domain_history(reading: Reading, name: str, service_key: str | None) -> Answer:
    """The history of each service of a domain, or of one of them.

    Raises:
        NotReported: no route of the range has the domain, or leads from it to the service key.
    """
    by_key, ids = _domain_keys(reading, name)
    if service_key is not None and service_key not in by_key:
        raise NotReported(f"domain {name} with service key {service_key}")
    return {
        **reading.header(),
        "domain": name,
        "services": [
            {"service_key": key, "history": history(reading, "ingress", identity)}
            for identity, key in sorted(ids.items(), key=lambda item: item[1])
            if service_key in (None, key)
        ],
    }


def _routes_by_domain(reading: Reading) -> RoutesByDomain:
    routes: dict[str, dict[str, list[MappedRoute]]] = defaultdict(lambda: defaultdict(list))
    since_ms = reading.time_range.from_ms
    for route in mapped_routes(reading.conn, reading.cluster.cluster_id, seen_since_ms=since_ms):
        routes[route.domain][route.service_key].append(route)
    return routes


def _domain_keys(
    reading: Reading, name: str
) -> tuple[Mapping[str, list[MappedRoute]], dict[int, str]]:
    by_key = _routes_by_domain(reading).get(name)
    if by_key is None:
        raise NotReported(f"domain {name}")
    return by_key, reading.ids_of("ingress", sorted(by_key))


def _domain(
    reading: Reading,
    name: str,
    by_key: Mapping[str, list[MappedRoute]],
    found: Mapping[str, Figures],
) -> Answer:
    services = [
        _service(reading, key, found.get(key, Figures()), by_key[key]) for key in sorted(by_key)
    ]
    whole = Figures()
    for key in by_key:
        whole.add(found.get(key, Figures()))
    target = reading.targets.find("ingress", name)
    return {
        "domain": name,
        "tls": any(route.tls for routes in by_key.values() for route in routes),
        **golden_answer(reading, whole, target),
        # A domain is as well as the worst of its services: averages hide the one that is down.
        "status": _worst(service["status"] for service in services),
        "request_breakdown": _methods(whole),
        "backend_service_ids": sorted(
            {identity for service in services for identity in service["backend_service_ids"]}
        ),
        "services": services,
    }


def _service(reading: Reading, key: str, figures: Figures, routes: list[MappedRoute]) -> Answer:
    return {
        "service_key": key,
        "service_name": routes[0].service_name if routes else None,
        "service_port": routes[0].service_port if routes else None,
        "namespace": routes[0].namespace() if routes else None,
        "paths": [route.path_prefix for route in routes],
        "tls": any(route.tls for route in routes),
        **golden_answer(reading, figures, reading.targets.find("ingress", key)),
        "request_breakdown": _methods(figures),
        "backend_service_ids": _backends(reading, routes),
    }


def _backends(reading: Reading, routes: Iterable[MappedRoute]) -> list[str]:
    """Mesh services behind routes: those that carry the service's name in its namespace."""
    found = set()
    for route in routes:
        namespace = route.namespace()
        if namespace is not None:
            pair = (namespace, route.service_name)
            if reading.cluster.services.find(reading.conn, pair) is not None:
                found.add("/".join(pair))
    return sorted(found)


def _methods(figures: Figures) -> list[Answer]:
    return [
        {"method": method, "count": count, "error_count": errors}
        for method, (count, errors) in sorted(figures.methods.items())
    ]


def _worst(statuses: Iterable[str]) -> str:
    ranked = [_SEVERITY.index(Status(status)) for status in statuses]
    return _SEVERITY[max(ranked, default=0)].value
