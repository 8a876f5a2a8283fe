"""Which domain and path lead to which service key: from a file, from the cluster, from a function.

Routes change rarely and are asked for rarely. A source that fails leaves the routes that it gave
before in place: a route that is briefly unknown would make a domain vanish from the master.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Annotated, Protocol

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from gatewayx.slo.snapshot import ROUTES_MAX, Route

_log = logging.getLogger(__name__)


class RouteError(Exception):
    """A source of routes that gives none now."""


class RouteSource(Protocol):
    """Anything that knows routes."""

    async def routes(self) -> Sequence[Route]:
        """Every route it knows.

        Raises:
            RouteError: it cannot tell now.
        """
        ...


class FileRoutes:
    """A YAML or JSON list, read anew every time so that an edit needs no restart."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def routes(self) -> Sequence[Route]:
        """Reads the file, whole or not at all."""
        return read_routes_file(self._path)


class FixedRoutes:
    """What a function of this process says, such as the gateway's own configuration."""

    def __init__(self, current: Callable[[], Sequence[Route]]) -> None:
        self._current = current

    async def routes(self) -> Sequence[Route]:
        """Calls the function."""
        return self._current()


class RouteTable:
    """The routes of several sources. Where two name one domain and path, the earlier one wins."""

    def __init__(self, sources: Sequence[RouteSource]) -> None:
        self._sources = sources
        self._known: list[Sequence[Route]] = [()] * len(sources)

    @property
    def routes(self) -> tuple[Route, ...]:
        """The last known routes, in the order of domain and path."""
        return merge_routes(route for known in self._known for route in known)

    async def refresh(self) -> bool:
        """Asks every source; says whether all of them answered."""
        complete = True
        for index, source in enumerate(self._sources):
            try:
                self._known[index] = await source.routes()
            except RouteError as error:
                complete = False
                _log.warning("routes stay as they were: %s", error)
        return complete


def merge_routes(routes: Iterable[Route]) -> tuple[Route, ...]:
    """One route a domain and path (the first), sorted; at most as many as a snapshot holds."""
    merged: dict[tuple[str, str], Route] = {}
    for route in routes:
        merged.setdefault((route.domain, route.path_prefix), route)
    return tuple(merged[key] for key in sorted(merged)[:ROUTES_MAX])


class _FileEntry(BaseModel):
    model_config = ConfigDict(extra="forbid")

    domain: Annotated[str, Field(min_length=1)]
    path_prefix: Annotated[str, Field(pattern="^/")] = "/"
    namespace: str = ""
    service_name: Annotated[str, Field(min_length=1)]
    service_port: int | str = ""
    service_key: str | None = None
    tls: bool = False

    def route(self) -> Route:
        port = str(self.service_port)
        key = self.service_key or service_key(self.namespace, self.service_name, port)
        return Route(
            domain=self.domain,
            path_prefix=self.path_prefix,
            service_key=key,
            service_name=self.service_name,
            service_port=port,
            tls=self.tls,
        )


_FILE = TypeAdapter(list[_FileEntry])


def service_key(namespace: str, service: str, port: str) -> str:
    """``namespace-service-port``; a part that is not known is left out."""
    return "-".join(part for part in (namespace, service, port) if part)


def read_routes_file(path: Path) -> tuple[Route, ...]:
    """Reads a list of ``{domain, path_prefix, namespace, service_name, service_port, tls}``.

    Raises:
        RouteError: it cannot be read, or an entry is not a route; the message says where.
    """
    try:
        entries = _FILE.validate_python(yaml.safe_load(path.read_text(encoding="utf-8")))
        return tuple(entry.route() for entry in entries)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        place = ".".join(map(str, fault["loc"]))
        raise RouteError(f"{path}: {place}: {fault['msg']}") from None
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise RouteError(f"{path}: {error}") from error
