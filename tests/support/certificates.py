"""An authority, and the certificates that it issues, as files."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from pathlib import Path

import trustme


class Authority:
    """Issues certificates into a directory."""

    def __init__(self, directory: Path, name: str = "authority") -> None:
        self._directory = directory
        self._name = name
        self._authority = trustme.CA()
        self.ca_file = str(directory / f"{name}.pem")
        self._authority.cert_pem.write_to_path(self.ca_file)

    def issue(self, *names: str, expires: datetime | None = None, file: str = "") -> dict[str, str]:
        """A certificate for some names, as `cert_file` and `key_file`."""
        leaf = self._authority.issue_cert(*names, not_after=expires)
        stem = file or f"{self._name}-{names[0]}"
        cert_file, key_file = (self._directory / f"{stem}.{end}" for end in ("crt", "key"))
        chain = b"".join(blob.bytes() for blob in leaf.cert_chain_pems)
        cert_file.write_bytes(chain)
        key_file.write_bytes(leaf.private_key_pem.bytes())
        return {"cert_file": str(cert_file), "key_file": str(key_file)}

    def expired(self, *names: str) -> dict[str, str]:
        """One whose time is over."""
        return self.issue(*names, expires=datetime(2020, 1, 1, tzinfo=UTC), file="expired")

    def spoil(self, identity: dict[str, str]) -> None:
        """Leaves a file that holds no key."""
        Path(identity["key_file"]).write_text("nothing")

    def server(self, identity: dict[str, str], *, client_ca: str | None = None) -> ssl.SSLContext:
        """For a server that shows `identity`; with `client_ca` callers must show one too."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(identity["cert_file"], identity["key_file"])
        if client_ca is not None:
            context.load_verify_locations(client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def caller(self, identity: dict[str, str] | None = None) -> ssl.SSLContext:
        """For a client that trusts this authority."""
        context = ssl.create_default_context(cafile=self.ca_file)
        if identity is not None:
            context.load_cert_chain(identity["cert_file"], identity["key_file"])
        return context
