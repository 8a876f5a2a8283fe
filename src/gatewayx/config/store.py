"""Where what is set through the admin API is kept."""

from __future__ import annotations

from pydantic import Field

from gatewayx.config.section import Section
from gatewayx.config.slo import StoreUrl


class StoreConfig(Section):
    """A database for proxies, secrets, tokens and policies. Without it only the file counts."""

    url: StoreUrl = Field(
        description=(
            "`sqlite:///FILE`, made at the first start, or `postgresql://USER@HOST/DATABASE` for"
            " several gateways (install `gatewayx[postgres]`; `PGPASSWORD` keeps the password out"
            " of the file). Needs a restart."
        )
    )
    key_file: str | None = Field(
        default=None,
        min_length=1,
        description=(
            "A file whose first line is the key that seals secrets, 32 characters or more."
            " `GATEWAYX_STORE_KEY` wins over it. Without either, SQLite's is made beside the"
            " database: `FILE.key`."
        ),
    )
