"""The ways to a configuration: from a file, from one upstream URL, and with options over it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from gatewayx.config.fault import ConfigError
from gatewayx.config.model import GatewayConfig
from gatewayx.config.source import read_source
from gatewayx.config.validate import validate

DEFAULT_LISTEN = "127.0.0.1:8080"

_OPTIONS = {
    "listeners[0].address": "--listen",
    "admin.address": "--admin",
    "workers": "--workers",
    "store.url": "--store",
    "proxies[0].upstream": "--upstream",
}


def load_file(path: str | Path, environ: Mapping[str, str] | None = None) -> GatewayConfig:
    """Read and check a file. Raises `ConfigError` with every fault and its place."""
    source = read_source(Path(path))
    return validate(source.data, os.environ if environ is None else environ, source)


def for_upstream(url: str, listen: str = DEFAULT_LISTEN) -> GatewayConfig:
    """The configuration of `gatewayx serve --upstream URL`: every path goes to one upstream."""
    data = {
        "listeners": [{"address": listen}],
        "proxies": [{"name": "default", "path": "/", "upstream": url}],
    }
    return _validate_options(data)


def override(
    config: GatewayConfig,
    *,
    listen: str | None = None,
    admin: str | None = None,
    workers: int | str | None = None,
    store: str | None = None,
) -> GatewayConfig:
    """The same configuration with what a command line asks for in its place."""
    data = config.model_dump()
    if listen is not None:
        data["listeners"] = [{"address": listen}]
    if admin is not None:
        data["admin"]["address"] = admin
    if workers is not None:
        data["workers"] = workers
    if store is not None:
        data["store"] = {**(data["store"] or {}), "url": store}
    return _validate_options(data)


def _validate_options(data: object) -> GatewayConfig:
    """Validate, and name the option to blame where a user wrote no file."""
    try:
        return validate(data, os.environ)
    except ConfigError as error:
        faults = (
            replace(fault, path=_OPTIONS.get(fault.path, fault.path)) for fault in error.faults
        )
        raise ConfigError(faults) from None
