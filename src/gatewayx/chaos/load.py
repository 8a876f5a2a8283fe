"""The ways to policies: from files, directories, standard input, and data of a request.

Whatever is wrong with any of them is reported at once, with its place; then none is used.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from gatewayx.chaos.model import Policy
from gatewayx.config import ConfigError, Fault
from gatewayx.config.fault import Location
from gatewayx.config.source import Source, read_documents

SUFFIXES = (".yaml", ".yml", ".json")
"""Files of a directory that hold policies."""

_PHRASES = {
    "bool_type": "must be true or false",
    "float_type": "must be a number",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "int_type": "must be a whole number",
    "less_than_equal": "must be at most {le}",
    "literal_error": "must be {expected}",
    "missing": "is required",
    "model_type": "must be a map",
    "string_too_long": "must have at most {max_length} characters",
    "string_too_short": "must not be empty",
    "string_type": "must be text: put it in quotes",
    "too_long": "must have at most {max_length} items",
    "tuple_type": "must be a list",
}


def load_policies(place: str) -> list[Policy]:
    """Read every policy of a file, of a directory's YAML and JSON files, or of `-`.

    Raises:
        ConfigError: With every fault of every document.
    """
    sources: list[Source] = []
    faults: list[Fault] = []
    for name, text in _texts(place):
        try:
            sources += read_documents(name, text)
        except ConfigError as error:
            faults += error.faults
    policies = _collect(sources, faults)
    if not policies:
        raise ConfigError([Fault("", "holds no policy", place)])
    return policies


def policies_of(documents: Iterable[object]) -> list[Policy]:
    """Policies of data that a request brought. Raises `ConfigError` with every fault of all."""
    sources = [Source(None, data) for data in documents]
    return _collect(sources, [])


def _texts(place: str) -> Iterable[tuple[str, str]]:
    if place == "-":
        yield "-", sys.stdin.read()
        return
    path = Path(place)
    try:
        paths = [path]
        if path.is_dir():
            paths = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES)
        for file in paths:
            yield str(file), file.read_text("utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigError([Fault("", "is not UTF-8", place)]) from None
    except OSError as error:
        raise ConfigError([Fault("", error.strerror or str(error), place)]) from None


def _collect(sources: list[Source], faults: list[Fault]) -> list[Policy]:
    policies: dict[str, Policy] = {}
    several = len(sources) > 1
    for index, source in enumerate(sources):
        prefix = f"[{index}]" if several and source.name is None else ""
        try:
            policy = Policy.model_validate(source.data)
        except ValidationError as error:
            faults += _faults(error, source, prefix)
            continue
        if policy.name in policies:
            message = f"{policy.name} is there twice"
            faults.append(_placed(source, ("metadata", "name"), message, prefix))
        policies[policy.name] = policy
    if faults:
        raise ConfigError(faults)
    return list(policies.values())


def _faults(error: ValidationError, source: Source, prefix: str) -> list[Fault]:
    found = []
    for detail in error.errors(include_url=False):
        unknown = detail["type"] == "extra_forbidden"
        location = _without_branches(detail["loc"])
        message = _unknown_key(location) if unknown else _message(detail)
        fault = _placed(source, location, message, prefix, at_key=unknown)
        # A number that is neither of two kinds of number is one fault.
        if fault not in found:
            found.append(fault)
    return sorted(found, key=lambda fault: (fault.line or 0, fault.column or 0))


def _without_branches(location: Location) -> Location:
    """pydantic adds the kind of number that it tried last."""
    return location[:-1] if location and location[-1] in ("int", "float") else location


def _placed(
    source: Source, location: Location, message: str, prefix: str, *, at_key: bool = False
) -> Fault:
    fault = source.fault(location, message, at_key=at_key)
    path = ".".join(part for part in (prefix, fault.path) if part)
    return Fault(path, fault.message, fault.file, fault.line, fault.column)


def _message(detail: ErrorDetails) -> str:
    context: dict[str, Any] = detail.get("ctx", {})
    if detail["type"] in _PHRASES and detail["loc"][-1:] == ("float",):
        return _PHRASES["float_type"]
    if detail["type"] == "int_type" and detail["loc"][-1:] == ("int",):
        return _PHRASES["float_type"]
    if detail["type"] in _PHRASES:
        return _PHRASES[detail["type"]].format_map(context)
    return detail["msg"].removeprefix("Value error, ")


def _unknown_key(location: Location) -> str:
    known = _known_keys(location[:-1])
    nearest = difflib.get_close_matches(str(location[-1]), known, n=1)
    if nearest:
        return f"unknown key; did you mean {nearest[0]}?"
    return f"unknown key; known here: {', '.join(known)}"


def _known_keys(location: Location) -> list[str]:
    section: type[BaseModel] = Policy
    for step in location:
        if isinstance(step, str):
            section = _section_in(section.model_fields[step].annotation) or section
    return list(section.model_fields)


def _section_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (_section_in(inner) for inner in get_args(annotation))
    return next((section for section in found if section is not None), None)
