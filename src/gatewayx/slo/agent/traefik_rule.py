"""Reads the domains and path prefixes out of a Traefik router rule.

A rule is a boolean expression of matchers: ``Host(`a`) && (PathPrefix(`/x`) || Path(`/y`))``. What
matters here is where requests come in, so the rule is turned into alternatives of one host and one
path each: ``||`` unites them, ``&&`` combines them. A matcher about anything else (a header, a
method, a regular expression) narrows a route without moving it and is passed over, as is anything
negated.

A rule that cannot be read has no routes: better none than a wrong one.
"""

from __future__ import annotations

import re
from typing import NamedTuple

ALTERNATIVES_MAX = 256
"""Most routes of one rule. ``&&`` of ``||`` multiplies; nobody writes a longer one by hand."""
_DEPTH_MAX = 32

_TOKEN = re.compile(r"\s*(?:(&&|\|\||[!(),])|([A-Za-z]+)|`([^`]*)`|\"([^\"]*)\"|'([^']*)')")
_HOSTS = frozenset({"Host", "HostHeader", "HostSNI"})
_PATHS = frozenset({"PathPrefix", "Path"})


class _Alternative(NamedTuple):
    host: str | None = None
    path: str | None = None


class _RuleError(ValueError):
    pass


def read_rule(rule: str) -> list[tuple[str, str]]:
    """The (domain, path prefix) pairs that `rule` lets in; a domain may be empty: any."""
    try:
        reader = _Reader(_tokens(rule))
        alternatives = reader.read_any(0)
        reader.expect_end()
    except _RuleError:
        return []
    pairs = ((each.host or "", each.path or "/") for each in alternatives)
    return list(dict.fromkeys(pairs))


def _tokens(rule: str) -> list[tuple[str, str]]:
    tokens: list[tuple[str, str]] = []
    at, text = 0, rule.rstrip()
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise _RuleError("not a rule")
        operator, name, *quoted = found.groups()
        if operator:
            tokens.append(("operator", operator))
        elif name:
            tokens.append(("name", name))
        else:
            tokens.append(("value", next(value for value in quoted if value is not None)))
        at = found.end()
    return tokens


class _Reader:
    def __init__(self, tokens: list[tuple[str, str]]) -> None:
        self._tokens = tokens
        self._at = 0

    def expect_end(self) -> None:
        if self._at != len(self._tokens):
            raise _RuleError("something follows the rule")

    def read_any(self, depth: int) -> list[_Alternative]:
        alternatives = self._read_all(depth)
        while self._take("||"):
            alternatives = _bounded(alternatives + self._read_all(depth))
        return alternatives

    def _read_all(self, depth: int) -> list[_Alternative]:
        alternatives = self._read_one(depth)
        while self._take("&&"):
            narrower = self._read_one(depth)
            alternatives = _bounded(
                [
                    _Alternative(one.host or two.host, one.path or two.path)
                    for one in alternatives
                    for two in narrower
                ]
            )
        return alternatives

    def _read_one(self, depth: int) -> list[_Alternative]:
        if depth > _DEPTH_MAX:
            raise _RuleError("too deep")
        if self._take("!"):
            self._read_one(depth + 1)
            return [_Alternative()]
        if self._take("("):
            inner = self.read_any(depth + 1)
            self._require(")")
            return inner
        return self._read_matcher()

    def _read_matcher(self) -> list[_Alternative]:
        name = self._next("name")
        self._require("(")
        values = [self._next("value")]
        while self._take(","):
            values.append(self._next("value"))
        self._require(")")
        if name in _HOSTS:
            return _bounded([_Alternative(host=value.lower()) for value in values])
        if name in _PATHS:
            return _bounded([_Alternative(path=value) for value in values])
        return [_Alternative()]

    def _take(self, operator: str) -> bool:
        found = self._at < len(self._tokens) and self._tokens[self._at] == ("operator", operator)
        self._at += found
        return found

    def _require(self, operator: str) -> None:
        if not self._take(operator):
            raise _RuleError(f"{operator} is missing")

    def _next(self, kind: str) -> str:
        if self._at >= len(self._tokens) or self._tokens[self._at][0] != kind:
            raise _RuleError(f"a {kind} is missing")
        self._at += 1
        return self._tokens[self._at - 1][1]


def _bounded(alternatives: list[_Alternative]) -> list[_Alternative]:
    if len(alternatives) > ALTERNATIVES_MAX:
        raise _RuleError("too many alternatives")
    return alternatives
