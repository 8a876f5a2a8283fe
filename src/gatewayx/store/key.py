"""The store's key: what seals secrets, and what turns tokens into digests.

The key is 32 random bytes or more, written as text in `GATEWAYX_STORE_KEY` or on the first line of
a file. Two keys are derived from it (HKDF-SHA-256): one for AES-256-GCM, one for HMAC-SHA-256. What
is sealed is bound to its place, so that a row cannot be passed off as another one.
"""

from __future__ import annotations

import hmac
import os
import secrets
from base64 import b64decode, b64encode
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from sqlalchemy import URL

from gatewayx.store.errors import StoreError

VARIABLE = "GATEWAYX_STORE_KEY"
KEY_MIN_CHARACTERS = 32
NONCE_BYTES = 12


class StoreKey:
    """Seals, opens and digests. Its text stays out of logs and tracebacks."""

    def __init__(self, text: str) -> None:
        if len(text) < KEY_MIN_CHARACTERS:
            raise StoreError(f"the store's key must have at least {KEY_MIN_CHARACTERS} characters")
        self._cipher = AESGCM(_derive(text, b"gatewayx store sealing"))
        self._digest_key = _derive(text, b"gatewayx store digests")

    def seal(self, text: str, place: str) -> str:
        """Encrypt text that belongs to a place, such as `secret/NAME`."""
        nonce = os.urandom(NONCE_BYTES)
        sealed = self._cipher.encrypt(nonce, text.encode(), place.encode())
        return b64encode(nonce + sealed).decode()

    def open(self, sealed: str, place: str) -> str:
        """Decrypt. Raises `StoreError` for another key, another place or a changed text."""
        try:
            data = b64decode(sealed, validate=True)
            nonce, body = data[:NONCE_BYTES], data[NONCE_BYTES:]
            return self._cipher.decrypt(nonce, body, place.encode()).decode()
        except (InvalidTag, ValueError):
            raise StoreError(f"{place} cannot be opened with this key") from None

    @property
    def digest_key(self) -> str:
        """The key of `digest`, hexadecimal, for who compares tokens natively."""
        return self._digest_key.hex()

    def digest(self, text: str) -> str:
        """HMAC-SHA-256, hexadecimal."""
        return hmac.new(self._digest_key, text.encode(), sha256).hexdigest()


def _derive(text: str, purpose: bytes) -> bytes:
    return HKDF(SHA256(), length=32, salt=None, info=purpose).derive(text.encode())


def load_key(url: URL, key_file: str | None, environ: Mapping[str, str]) -> StoreKey:
    """Take the key from the environment, from its file, or beside a SQLite file.

    A file that is not there yet is made, readable by its owner only, for SQLite; nodes that share
    a PostgreSQL database must be given the same key. Raises `StoreError`.
    """
    given = environ.get(VARIABLE)
    if given is not None:
        return StoreKey(given)
    is_file = url.get_backend_name() == "sqlite" and url.database not in (None, "", ":memory:")
    if key_file is None and not is_file:
        raise StoreError(f"the store needs a key: set {VARIABLE} or store.key_file")
    path = Path(key_file or f"{url.database}.key")
    try:
        if is_file and not path.exists():
            return StoreKey(_make(path))
        with path.open(encoding="utf-8") as file:
            return StoreKey(file.readline().rstrip("\r\n"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise StoreError(f"cannot use the key file {path}: {reason}") from None


def _make(path: Path) -> str:
    text = secrets.token_urlsafe(32)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(f"{text}\n")
        file.flush()
        os.fsync(file.fileno())
    return text
