"""Routes from the Kubernetes API: Ingress, and Traefik's IngressRoute where it is installed.

Two read-only list calls with the pod's own service account; nothing is watched. The token is read
anew each time because the kubelet replaces it. What the API says about one object never spoils the
others: an object that makes no sense is left out.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
from pydantic import ValidationError

from gatewayx.slo.agent.routes import RouteError, service_key
from gatewayx.slo.agent.traefik_rule import read_rule
from gatewayx.slo.snapshot import ROUTES_MAX, Route

INGRESSES = "/apis/networking.k8s.io/v1/ingresses"
INGRESS_ROUTES = (
    "/apis/traefik.io/v1alpha1/ingressroutes",
    "/apis/traefik.containo.us/v1alpha1/ingressroutes",
)
"""Traefik's group has had two names; the first that the cluster knows is used."""
PAGE_COUNT = 500
TIMEOUT_S = 10.0

Json = Mapping[str, Any]


class KubernetesRouteSource:
    """Lists routes with the service account whose token and certificate are in a directory."""

    def __init__(self, url: str, credentials_dir: Path) -> None:
        self._url = url.rstrip("/")
        self._credentials_dir = credentials_dir

    async def routes(self) -> Sequence[Route]:
        """Lists all namespaces.

        Raises:
            RouteError: the API cannot be reached or refuses.
        """
        try:
            token = (self._credentials_dir / "token").read_text(encoding="ascii").strip()
            authority = self._credentials_dir / "ca.crt"
            verify: ssl.SSLContext | bool = True
            if authority.exists():
                verify = ssl.create_default_context(cafile=str(authority))
            async with httpx.AsyncClient(
                base_url=self._url,
                headers={"Authorization": f"Bearer {token}", "Accept": "application/json"},
                verify=verify,
                timeout=TIMEOUT_S,
                trust_env=False,
            ) as client:
                found = [
                    route
                    for item in await _list(client, (INGRESSES,))
                    for route in routes_of_ingress(item)
                ]
                found += [
                    route
                    for item in await _list(client, INGRESS_ROUTES)
                    for route in routes_of_ingress_route(item)
                ]
        except (OSError, ValueError, httpx.HTTPError) as error:
            raise RouteError(f"{self._url}: {type(error).__name__}: {error}") from error
        return found


async def _list(client: httpx.AsyncClient, paths: Sequence[str]) -> list[Json]:
    """Every object at the first of `paths` that exists; none if no path does."""
    for path in paths:
        items: list[Json] = []
        parameters: dict[str, str | int] = {"limit": PAGE_COUNT}
        while len(items) < ROUTES_MAX:
            answer = await client.get(path, params=parameters)
            if answer.status_code == httpx.codes.NOT_FOUND:
                break
            answer.raise_for_status()
            page = answer.json()
            items += [item for item in page.get("items") or () if isinstance(item, dict)]
            proceed = (page.get("metadata") or {}).get("continue")
            if not proceed:
                return items
            parameters["continue"] = proceed
        if items:
            return items
    return []


def routes_of_ingress(item: Json) -> list[Route]:
    """The routes of one ``networking.k8s.io/v1`` Ingress."""
    try:
        namespace, spec = item["metadata"]["namespace"], item["spec"]
        secured = {host for entry in spec.get("tls") or () for host in entry.get("hosts") or ("",)}
        default = spec.get("defaultBackend")
        found = [_ingress_route(namespace, "", "/", default, secured)] if default else []
        for rule in spec.get("rules") or ():
            domain = rule.get("host") or ""
            for path in (rule.get("http") or {}).get("paths") or ():
                found.append(
                    _ingress_route(
                        namespace, domain, path.get("path") or "/", path["backend"], secured
                    )
                )
    except (KeyError, TypeError, AttributeError, ValidationError):
        return []
    return [route for route in found if route is not None]


def _ingress_route(
    namespace: str, domain: str, path: str, backend: Json, secured: set[str]
) -> Route | None:
    service = backend.get("service")
    if service is None:
        return None  # a resource backend, such as a bucket
    port = service.get("port") or {}
    return _route(
        namespace,
        domain,
        path,
        service["name"],
        str(port.get("number") or port.get("name") or ""),
        domain in secured,
    )


def routes_of_ingress_route(item: Json) -> list[Route]:
    """The routes of one Traefik IngressRoute, one for each host, prefix and service."""
    try:
        namespace, spec = item["metadata"]["namespace"], item["spec"]
        secured = spec.get("tls") is not None
        return [
            _route(
                service.get("namespace") or namespace,
                domain,
                path,
                service["name"],
                str(service.get("port") or ""),
                secured,
            )
            for rule in spec.get("routes") or ()
            for service in _kubernetes_services(rule)
            for domain, path in read_rule(rule.get("match") or "")
        ]
    except (KeyError, TypeError, AttributeError, ValidationError):
        return []


def _kubernetes_services(rule: Json) -> Iterator[Json]:
    for service in rule.get("services") or ():
        if service.get("kind", "Service") == "Service" and "@" not in service["name"]:
            yield service


def _route(namespace: str, domain: str, path: str, name: str, port: str, tls: bool) -> Route:
    return Route(
        domain=domain,
        path_prefix=path,
        service_key=service_key(namespace, name, port),
        service_name=name,
        service_port=port,
        tls=tls,
    )
