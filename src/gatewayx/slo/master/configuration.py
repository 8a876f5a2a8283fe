"""The master's settings from a file and from arguments."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from pathlib import Path

import yaml
from pydantic import ValidationError

from gatewayx.slo.master.settings import MasterSettings


class SettingsError(ValueError):
    """Settings that cannot be used; the operator is to blame."""


def load_settings(path: Path | None, given: Mapping[str, object]) -> MasterSettings:
    """The file's settings with those that were given in their place; None is not given.

    Raises:
        SettingsError: unreadable, not YAML, unknown or impossible; it names every fault.
    """
    loaded: object = {}
    if path is not None:
        try:
            loaded = yaml.safe_load(path.read_text()) or {}
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise SettingsError(f"{path}: {error}") from error
        if not isinstance(loaded, dict):
            raise SettingsError(f"{path}: not a mapping")
    assert isinstance(loaded, dict)
    merged = loaded | {name: value for name, value in given.items() if value is not None}
    try:
        return MasterSettings.model_validate(merged)
    except ValidationError as error:
        faults = (f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        raise SettingsError("; ".join(faults)) from error


def parse_listen(address: str) -> tuple[str, int]:
    """Host and port of `host:port`.

    Raises:
        SettingsError: it is not that.
    """
    host, colon, port = address.rpartition(":")
    host = host.strip("[]")
    if not (colon and host and port.isascii() and port.isdecimal() and int(port) < 65536):
        raise SettingsError(f"{address!r} is not HOST:PORT")
    return host, int(port)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
