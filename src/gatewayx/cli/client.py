"""The admin API from a command's side: one client for every command; see `options.py`."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

TIMEOUT_SECONDS = 30.0


class AdminError(Exception):
    """The gateway is away, or refused; the text says which and why.

    Attributes:
        faults: Of a configuration, as the gateway found them.
        status: Of the answer; 0 when there is none.
        reason: The answer's stable reason; empty when there is none.
    """

    def __init__(
        self,
        message: str,
        faults: list[dict[str, Any]] | None = None,
        *,
        status: int = 0,
        reason: str = "",
    ) -> None:
        super().__init__(message)
        self.faults = faults or []
        self.status = status
        self.reason = reason


class Answer(NamedTuple):
    """What the gateway answered.

    Attributes:
        status: Of the response.
        headers: By name in lower case.
        body: The JSON, or None for an empty body.
    """

    status: int
    headers: dict[str, str]
    body: Any


class AdminClient:
    """One gateway's admin API, called with the superuser token."""

    def __init__(self, address: str, token: str) -> None:
        """Take `host:port`, `https://host:port` or `unix:PATH`."""
        self._address = address
        self._token = token

    def get(self, path: str, **query: object) -> Any:
        """Get JSON; query values of None are left out. Raises `AdminError`."""
        return self.request("GET", path, query=query).body

    def post(self, path: str, body: object = None, **query: object) -> Any:
        """Post JSON, or nothing; the answer's JSON. Raises `AdminError`."""
        return self.request("POST", path, body, query=query).body

    def put(self, path: str, body: object, **query: object) -> Any:
        """Put JSON; the answer's JSON. Raises `AdminError`."""
        return self.request("PUT", path, body, query=query).body

    def delete(self, path: str, **query: object) -> Any:
        """Delete. Raises `AdminError`."""
        return self.request("DELETE", path, query=query).body

    def request(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        query: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Make one request. Raises `AdminError` for a gateway that is away or refuses."""
        given = {name: value for name, value in (query or {}).items() if value is not None}
        target = path + ("?" + urlencode(given) if given else "")
        fields = {"Authorization": f"Bearer {self._token}", "Accept": "application/json"}
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            fields["Content-Type"] = "application/json"
        connection = _connection(self._address)
        try:
            connection.request(method, target, data, {**fields, **(headers or {})})
            response = connection.getresponse()
            text = response.read()
            found = json.loads(text) if text else None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise AdminError(f"no gateway answers at {self._address}: {error}") from None
        finally:
            connection.close()
        if response.status >= 400:
            raise _refusal(response.status, found)
        names = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, names, found)


def place(*parts: str) -> str:
    """A path from its parts, each of them escaped."""
    return "/" + "/".join(quote(part, safe="") for part in parts)


def _connection(address: str) -> http.client.HTTPConnection:
    if address.startswith("unix:"):
        return _UnixConnection(address.removeprefix("unix:"))
    if address.startswith("https://"):
        host = address.removeprefix("https://").rstrip("/")
        context = ssl.create_default_context()
        return http.client.HTTPSConnection(host, timeout=TIMEOUT_SECONDS, context=context)
    host = address.removeprefix("http://").rstrip("/")
    return http.client.HTTPConnection(host, timeout=TIMEOUT_SECONDS)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=TIMEOUT_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _refusal(status: int, found: Any) -> AdminError:
    body = found if isinstance(found, dict) else {}
    parts = [str(body[key]) for key in ("error", "details") if body.get(key)]
    message = ": ".join(parts) or f"the gateway answered {status}"
    return AdminError(
        message, body.get("faults"), status=status, reason=str(body.get("reason", ""))
    )
