"""Active health checks: how the gateway finds out by itself whether an upstream is well."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from gatewayx.config.resilience import BreakerCount
from gatewayx.config.section import Section
from gatewayx.config.values import Kind, StatusCode, Wait

_TARGET = re.compile(r"/[!\"$-~]*\Z")


def probe_target(value: str) -> str:
    """A path, with a query if it likes: what may stand in a request line."""
    if _TARGET.match(value) is None:
        raise ValueError("must be a path, such as /health, of visible ASCII without #")
    return value


class HealthCheckConfig(Section):
    """Asks every upstream of the proxy, in one process for all workers, whether it is well: `GET`
    on a connection of its own. An upstream that is down gets no requests; when all are down all are
    tried, because a wrong verdict about every upstream must not take the service down. Until its
    first verdict an upstream is up.
    """

    path: Annotated[str, AfterValidator(probe_target), Kind("path")] = Field(
        default="/", description="What is asked for; the upstream's own base path is not put first."
    )
    interval: Wait = Field(
        default=5, description="Between two probes of an upstream, give or take a tenth."
    )
    timeout: Wait = Field(
        default=1, description="For a whole probe: connect, TLS, status line. Past it, it failed."
    )
    unhealthy: BreakerCount = Field(
        default=3, description="Failed probes in a row after which an upstream is down."
    )
    healthy: BreakerCount = Field(
        default=2, description="Good probes in a row after which it is up again."
    )
    statuses: Annotated[
        tuple[StatusCode, ...], Field(strict=False, max_length=100), Kind("list of status codes")
    ] = Field(default=(), description="Answers that are good; none = 200 to 399.")
