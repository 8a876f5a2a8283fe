"""Access rules in the configuration; their grammar and meaning are native (`native/policy`)."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from gatewayx import _native
from gatewayx.config.values import Kind

PUBLIC = "true"
"""The rule that lets everyone in."""


def access_rule(text: str) -> str:
    """A rule that can be read; the place of a problem is counted in characters, from 1."""
    problem = _native.check_access_rule(text)
    if problem is not None:
        at, words = problem
        column = len(text.encode()[:at].decode()) + 1
        raise ValueError(f"at character {column}: {words}")
    return text


def is_public(rule: object) -> bool:
    """Whether the rule lets everyone in."""
    return isinstance(rule, str) and _native.is_public_rule(rule)


AccessRule = Annotated[str, AfterValidator(access_rule), Kind("access rule")]
