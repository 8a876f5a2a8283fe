"""How often callers may come."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from gatewayx.config.section import Section
from gatewayx.config.values import Kind, NonzeroCount, Wait

_HEADER_KEY = re.compile(r"header:([!#$%&'*+.^_`|~0-9A-Za-z-]{1,128})\Z")
_PLAIN_KEYS = {"proxy": "proxy", "ip": "ip", "auth.id": "auth_id"}

PERIOD_MAX_SECONDS = 24 * 3600


def rate_key(text: str) -> str:
    """Whose requests are counted together."""
    if text not in _PLAIN_KEYS and _HEADER_KEY.match(text) is None:
        raise ValueError("must be proxy, ip, auth.id or header:NAME")
    return text


class RateLimitConfig(Section):
    """Requests over a limit: 429, `rate_limited`. A token bucket, exact over all workers."""

    requests: NonzeroCount = Field(description="Requests that are allowed within `per`.")
    per: Annotated[Wait, Field(le=PERIOD_MAX_SECONDS)] = Field(
        default=1, description="The time that `requests` are spread over, in seconds."
    )
    burst: NonzeroCount | None = Field(
        default=None,
        description="Most that may come at once; without it as many as `requests`.",
    )
    key: Annotated[
        str, AfterValidator(rate_key), Kind("`proxy`, `ip`, `auth.id` or `header:NAME`")
    ] = Field(
        default="proxy",
        description=(
            "Whose requests are counted together: all of the proxy, those from one address, of one"
            " caller with a valid token, or with one value of a header. Callers without the token"
            " or header go by their address. 65536 callers are told apart at a time; while more"
            " are active, those beyond that share one bucket."
        ),
    )

    def engine_key(self) -> str | dict[str, str]:
        """The key in the engine's form."""
        header = _HEADER_KEY.match(self.key)
        return _PLAIN_KEYS[self.key] if header is None else {"header": header[1]}
