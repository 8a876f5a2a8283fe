"""The policies of a running gateway: which are there, which are on, since when and by whom.

A change is made whole or not at all, is kept first and published then; `publish` returns when every
worker has it. Without a keeper the policies live as long as the gateway.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

from pydantic import ValidationError

from gatewayx.chaos.compile import compile_policy, expires_ms
from gatewayx.chaos.model import Policy

log = logging.getLogger("gatewayx")

RESEND_SECONDS = 15.0
"""Longest silence of a stream of changes."""

State = Literal["active", "disabled", "expired"]
Publish = Callable[[], Awaitable[None]]


class Counters(Protocol):
    """What a policy book needs of the metrics of all workers."""

    def clear_block(self, block: int) -> None:
        """Forget what a block's former rule counted."""
        ...

    def restart_sequence(self, block: int) -> None:
        """Number the requests that a rule matches from 0 again."""
        ...

    def fault_counts(self, blocks: list[int]) -> tuple[int, int, dict[str, int]]:
        """`(matched, active, {kind: injected})` of some rules."""
        ...


class Kept(Protocol):
    """A policy as a keeper has it; times are in milliseconds since 1970."""

    @property
    def name(self) -> str: ...
    @property
    def document(self) -> dict[str, Any]: ...
    @property
    def enabled(self) -> bool: ...
    @property
    def applied_ms(self) -> int | None: ...
    @property
    def applied_by(self) -> str | None: ...


class Keeper(Protocol):
    """Where policies outlive the gateway. Calls block."""

    def all(self) -> Sequence[Kept]:
        """Every policy."""
        ...

    def put(self, name: str, document: dict[str, Any], actor: str, *, enabled: bool) -> Kept:
        """Create or replace a policy."""
        ...

    def enable(self, name: str, enabled: bool, actor: str) -> Kept:
        """Switch a policy on or off."""
        ...

    def delete(self, name: str, actor: str) -> None:
        """Forget a policy."""
        ...


@dataclass(frozen=True, slots=True)
class Applied:
    """One policy of the gateway.

    Attributes:
        policy: What it says.
        enabled: Whether it is on.
        applied_ms: When it was last put in force; its rules' durations run from here.
        applied_by: Who did it.
        blocks: Where its rules are counted.
    """

    policy: Policy
    enabled: bool
    applied_ms: int
    applied_by: str
    blocks: tuple[int, ...]

    def state(self, now_ms: int) -> State:
        """Disabled, expired once every rule has ended, else active."""
        if not self.enabled:
            return "disabled"
        ends = [expires_ms(rule.fault, self.applied_ms) for rule in self.policy.spec.rules]
        return "expired" if all(0 < end <= now_ms for end in ends) else "active"

    def expires_in_seconds(self, now_ms: int) -> float | None:
        """Until its last rule ends; None when one never does, or the policy is off."""
        ends = [expires_ms(rule.fault, self.applied_ms) for rule in self.policy.spec.rules]
        if not self.enabled or 0 in ends:
            return None
        return max(0.0, (max(ends) - now_ms) / 1000)


class RoomError(ValueError):
    """The rules are more than the metrics have room for."""


class PolicyBook:
    """Every policy by name, in the order in which their rules are asked: that of the names."""

    def __init__(self, counters: Counters, blocks: Iterable[int], publish: Publish) -> None:
        self._counters = counters
        self._free = deque(blocks)
        self._publish = publish
        self._keeper: Keeper | None = None
        self._entries: dict[str, Applied] = {}
        self._changing = asyncio.Lock()
        self._changed = asyncio.Event()
        self._closed = False
        self.revision = 0

    # ---- what is there

    def all(self) -> list[Applied]:
        """Every policy, by name."""
        return [self._entries[name] for name in sorted(self._entries)]

    def find(self, name: str) -> Applied | None:
        """One policy."""
        return self._entries.get(name)

    def compiled(self) -> dict[str, Any]:
        """What the engines read: the policies that are on. They end by themselves."""
        now = _now_ms()
        return {
            "policies": [
                compile_policy(one.policy, one.blocks, one.applied_ms)
                for one in self.all()
                if one.state(now) == "active"
            ]
        }

    def series(self) -> list[tuple[str, list[int]]]:
        """Names and blocks, for the metrics."""
        return [(one.policy.name, list(one.blocks)) for one in self.all()]

    def shown(self, one: Applied) -> dict[str, Any]:
        """A policy as the API shows it, without its counters."""
        now = _now_ms()
        return {
            **one.policy.model_dump(mode="json", exclude_none=True, exclude_defaults=True),
            "status": {
                "state": one.state(now),
                "enabled": one.enabled,
                "applied_at": _rfc3339(one.applied_ms),
                "applied_by": one.applied_by,
            },
        }

    def status(self, one: Applied) -> dict[str, Any]:
        """Whether it is in force, for how long, and what it has done."""
        now = _now_ms()
        matched, active, injected = self._counters.fault_counts(list(one.blocks))
        return {
            "name": one.policy.name,
            **self.shown(one)["status"],
            "active": one.state(now) == "active",
            "expires_in_seconds": one.expires_in_seconds(now),
            "matched": matched,
            "injected": sum(injected.values()),
            "injected_by_kind": injected,
            "active_faults": active,
        }

    # ---- changes

    async def keep_in(self, keeper: Keeper) -> None:
        """Take over what a keeper has, and let it keep what changes from here on."""
        self._keeper = keeper
        await self.reload()

    async def reload(self) -> None:
        """Read the keeper's policies again, and publish them when they differ."""
        if self._keeper is None:
            return
        async with self._changing:
            kept = await asyncio.to_thread(self._keeper.all)
            entries = {}
            for row in kept:
                try:
                    policy = Policy.model_validate(row.document)
                except ValidationError:
                    log.error("fault policy %s of the store is not valid; it is left out", row.name)
                    continue
                entries[policy.name] = self._entry(
                    policy, row.enabled, row.applied_ms or 0, row.applied_by or ""
                )
            if entries != self._entries:
                await self._install(entries)

    async def apply(
        self, policies: Sequence[Policy], actor: str, *, enabled: bool = True
    ) -> list[Applied]:
        """Create or replace policies and put them in force.

        Raises:
            RoomError: When there are more rules than room; nothing has changed then.
        """
        async with self._changing:
            wanted = {policy.name: len(policy.spec.rules) for policy in policies}
            held = {name: len(one.blocks) for name, one in self._entries.items()}
            growth = sum(max(0, count - held.get(name, 0)) for name, count in wanted.items())
            if growth > len(self._free):
                raise RoomError(f"there is room for {len(self._free)} more rules, not {growth}")
            entries = dict(self._entries)
            now = _now_ms()
            for policy in policies:
                if self._keeper is not None:
                    document = policy.model_dump(mode="json", exclude_none=True)
                    kept = await asyncio.to_thread(
                        self._keeper.put, policy.name, document, actor, enabled=enabled
                    )
                    now = kept.applied_ms or now
                entries[policy.name] = self._entry(policy, enabled, now, actor)
                log.warning("fault policy %s applied by %s", policy.name, actor)
            await self._install(entries)
            return [entries[policy.name] for policy in policies]

    async def enable(self, names: Iterable[str], enabled: bool, actor: str) -> list[Applied]:
        """Switch policies on, their durations beginning anew, or off."""
        async with self._changing:
            entries = dict(self._entries)
            changed = [name for name in names if entries[name].enabled != enabled or enabled]
            for name in changed:
                now = _now_ms()
                if self._keeper is not None:
                    kept = await asyncio.to_thread(self._keeper.enable, name, enabled, actor)
                    now = kept.applied_ms or now
                entries[name] = replace(entries[name], enabled=enabled)
                if enabled:
                    entries[name] = replace(entries[name], applied_ms=now, applied_by=actor)
                word = "enabled" if enabled else "disabled"
                log.warning("fault policy %s %s by %s", name, word, actor)
            await self._install(entries)
            return [entries[name] for name in changed]

    async def delete(self, name: str, actor: str) -> None:
        """Forget a policy."""
        async with self._changing:
            entries = dict(self._entries)
            if self._keeper is not None:
                await asyncio.to_thread(self._keeper.delete, name, actor)
            del entries[name]
            log.warning("fault policy %s deleted by %s", name, actor)
            await self._install(entries)

    async def changes(self) -> AsyncIterator[tuple[str, dict[str, Any]] | None]:
        """The full set, then what changes; None when there is nothing to tell for a while."""
        known: dict[str, Any] = {}
        kind = "policies"
        while not self._closed:
            changed = self._changed
            shown = {one.policy.name: self.shown(one) for one in self.all()}
            news = [one for name, one in shown.items() if known.get(name) != one]
            gone = sorted(known.keys() - shown.keys())
            if kind == "policies":
                yield kind, {"revision": self.revision, "policies": list(shown.values())}
            elif news or gone:
                yield kind, {"revision": self.revision, "changed": news, "removed": gone}
            known, kind = shown, "change"
            try:
                await asyncio.wait_for(changed.wait(), RESEND_SECONDS)
            except TimeoutError:
                yield None

    def close(self) -> None:
        """End every stream of changes."""
        self._closed = True
        self._changed.set()

    async def _install(self, entries: Mapping[str, Applied]) -> None:
        before, self._entries = self._entries, dict(entries)
        for name, one in before.items():
            kept = self._entries[name].blocks if name in self._entries else ()
            self._free.extend(block for block in one.blocks if block not in kept)
        self.revision += 1
        await self._publish()
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _entry(self, policy: Policy, enabled: bool, applied_ms: int, actor: str) -> Applied:
        """Keeps the blocks, and with them the counters, of a policy that is replaced."""
        old = self._entries.get(policy.name)
        same = old is not None and (old.policy, old.enabled, old.applied_ms, old.applied_by) == (
            policy,
            enabled,
            applied_ms,
            actor,
        )
        if same and old is not None:
            return old
        blocks = list(old.blocks if old else ())[: len(policy.spec.rules)]
        for block in blocks:
            self._counters.restart_sequence(block)
        while len(blocks) < len(policy.spec.rules):
            if not self._free:
                raise RoomError("there are more rules than room for them")
            block = self._free.popleft()
            self._counters.clear_block(block)
            blocks.append(block)
        return Applied(policy, enabled, applied_ms, actor, tuple(blocks))


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _rfc3339(unix_ms: int) -> str:
    seconds, milliseconds = divmod(unix_ms, 1000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{milliseconds:03}Z"
