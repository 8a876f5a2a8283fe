"""What a start needs of the store: the store itself, and the token that opens the admin API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gatewayx.admin import SuperuserToken, given_token, load_token
from gatewayx.config import GatewayConfig

if TYPE_CHECKING:
    from gatewayx.admin.control import ControlPlane


class StoreUnusable(OSError):
    """The store cannot be opened; the text says why."""


def open_control(
    config: GatewayConfig, environ: Mapping[str, str]
) -> tuple[SuperuserToken | None, ControlPlane | None]:
    """The token that was given or is made now, and the store if one is configured.

    None for the token when the store has one from an earlier start.

    Raises:
        ConfigError: When a named source of the token is unfit.
        StoreUnusable: When the store cannot be opened.
    """
    if config.store is None:
        return load_token(config.admin, environ), None
    # Imported only here: whoever has no store does not pay for a database's memory.
    from gatewayx.admin.control import ControlPlane
    from gatewayx.store import Store, StoreError

    token = given_token(config.admin, environ)
    try:
        store = Store.open(config.store.url, config.store.key_file, environ)
        if token is None and (made := store.tokens.first_superuser()) is not None:
            token = SuperuserToken(made.text, made=True)
        return token, ControlPlane(store, config, environ)
    except (StoreError, ImportError) as error:
        raise StoreUnusable(str(error)) from None


def add_credentials(auth: dict[str, Any], control: ControlPlane) -> None:
    """Have the engine know the store's tokens beside those of the file."""
    auth["token_key"] = control.store.key.digest_key
    auth["tokens"] += [
        {
            "id": credential.id,
            "digest": {"hmac_sha256": credential.digest},
            "claims": credential.claims,
            # Rounded up: 0 is for ever.
            "expires_unix_s": -(-(credential.expires_ms or 0) // 1000),
            "superuser": credential.superuser,
        }
        for credential in control.content.credentials
    ]
