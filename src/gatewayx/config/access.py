"""Access rules in the configuration; their grammar and meaning are native (`native/policy`)."""

from __future__ import annotations

from collections.abc import Iterable
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


def explain(rule: str, subjects: Iterable[tuple[str, str]]) -> tuple[bool, list[tuple[str, bool]]]:
    """Hold a made-up request against a sound rule: whether an ordinary caller passes, and why.

    Args:
        rule: An access rule.
        subjects: Names as in a rule without `@request.` (`method`, `ip`, `auth.id`,
            `headers.x-tenant` in lower case) and their values; more values of a name are a list.

    Returns:
        The verdict, and every comparison that was made, in order, with its outcome. The superuser
        passes whatever the verdict says.
    """
    return _native.explain_access_rule(rule, list(subjects))


AccessRule = Annotated[str, AfterValidator(access_rule), Kind("access rule")]
