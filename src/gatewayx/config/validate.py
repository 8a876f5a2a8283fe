"""From plain data to a `GatewayConfig`, or to every fault that it has.

Four checks run, all of them, whatever the others find: the model (types, bounds, unknown keys), the
rules between values, the options that this version does not do, and what lies outside of the
file: environment variables, secrets, keys and certificates.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from gatewayx.config.access import PUBLIC, is_public
from gatewayx.config.auth import auth_faults
from gatewayx.config.fault import ConfigError, Fault, Location
from gatewayx.config.model import GatewayConfig
from gatewayx.config.not_yet import refused_options
from gatewayx.config.rules import findings
from gatewayx.config.source import Source
from gatewayx.config.templates import parts, required_claims
from gatewayx.config.tls_files import tls_problems

_PHRASES = {
    "bool_type": "must be true or false",
    "dict_type": "must be a map",
    "greater_than_equal": "must be at least {ge}",
    "int_type": "must be a whole number",
    "less_than_equal": "must be at most {le}",
    "literal_error": "must be {expected}",
    "missing": "is required",
    "model_type": "must be a map",
    "string_too_short": "must not be empty",
    "string_type": "must be text: put it in quotes",
    "too_long": "must have at most {max_length} items",
    "tuple_type": "must be a list",
}


def validate(
    data: object,
    environ: Mapping[str, str],
    source: Source | None = None,
    *,
    secrets: Mapping[str, str] | None = None,
) -> GatewayConfig:
    """Check data and build the configuration from it.

    Args:
        data: What a file, a request body or a caller gave: mappings, lists and scalars.
        environ: The environment that header values refer to.
        secrets: The secrets that header values refer to; None where they are not at hand, and such
            references are taken for sound.
        source: The places of `data`, when it came from a file.

    Raises:
        ConfigError: With every fault, in the order of the file where there is one.
    """
    source = source or Source(None, data)
    config: GatewayConfig | None = None
    refused = dict(refused_options(data))
    faults = [source.fault(location, message) for location, message in refused.items()]
    faults += [source.fault(location, message) for location, message in findings(data)]
    faults += [source.fault(*fault) for fault in _header_faults(data, environ, secrets)]
    faults += [source.fault(*fault) for fault in auth_faults(data, environ)]
    faults += [source.fault(location, message) for location, message in tls_problems(data)]
    try:
        config = GatewayConfig.model_validate(data)
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            location = _location(detail)
            if not any(location[: len(option)] == option for option in refused):
                faults.append(_model_fault(detail, location, source))
    if faults or config is None:
        raise ConfigError(sorted(faults, key=lambda fault: (fault.line or 0, fault.column or 0)))
    return config


def _location(detail: ErrorDetails) -> Location:
    location = detail["loc"]
    return location[:-1] if location and location[-1] == "[key]" else location


def _model_fault(detail: ErrorDetails, location: Location, source: Source) -> Fault:
    kind = detail["type"]
    if kind == "extra_forbidden":
        return source.fault(location, _unknown_key(location), at_key=True)
    if kind == "value_error":
        message = str(detail["ctx"]["error"])
    elif not location and kind == "model_type":
        message = "is empty" if detail["input"] is None else "must be a map of settings"
    elif kind in _PHRASES:
        message = _PHRASES[kind].format_map(detail.get("ctx", {}))
    else:
        message = detail["msg"]
    return source.fault(location, message, at_key=detail["loc"] != location)


def _unknown_key(location: Location) -> str:
    known = _known_keys(location[:-1])
    nearest = difflib.get_close_matches(str(location[-1]), known, n=1)
    if nearest:
        return f"unknown key; did you mean {nearest[0]}?"
    return f"unknown key; known here: {', '.join(known)}"


def _known_keys(location: Location) -> list[str]:
    section: type[BaseModel] = GatewayConfig
    for step in location:
        if isinstance(step, str):
            section = next(_sections(section.model_fields[step].annotation))
    return list(section.model_fields)


def _sections(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models that an annotation names, however deep inside containers."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _sections(inner)


def _header_faults(
    data: object, environ: Mapping[str, str], secrets: Mapping[str, str] | None
) -> Iterator[tuple[Location, str]]:
    proxies = data.get("proxies") if isinstance(data, dict) else None
    for index, proxy in enumerate(proxies if isinstance(proxies, list | tuple) else ()):
        headers = proxy.get("headers") if isinstance(proxy, dict) else None
        for name, value in headers.items() if isinstance(headers, dict) else ():
            if not isinstance(value, str):
                continue
            place: Location = ("proxies", index, "headers", name)
            try:
                claims = list(required_claims(parts(value, environ, secrets)))
            except ValueError as error:
                yield place, str(error)
                continue
            if claims and is_public(proxy.get("access_rule", PUBLIC)):
                yield (
                    place,
                    f"needs a caller who is known, but access_rule lets everyone in: write"
                    f" @request.auth.{claims[0]}? for a value that may be missing",
                )
