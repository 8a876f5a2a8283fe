"""`docs/API.md`, made from the OpenAPI document: `python -m tests.admin.api_reference`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from gatewayx.admin.app import create_app
from tests.admin.conftest import KnownState

_PREAMBLE = """\
# Admin API

Made from the OpenAPI document by `make docs`; do not edit. `GET /openapi.json` has the bodies, `GET
/docs` shows them.

Every route but `/healthz` and `/ready` wants `Authorization: Bearer TOKEN` with a superuser token,
and may answer 401, 403 (a page of another site calls), 421 (a Host that is not this gateway's) or
429 (too many wrong tokens). Errors are JSON: `error`, `details`, `reason`, and `faults` with the
path and the message of everything that is wrong.

A stored proxy has a version, which is its `ETag`. `If-Match: "3"` changes version 3 and no other
(412); `If-None-Match: *` only creates. `?dry_run=true` checks everything and changes nothing.
Header values are shown as `[redacted]`, unless they only refer to a secret; sent back like that
they keep what is stored.

| Method | Path | Does | Answers |
|---|---|---|---|
"""


def page() -> str:
    """The whole page."""
    document = create_app(KnownState(), None).openapi()
    return _PREAMBLE + "\n".join(_rows(document)) + "\n"


def _rows(document: dict[str, Any]) -> Iterator[str]:
    everywhere = {"401", "403", "421", "429"}
    for path, methods in sorted(document["paths"].items()):
        for method, operation in methods.items():
            answers = sorted(operation["responses"].keys() - everywhere)
            summary = operation.get("summary", "").replace("|", "\\|")
            yield f"| {method.upper()} | `{path}` | {summary} | {', '.join(answers)} |"


if __name__ == "__main__":
    sys.stdout.write(page())
