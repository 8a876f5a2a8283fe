"""TLS on both sides: which files hold certificates and keys.

The files are read when the configuration is loaded and again at every reload, so a renewed
certificate is in force after a reload, without a lost connection.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from gatewayx.config.section import Section
from gatewayx.config.values import HostName, Kind

FilePath = Annotated[str, Field(min_length=1), Kind("path")]


class Identity(Section):
    """A certificate and its private key, both PEM."""

    cert_file: FilePath = Field(description="The certificate, and behind it those that signed it.")
    key_file: FilePath = Field(description="Its private key, without a passphrase.")


class ListenerTls(Identity):
    """TLS 1.2 and 1.3 for callers, HTTP/1.1 within."""

    certificates: Annotated[tuple[Identity, ...], Field(strict=False, max_length=1000)] = Field(
        default=(),
        description=(
            "Further ones, for callers who ask for a host that they are valid for (SNI). Others get"
            " `cert_file`."
        ),
    )
    client_auth: Annotated[
        Literal["none", "optional", "required"], Kind("`none`, `optional` or `required`")
    ] = Field(
        default="none",
        description="Whether callers show a certificate that `client_ca_file` vouches for.",
    )
    client_ca_file: FilePath | None = Field(
        default=None, description="Certificates of the authorities of callers."
    )

    def identities(self) -> tuple[Identity, ...]:
        """Every certificate, the one for callers who name no host first."""
        return (self, *self.certificates)


class UpstreamTls(Section):
    """How `https://` upstreams are trusted, and what they are shown."""

    ca_file: FilePath | None = Field(
        default=None,
        description="Certificates of the authorities that are trusted; none = the system's.",
    )
    server_name: HostName | None = Field(
        default=None,
        description="The name that the certificate must be for; none = the host of the URL.",
    )
    client_cert_file: FilePath | None = Field(
        default=None, description="Shown to upstreams that ask; with `client_key_file`."
    )
    client_key_file: FilePath | None = Field(default=None, description="Its private key.")
