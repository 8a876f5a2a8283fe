"""The files that TLS settings name: whether they fit together, and what they hold.

Whether they fit is asked of the standard library's `ssl`, which reads what the engine reads.
"""

from __future__ import annotations

import hashlib
import os
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from gatewayx.config.fault import Location
from gatewayx.config.tls import Identity, ListenerTls, UpstreamTls

FILE_MAX_BYTES = 4 << 20

_SYSTEM_ROOTS = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
"""Where Debian, Red Hat, SUSE and Alpine keep the authorities that they trust."""

Problem = tuple[Location, str]


def tls_problems(data: object) -> Iterator[Problem]:
    """What is wrong with the files that a configuration names."""
    admin = data.get("admin") if isinstance(data, dict) else None
    own = admin.get("tls") if isinstance(admin, dict) else None
    if isinstance(own, dict):
        yield from _identity_problems(("admin", "tls"), own, "cert_file", "key_file")
    for index, listener in _items(data, "listeners"):
        tls = listener.get("tls")
        if isinstance(tls, dict):
            yield from _listener_problems(("listeners", index, "tls"), tls)
    for index, proxy in _items(data, "proxies"):
        tls = proxy.get("tls")
        if isinstance(tls, dict):
            yield from _upstream_problems(("proxies", index, "tls"), tls)


def _listener_problems(place: Location, tls: dict[str, Any]) -> Iterator[Problem]:
    yield from _identity_problems(place, tls, "cert_file", "key_file")
    further = tls.get("certificates")
    for index, identity in enumerate(further if isinstance(further, list | tuple) else ()):
        if isinstance(identity, dict):
            at = (*place, "certificates", index)
            yield from _identity_problems(at, identity, "cert_file", "key_file")
    wanted = tls.get("client_auth", "none") in ("optional", "required")
    if wanted and tls.get("client_ca_file") is None:
        yield (*place, "client_auth"), "needs client_ca_file: whom to trust"
    elif not wanted and tls.get("client_ca_file") is not None:
        yield (*place, "client_ca_file"), "needs client_auth: optional or required"
    yield from _authority_problems((*place, "client_ca_file"), tls.get("client_ca_file"))


def _upstream_problems(place: Location, tls: dict[str, Any]) -> Iterator[Problem]:
    yield from _authority_problems((*place, "ca_file"), tls.get("ca_file"))
    given = [name for name in ("client_cert_file", "client_key_file") if tls.get(name) is not None]
    if len(given) == 1:
        yield (*place, given[0]), "needs the other of client_cert_file and client_key_file"
    yield from _identity_problems(place, tls, "client_cert_file", "client_key_file")


def _identity_problems(
    place: Location, tls: dict[str, Any], cert_key: str, key_key: str
) -> Iterator[Problem]:
    paths = tls.get(cert_key), tls.get(key_key)
    readable = True
    for name, path in zip((cert_key, key_key), paths, strict=True):
        if isinstance(path, str) and path and (problem := _unreadable(path)):
            readable = False
            yield (*place, name), problem
    cert, key = paths
    if readable and isinstance(cert, str) and isinstance(key, str) and cert and key:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        if problem := _refused(lambda: context.load_cert_chain(cert, key, password="")):
            yield (*place, cert_key), f"does not fit {key_key}, or is no PEM file: {problem}"


def _authority_problems(place: Location, path: object) -> Iterator[Problem]:
    if not isinstance(path, str) or not path:
        return
    if problem := _unreadable(path):
        yield place, problem
        return
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if problem := _refused(lambda: context.load_verify_locations(path)):
        yield place, f"holds no certificate in PEM: {problem}"


def _refused(load: Callable[[], None]) -> str | None:
    try:
        load()
    except (OSError, ValueError) as error:
        # An SSLError is an OSError; its reason is a constant's name and holds nothing of the file.
        return (getattr(error, "reason", None) or "unreadable").replace("_", " ").lower()
    return None


def _unreadable(path: str) -> str | None:
    try:
        if Path(path).stat().st_size > FILE_MAX_BYTES:
            return f"cannot use {path}: it is larger than {FILE_MAX_BYTES >> 20} MiB"
        with Path(path).open("rb"):
            return None
    except OSError as error:
        return f"cannot read {path}: {error.strerror}"


def listener_form(tls: ListenerTls) -> dict[str, Any]:
    """What the engine reads of a listener. Raises `OSError` for a file that went away."""
    ca_file = tls.client_ca_file
    return {
        "certificates": [_identity_form(identity) for identity in tls.identities()],
        "client_auth": tls.client_auth,
        "client_ca_pem": "" if ca_file is None else _read(ca_file),
    }


def upstream_form(tls: UpstreamTls) -> tuple[str, dict[str, Any]]:
    """What the engine reads of how upstreams are trusted, and the key of this content."""
    identity = None
    if tls.client_cert_file is not None and tls.client_key_file is not None:
        identity = _identity_form(
            Identity(cert_file=tls.client_cert_file, key_file=tls.client_key_file)
        )
    form = {"roots_pem": _read(tls.ca_file or system_roots()), "identity": identity}
    return hashlib.sha256(repr(form).encode()).hexdigest()[:32], form


def system_roots() -> str:
    """The file of the authorities that this system trusts, else those that come with `certifi`."""
    told = os.environ.get("SSL_CERT_FILE"), ssl.get_default_verify_paths().cafile
    for path in (*told, *_SYSTEM_ROOTS):
        if path and Path(path).is_file():
            return path
    import certifi

    return certifi.where()


def _identity_form(identity: Identity) -> dict[str, str]:
    return {"chain_pem": _read(identity.cert_file), "key_pem": _read(identity.key_file)}


def _read(path: str) -> str:
    return Path(path).read_text(encoding="utf-8", errors="replace")


def _items(data: object, key: str) -> Iterator[tuple[int, dict[str, Any]]]:
    values = data.get(key) if isinstance(data, dict) else None
    for index, item in enumerate(values if isinstance(values, list | tuple) else ()):
        if isinstance(item, dict):
            yield index, item
