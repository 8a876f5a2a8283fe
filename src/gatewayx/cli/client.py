"""The admin API from a command's side."""

from __future__ import annotations

import http.client
import json
from typing import Any

TIMEOUT_SECONDS = 30.0


class AdminError(Exception):
    """The gateway is away, or refused; the text says which and why.

    Attributes:
        faults: Of a configuration, as the gateway found them.
    """

    def __init__(self, message: str, faults: list[dict[str, Any]] | None = None) -> None:
        super().__init__(message)
        self.faults = faults or []


class AdminClient:
    """One gateway's admin API, called with the superuser token."""

    def __init__(self, address: str, token: str) -> None:
        self._address = address
        self._token = token

    def post(self, path: str, form: dict[str, Any] | None = None) -> dict[str, Any]:
        """Post a form as JSON, or nothing; the answer's JSON. Raises `AdminError`."""
        headers = {"Authorization": f"Bearer {self._token}"}
        body = None
        if form is not None:
            headers["Content-Type"] = "application/json"
            body = json.dumps(form)
        connection = http.client.HTTPConnection(self._address, timeout=TIMEOUT_SECONDS)
        try:
            connection.request("POST", path, body, headers)
            response = connection.getresponse()
            answer: dict[str, Any] = json.loads(response.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise AdminError(f"no gateway answers at {self._address}: {error}") from None
        finally:
            connection.close()
        if response.status >= 400:
            raise AdminError(f"{answer['error']}: {answer['details']}", answer.get("faults"))
        return answer
