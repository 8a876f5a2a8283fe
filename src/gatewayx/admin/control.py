"""The control plane: file and store combined, and the way from a change to what is in force.

Writes are committed first and applied then, all that have been committed meanwhile in one go; a
write is answered once it is in force on this node. Other nodes hear of it from the database. When
the database is away, what is known stays in force.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from sqlalchemy import func, select

from gatewayx.config import ConfigError, Fault, GatewayConfig, ProxyConfig
from gatewayx.store import (
    ChangeWatch,
    Content,
    Entry,
    NotStored,
    Store,
    StoredProxy,
    StoreError,
    TokenCheck,
    combine,
)
from gatewayx.store.combination import PROXIES_MAX_COUNT, checked
from gatewayx.store.tables import Proxy

log = logging.getLogger("gatewayx")

THREADS_COUNT = 8
"""Calls to the database at a time; others wait."""

T = TypeVar("T")
ChangeTo = Callable[[GatewayConfig], Awaitable[object]]


class ControlPlane:
    """One gateway's store and what is made of it.

    Attributes:
        store: The database.
        base: The configuration without the store's part: a file's, or defaults.
        content: What was last read from the store.
        combined: What was last made of both.
        tokens: Knows the superuser tokens of the store.
    """

    def __init__(self, store: Store, base: GatewayConfig, environ: Mapping[str, str]) -> None:
        """Read the store. Raises `StoreError`."""
        self.store = store
        self.base = base
        self.tokens = TokenCheck(store.key)
        self._environ = environ
        self._change_to: ChangeTo | None = None
        self._round: asyncio.Task[None] | None = None
        self._next: asyncio.Task[None] | None = None
        self._threads = ThreadPoolExecutor(THREADS_COUNT, "store")
        self._watch: ChangeWatch | None = None
        self._reported: set[str] = set()
        self._following: set[asyncio.Future[None]] = set()
        self._take(store.content())

    def start(self, change_to: ChangeTo) -> None:
        """Follow changes from now on, on the running loop."""
        self._change_to = change_to
        loop = asyncio.get_running_loop()

        def tell() -> None:
            loop.call_soon_threadsafe(self._heard)

        self._watch = ChangeWatch(self.store, tell)
        self._watch.start()

    async def stop(self) -> None:
        """Follow nothing any more and close the store."""
        if self._watch is not None:
            await asyncio.to_thread(self._watch.stop)
        pending = [task for task in (self._round, self._next) if task is not None]
        await asyncio.gather(*pending, return_exceptions=True)
        await asyncio.to_thread(self._threads.shutdown)
        self.store.close()

    @property
    def away(self) -> bool:
        """Whether the database is known not to answer."""
        return self._watch is not None and self._watch.away

    async def call(self, work: Callable[..., T], *arguments: Any, **options: Any) -> T:
        """Run something that asks the database, in a thread."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, lambda: work(*arguments, **options))

    async def write(self, work: Callable[..., T], *arguments: Any, **options: Any) -> T:
        """Run something that changes the store; returns when the change is in force here."""
        done = await self.call(work, *arguments, **options)
        await self.apply()
        return done

    async def apply(self) -> None:
        """Put in force what the store holds now; calls that come together are done together."""
        if self._next is None:
            self._next = asyncio.create_task(self._apply_after(self._round))
        await asyncio.shield(self._next)

    async def reload(self, base: GatewayConfig) -> GatewayConfig:
        """The configuration with another file; what is unfit of the store is left out."""
        try:
            content = await self.call(self.store.content)
        except StoreError as error:
            log.warning("%s; its last known content stays", error)
            content = self.content
        self.base = base
        self._take(content)
        return self.combined.config

    def entry(self, name: str) -> Entry | None:
        """The proxy of that name that is in force, or else one that is not."""
        found = [entry for entry in self.combined.entries if entry.name == name]
        return min(found, key=lambda entry: entry.source, default=None)

    def check(self, document: object) -> ProxyConfig:
        """A proxy from data. Raises `ConfigError` with every fault."""
        proxy = checked(document, self._environ, self.content.secrets)
        for other in self.base.proxies:
            if other.name == proxy.name:
                fault = Fault("name", "is the name of a proxy of the file, which is read-only here")
                raise ConfigError([fault])
            if (other.host, other.path) == (proxy.host, proxy.path):
                message = f"matches the same requests as {other.name!r} of the file"
                raise ConfigError([Fault("path", message)])
        return proxy

    def put(
        self,
        proxy: ProxyConfig,
        actor: str,
        *,
        version: int | None = None,
        action: str | None = None,
        dry_run: bool = False,
    ) -> StoredProxy | None:
        """Store a proxy that `check` has passed; blocks. None for a dry run.

        Raises:
            VersionConflict: When another version is stored.
            ConfigError: When another stored proxy has its route, or there are too many.
        """
        document = proxy.model_dump(mode="json", exclude_unset=True)
        opening = self.store.read() if dry_run else self.store.change()
        with opening as conn:
            self.store.proxies.expect(conn, proxy.name, version)
            others = (
                select(Proxy.name)
                .where(Proxy.name != proxy.name, Proxy.host == proxy.host)
                .where(func.coalesce(Proxy.path, "/") == proxy.path)
            )
            holder = conn.execute(others.limit(1)).scalar()
            if holder is not None:
                raise ConfigError([Fault("path", f"matches the same requests as {holder!r}")])
            count = conn.execute(select(func.count()).where(Proxy.name != proxy.name)).scalar()
            if (count or 0) + len(self.base.proxies) >= PROXIES_MAX_COUNT:
                raise ConfigError([Fault("", f"there are {PROXIES_MAX_COUNT} proxies already")])
            if dry_run:
                return None
            return self.store.proxies.put_in(conn, proxy.name, document, actor, action=action)

    def roll_back(
        self, name: str, to: int, actor: str, *, version: int | None = None
    ) -> StoredProxy | None:
        """Store an earlier version once more; blocks. Raises as `put`, and `NotStored`."""
        revision = self.store.proxies.revision(name, to)
        if revision is None or revision.document is None:
            raise NotStored(f"proxy {name!r} has no version {to} to go back to")
        proxy = self.check(revision.document)
        return self.put(proxy, actor, version=version, action=f"roll back to {to}")

    async def _apply_after(self, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait({before})
        self._round, self._next = self._next, None
        await self._apply()

    async def _apply(self) -> None:
        assert self._change_to is not None
        self._take(await self.call(self.store.content))
        await self._change_to(self.combined.config)

    def _take(self, content: Content) -> None:
        self.content = content
        self.tokens.rows = content.superusers
        self.combined = combine(self.base, content.proxies, self._environ, content.secrets)
        left_out = {
            f"stored proxy {entry.name} is left out: {'; '.join(map(str, entry.faults))}"
            for entry in self.combined.entries
            if entry.faults
        }
        for message in sorted(left_out - self._reported):
            log.warning("%s", message)
        self._reported = left_out

    def _heard(self) -> None:
        """Another node may have changed something, or this one, which knows it already."""
        task = asyncio.ensure_future(self._follow())
        self._following.add(task)
        task.add_done_callback(self._following.discard)

    async def _follow(self) -> None:
        try:
            if await self.call(self.store.revision) != self.content.revision:
                await self.apply()
        except (StoreError, ConfigError, OSError, ValueError) as error:
            log.warning("a change of the store is not in force: %s", error)
