"""Values of header fields: text with references in it.

```
{env.NAME}         an environment variable     put in when the configuration is loaded
{secret.NAME}      a secret of the store       put in when the configuration is loaded
@request.auth.X    a claim of the caller       put in for each request
@request.ip        the caller's address        put in for each request
@request.id        the request's id            put in for each request
```

A reference whose value is missing is a fault of the configuration, or a refusal of the request;
with a `?` behind its name, nothing is put in its place. Messages name references, never values.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from gatewayx.config.values import header_value

Part = dict[str, Any] | str
"""In the engine's form: `{"text": ...}`, `{"claim": {...}}`, `"request_id"` or `"ip"`."""

_REFERENCE = re.compile(
    r"\{(?P<source>env|secret)\.(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<lenient>\??)\}"
    r"|@request\.(?:auth\.(?P<claim>[A-Za-z0-9_]+(?:\.[A-Za-z0-9_]+)*)|(?P<own>ip|id)(?![\w.]))"
    r"(?P<optional>\??)"
)
_OPENING = re.compile(r"\{\s*(?:env|secret)\b|@request\b", re.IGNORECASE)


def parts(
    template: str, environ: Mapping[str, str], secrets: Mapping[str, str] | None
) -> list[Part]:
    """Take a value apart and put in what is known. `secrets` is None where they are not at hand:
    references to them are then taken for sound.

    Raises:
        ValueError: For a reference that is malformed, or has no value or one that does not fit.
    """
    pieces: list[Part] = []
    text, end = "", 0
    for match in _REFERENCE.finditer(template):
        text += _plain(template[end : match.start()])
        end = match.end()
        if match["source"] is not None:
            text += _content(match, environ, secrets)
            continue
        if text:
            pieces.append({"text": text})
        text = ""
        if match["claim"] is not None:
            optional = bool(match["optional"])
            pieces.append({"claim": {"name": match["claim"], "optional": optional}})
        else:
            pieces.append("request_id" if match["own"] == "id" else "ip")
    text += _plain(template[end:])
    if text or not pieces:
        pieces.append({"text": text})
    return pieces


def constant(pieces: list[Part]) -> str | None:
    """The value, if it is the same for every request."""
    only = pieces[0]
    return only["text"] if len(pieces) == 1 and isinstance(only, dict) and "text" in only else None


def required_claims(pieces: list[Part]) -> Iterator[str]:
    """The claims without which a request is refused."""
    for piece in pieces:
        if isinstance(piece, dict) and not piece.get("claim", {"optional": True})["optional"]:
            yield piece["claim"]["name"]


def _plain(text: str) -> str:
    if _OPENING.search(text):
        raise ValueError(
            "holds a malformed reference: write {env.NAME}, {secret.NAME}, @request.auth.NAME,"
            " @request.ip or @request.id"
        )
    return text


def _content(
    match: re.Match[str], environ: Mapping[str, str], secrets: Mapping[str, str] | None
) -> str:
    name = match["name"]
    words = {"env": f"the environment variable {name}", "secret": f"the secret {name}"}
    what = words[match["source"]]
    if match["source"] == "secret" and secrets is None:
        return ""
    values: Mapping[str, str] | None = environ if match["source"] == "env" else secrets
    content = (values or {}).get(name)
    if not content:
        if match["lenient"]:
            return ""
        lack = "unset" if content is None else "empty"
        raise ValueError(f"needs {what}, which is {lack}")
    return _fitting(content, lambda error: f"cannot use {what}: it {error}")


def _fitting(content: str, words: Callable[[ValueError], str]) -> str:
    try:
        return header_value(content)
    except ValueError as error:
        raise ValueError(words(error)) from None
