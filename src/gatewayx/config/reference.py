"""`docs/CONFIGURATION.md`, made from the model: `python -m gatewayx.config.reference`.

Every key with its kind, default and meaning, as the model states them, so that the page cannot
drift from the program.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import NoneType
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from gatewayx.config.model import GatewayConfig
from gatewayx.config.not_yet import NOT_YET
from gatewayx.config.values import OWN_FIELDS, Kind

_PREAMBLE = """\
# Configuration

Made from the model by `make docs`; do not edit.

A configuration is YAML (`.yaml`, `.yml`), TOML (`.toml`) or JSON (`.json`). `gatewayx check -c
FILE` names every fault of a file with its place and changes nothing. Unknown keys, keys given twice
and values of the wrong kind are refused.

- **seconds**: a number, `2` or `0.5`; where 0 is allowed it means: wait for ever.
- **size**: bytes, `65536`, or with a unit, `64KiB`, `10MiB`, `1GiB`.
- **host:port**: `127.0.0.1:8080`, `[::1]:8080`, `0.0.0.0:8080` for every interface.
- **map of fields**: header names and values, which may hold references (below). Fields that the
  gateway itself writes cannot be set: %(own)s.

```yaml
listeners: [{address: "127.0.0.1:8080"}]
proxies:
  - name: sidecar
    path: /api/sidecar
    upstream: http://127.0.0.1:8001
    headers: {Authorization: "Bearer {env.SIDECAR_KEY}"}
    max_concurrent: 10
    timeout: {response_header: 0}
```

## Who may call

`access_rule` decides before anything else is done for a request, and costs nothing where it is
`true`.

| Rule | Lets in |
|---|---|
| `true` | everyone |
| empty | the superuser only |
| `@request.auth.id != ''` | whoever shows a valid token |
| `@request.auth.role = 'ops' && @request.ip = '10.0.0.0/8'` | such callers from that network |

Rules compare `@request.auth.NAME` (a claim; `a.b` for nested ones), `@request.headers.NAME`,
`@request.method` and `@request.ip` with texts in quotes or with each other, by `=` and `!=`, joined
by `&&` (binds tighter), `||` and parentheses. A claim that is a list equals each of its items. What
is missing equals the empty text only; two that are missing are not equal. A field that is given
twice is one list, `a, b`. The superuser passes every rule.

Callers show a token as `Authorization: Bearer TOKEN`: the superuser's, one of `auth.tokens`, or a
JSON Web Token of an issuer in `auth.jwt`. Without a valid one, a rule that asks for the caller
answers 401; whoever is known and not let in gets 403.

## References in header values

| Reference | Stands for |
|---|---|
| `{env.NAME}` | an environment variable |
| `{secret.NAME}` | a secret of the store |
| `@request.auth.id`, `@request.auth.NAME` | the caller's id, a claim; a list with commas |
| `@request.ip` | the caller's address |
| `@request.id` | the request's id |

A variable or secret that is missing is a fault of the configuration; a request without the claim is
refused, with 401 or 403 `claim_missing`. With a `?` behind the name (`{env.NAME?}`,
`@request.auth.email?`) nothing is put in its place instead. A claim that holds a control character
counts as missing. Fields that are set replace the caller's own of that name, in any spelling.
"""


def page() -> str:
    """The whole page."""
    parts = [_PREAMBLE % {"own": ", ".join(f"`{name}`" for name in sorted(OWN_FIELDS))}]
    parts += ["## Top level\n", *_table(GatewayConfig)]
    for path, section in _sections(GatewayConfig, ""):
        parts += [f"## `{path}`\n", f"{section.__doc__}\n", *_table(section)]
    parts += ["## Not in this version\n", "Refused with a message that says so:\n"]
    parts += [f"- `{_written(row.keys)}`: {row.wanted}" for row in NOT_YET]
    return "\n".join(parts) + "\n"


def _written(keys: tuple[str, ...]) -> str:
    return ".".join(keys).replace(".*", "[]")


def _table(section: type[BaseModel]) -> Iterator[str]:
    rows = [
        (f"`{name}`", _kind(field), _default(field), field.description)
        for name, field in section.model_fields.items()
        if field.description is not None
    ]
    if rows:
        yield "| Key | Kind | Default | Meaning |"
        yield "|---|---|---|---|"
        yield from (f"| {' | '.join(map(str, row))} |" for row in rows)
        yield ""


def _sections(section: type[BaseModel], prefix: str) -> Iterator[tuple[str, type[BaseModel]]]:
    """Every mapping below a section, with its path, in the model's order."""
    for name, field in section.model_fields.items():
        inner, is_list = _section_of(field.annotation)
        if inner is not None:
            path = f"{prefix}{name}{'[]' if is_list else ''}"
            yield path, inner
            yield from _sections(inner, f"{path}.")


def _section_of(annotation: Any) -> tuple[type[BaseModel] | None, bool]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, False
    if get_origin(annotation) is tuple:
        return _section_of(get_args(annotation)[0])[0], True
    if NoneType in get_args(annotation):
        return _section_of(get_args(annotation)[0])
    return None, False


def _kind(field: FieldInfo) -> str:
    for note in (*field.metadata, *_notes(field.annotation)):
        if isinstance(note, Kind):
            return note.name
    return {bool: "boolean", str: "text"}.get(field.annotation, "text")  # type: ignore[arg-type]


def _notes(annotation: Any) -> Iterator[Any]:
    """What `Annotated` says anywhere inside a type."""
    if get_origin(annotation) is Annotated:
        yield from annotation.__metadata__
    for inner in get_args(annotation):
        yield from _notes(inner)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    if field.default is None or field.default is PydanticUndefined or field.default == ():
        return "none"
    if isinstance(field.default, bool):
        return f"`{str(field.default).lower()}`"
    if _kind(field) == "size" and field.default:
        return f"`{field.default >> 10}KiB`"
    return f"`{field.default}`"


if __name__ == "__main__":
    sys.stdout.write(page())
