"""Credentials of callers, made by hand: nothing of the gateway's own code."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from typing import Any

SECRET = "a secret of at least thirty-two bytes"


def encoded(data: bytes) -> str:
    """Base64 for URLs, without padding (RFC 7515 section 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def jwt(secret: str = SECRET, *, header: dict[str, Any] | None = None, **claims: Any) -> str:
    """A JSON Web Token signed with HS256 that is good for a minute."""
    claims = {"sub": "u1", "exp": int(time.time()) + 60, **claims}
    parts = ({"alg": "HS256", "typ": "JWT", **(header or {})}, claims)
    signed = ".".join(encoded(json.dumps(part).encode()) for part in parts)
    signature = hmac.digest(secret.encode(), signed.encode(), "sha256")
    return f"{signed}.{encoded(signature)}"


def key_set(secret: str = SECRET, **members: Any) -> dict[str, Any]:
    """A set with one symmetric key."""
    return {"keys": [{"kty": "oct", "k": encoded(secret.encode()), **members}]}


def bearer(token: str) -> tuple[str, str]:
    """The field that carries a token."""
    return ("Authorization", f"Bearer {token}")


def sha256(token: str) -> str:
    """How a configuration knows an API token."""
    return hashlib.sha256(token.encode()).hexdigest()
