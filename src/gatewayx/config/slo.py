"""Service levels of the gateway's own proxies, kept by `gatewayx serve` itself."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from gatewayx.config.section import Section
from gatewayx.config.values import Kind, Label, Wait

_STORES = ("sqlite:///", "postgresql://")


def store_url(url: str) -> str:
    """The URL of a database that service levels can be kept in."""
    if not url.startswith(_STORES):
        raise ValueError("must be sqlite:///FILE or postgresql://USER@HOST/DATABASE")
    return url


StoreUrl = Annotated[str, AfterValidator(store_url), Kind("URL")]


class SloConfig(Section):
    """A master fed by the gateway's own counters; `/api/v2/slo/` of the admin API asks it."""

    enabled: bool = Field(
        default=False,
        description="Whether service levels are kept. Needs a restart, as all of `slo` does.",
    )
    store: StoreUrl = Field(
        default="sqlite:///gatewayx-slo.db",
        description=(
            "Where: `sqlite:///FILE`, or `postgresql://USER@HOST/DATABASE` (install"
            " `gatewayx[postgres]`; `PGPASSWORD` keeps the password out of the file)."
        ),
    )
    cluster: Label = Field(
        default="default", description="The cluster that the gateway's traffic is counted under."
    )
    interval: Annotated[Wait, Field(le=300)] = Field(
        default=15, description="From one look at the counters to the next."
    )
