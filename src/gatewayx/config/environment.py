"""`{env.NAME}` in a value: what it names, and what it stands for.

Only the exact form is a reference; other braces are text. A malformed reference is refused, so that
a misspelt one is never sent to an upstream as it stands. Messages name the variable, never its
content.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from gatewayx.config.values import header_value

_REFERENCE = re.compile(r"\{env\.([A-Za-z_][A-Za-z0-9_]*)\}")
_OPENING = re.compile(r"\{\s*env\b", re.IGNORECASE)


def resolve(template: str, environ: Mapping[str, str]) -> str:
    """Put the variables in. Raises `ValueError` for one that is unset, empty or unfit."""
    if _OPENING.search(_REFERENCE.sub("", template)):
        raise ValueError("holds a malformed reference: write {env.NAME}")
    for name in _REFERENCE.findall(template):
        content = environ.get(name)
        if not content:
            lack = "unset" if content is None else "empty"
            raise ValueError(f"needs the environment variable {name}, which is {lack}")
        try:
            header_value(content)
        except ValueError as error:
            raise ValueError(f"cannot use the environment variable {name}: it {error}") from None
    return _REFERENCE.sub(lambda match: environ[match[1]], template)
