"""Which gateway a command talks to.

Address and token come from the command's options, from `GATEWAYX_ADMIN` and
`GATEWAYX_ADMIN_TOKEN`, or from `gatewayx/cli.yaml` in the user's configuration directory
(`$XDG_CONFIG_HOME`, or `~/.config`), in this order:

```yaml
admin: 127.0.0.1:9901        # or https://host:port, or unix:/run/gatewayx.sock
token: gwx_...
```
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gatewayx.cli import report

if TYPE_CHECKING:
    from gatewayx.cli.client import AdminClient

DEFAULT_ADDRESS = "127.0.0.1:9901"


def admin_options(command: Callable[..., int]) -> Callable[..., int]:
    """Give a command `--admin` and `--token`, and call it with a `client` for them.

    A gateway that is away or refuses ends the command with its message.
    """

    @click.option(
        "--admin",
        envvar="GATEWAYX_ADMIN",
        metavar="ADDRESS",
        help=f"The gateway's admin API; also GATEWAYX_ADMIN. [default: {DEFAULT_ADDRESS}]",
    )
    @click.option(
        "--token",
        envvar="GATEWAYX_ADMIN_TOKEN",
        help="The superuser token; also GATEWAYX_ADMIN_TOKEN.",
    )
    @functools.wraps(command)
    def call(*arguments: Any, admin: str | None, token: str | None, **more: Any) -> int:
        from gatewayx.cli.client import AdminError

        try:
            return command(*arguments, client=client_for(admin, token), **more)
        except AdminError as error:
            return report.refusal(error)

    return call


def client_for(admin: str | None, token: str | None) -> AdminClient:
    """A client for what the options give and the user's file adds. Raises `click.UsageError`."""
    from gatewayx.cli.client import AdminClient

    kept = _kept() if admin is None or token is None else {}
    token = token or kept.get("token")
    if not token:
        raise click.UsageError(
            f"no token: give --token, set GATEWAYX_ADMIN_TOKEN, or write it into {user_file()}"
        )
    return AdminClient(admin or kept.get("admin") or DEFAULT_ADDRESS, token)


def user_file() -> Path:
    """Where the user keeps address and token."""
    home = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(home) / "gatewayx" / "cli.yaml"


def _kept() -> dict[str, str]:
    path = user_file()
    if not path.is_file():
        return {}
    import yaml

    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        raise click.UsageError(f"cannot read {path}") from None
    if not isinstance(found, dict) or not found.keys() <= {"admin", "token"}:
        raise click.UsageError(f"{path} may hold admin and token, and nothing else")
    return {key: str(value) for key, value in found.items()}
