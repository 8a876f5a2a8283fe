"""Policies for tests, in their shortest form."""

from __future__ import annotations

from typing import Any

Policy = dict[str, Any]


def policy(*rules: dict[str, Any], name: str = "p", **selector: str) -> Policy:
    """A policy of rules."""
    return {"metadata": {"name": name}, "spec": {"selector": selector, "rules": list(rules)}}


def rule(match: dict[str, Any] | None = None, **fault: Any) -> dict[str, Any]:
    """A rule that hits everything it matches, unless told otherwise."""
    return {"match": match or {}, "fault": {"percentage": 100, **fault}}


def abort(status: int = 503, **more: Any) -> dict[str, Any]:
    """A rule that aborts everything."""
    return rule(abort={"httpStatus": status}, **more)


def delay(milliseconds: int, **more: Any) -> dict[str, Any]:
    """A rule that delays everything."""
    return rule(delay={"fixed_delay_ms": milliseconds}, **more)
