"""Reading a configuration file: text in, plain data and the place of every key and value out.

Formats are chosen by the file's suffix. Refused, because two readers could take them differently: a
key given twice, a key that is not text, more than one YAML document. Bounded: bytes, depth and
values, counting what YAML aliases repeat. TOML places are key paths only, since its parser keeps no
positions; YAML and JSON places are lines and columns.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from gatewayx.config.fault import ConfigError, Fault, Location, dotted
from gatewayx.config.json_places import JsonPlaces

FILE_MAX_BYTES = 4 << 20
DEPTH_MAX = 32
VALUES_MAX_COUNT = 200_000

Mark = tuple[int, int]
"""Line and column, both counted from 1."""

_TOML_PLACE = re.compile(r"\s*\(at (?:line (\d+), column (\d+)|end of document)\)\Z")


@dataclass(frozen=True, slots=True)
class Source:
    """A document that has been read.

    Attributes:
        name: As the user gave it.
        data: Mappings, lists and scalars.
        keys: Where each key of a mapping is written.
        values: Where each value starts.
    """

    name: str | None
    data: object
    keys: dict[Location, Mark] = field(default_factory=dict)
    values: dict[Location, Mark] = field(default_factory=dict)

    def fault(self, location: Location, message: str, *, at_key: bool = False) -> Fault:
        """A fault at a location, or at the nearest place around it that is written down."""
        mark = self.keys.get(location) if at_key else None
        around = location
        while mark is None:
            mark = self.values.get(around)
            if not around:
                break
            around = around[:-1]
        line, column = mark or (None, None)
        return Fault(dotted(location), message, self.name, line, column)


def read_source(path: Path) -> Source:
    """Read a file. Raises `ConfigError` when it is not in the format that its suffix promises."""
    name = str(path)
    read = _READERS.get(path.suffix.lower())
    if read is None:
        raise ConfigError([Fault("", f"unknown kind of file: use {', '.join(_READERS)}", name)])
    try:
        with path.open("rb") as file:
            raw = file.read(FILE_MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError([Fault("", error.strerror or str(error), name)]) from None
    if len(raw) > FILE_MAX_BYTES:
        raise ConfigError([Fault("", f"is larger than {FILE_MAX_BYTES >> 20} MiB", name)])
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        column = error.start - raw.rfind(b"\n", 0, error.start)
        raise ConfigError([Fault("", "is not UTF-8", name, line, column)]) from None
    try:
        return read(name, text)
    except RecursionError:
        raise ConfigError([Fault("", "is nested too deeply", name)]) from None


def read_documents(name: str, text: str) -> list[Source]:
    """Read a text of any number of YAML documents, or of one of JSON; empty ones are left out.

    Raises:
        ConfigError: When it is not YAML; with the faults of every document.
    """
    if len(text) > FILE_MAX_BYTES:
        raise ConfigError([Fault("", f"is larger than {FILE_MAX_BYTES >> 20} MiB", name)])
    try:
        return [source for source in _yaml_documents(name, text) if source.data is not None]
    except RecursionError:
        raise ConfigError([Fault("", "is nested too deeply", name)]) from None


def _read_yaml(name: str, text: str) -> Source:
    documents = _yaml_documents(name, text, single=True)
    return documents[0] if documents else Source(name, None)


def _yaml_documents(name: str, text: str, *, single: bool = False) -> list[Source]:
    sources: list[Source] = []
    faults: list[Fault] = []
    try:
        loader = yaml.SafeLoader(text)
        for node in _nodes(loader, single=single):
            source = Source(name, None)
            # The walk comes first: construction flattens merge keys into the nodes.
            found = list(_walk_yaml(source, node))
            faults += found
            if not found:
                data = loader.construct_document(node)
                sources.append(Source(name, data, source.keys, source.values))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (None, None)
        message = f"is not YAML: {error.problem or error.context}"
        raise ConfigError([*faults, Fault("", message, name, line, column)]) from None
    except (
        yaml.YAMLError,
        ValueError,
    ) as error:  # characters outside YAML; dates outside the calendar
        raise ConfigError([*faults, Fault("", f"is not YAML: {error}", name)]) from None
    if faults:
        raise ConfigError(faults)
    return sources


def _nodes(loader: yaml.SafeLoader, *, single: bool) -> Iterator[yaml.Node]:
    if single:
        nodes = iter([loader.get_single_node()])
    else:
        nodes = iter(lambda: loader.get_node() if loader.check_node() else None, None)
    yield from (node for node in nodes if node is not None)


def _walk_yaml(source: Source, root: yaml.Node) -> Iterator[Fault]:
    """Note every place; yield what is refused. Depth is a limit here, not the stack's end."""
    stack: list[tuple[Location, yaml.Node]] = [((), root)]
    count = 0
    while stack:
        location, node = stack.pop()
        source.values.setdefault(location, _mark(node))
        count += 1
        if len(location) > DEPTH_MAX or count > VALUES_MAX_COUNT:
            yield source.fault(
                (), f"holds more than {VALUES_MAX_COUNT} values, or more than {DEPTH_MAX} levels"
            )
            return
        if isinstance(node, yaml.SequenceNode):
            stack.extend(((*location, index), item) for index, item in enumerate(node.value))
        elif isinstance(node, yaml.MappingNode):
            seen: set[str] = set()
            for key, value in node.value:
                if key.tag == "tag:yaml.org,2002:merge":
                    continue
                if not isinstance(key, yaml.ScalarNode) or key.tag != "tag:yaml.org,2002:str":
                    shown = (
                        f" {key.value!r}: write it in quotes"
                        if isinstance(key, yaml.ScalarNode)
                        else ""
                    )
                    yield Fault(
                        dotted(location),
                        f"has a key that is not text{shown}",
                        source.name,
                        *_mark(key),
                    )
                    continue
                inner = (*location, key.value)
                if key.value in seen:
                    yield Fault(dotted(inner), "is there twice", source.name, *_mark(key))
                seen.add(key.value)
                source.keys[inner] = _mark(key)
                stack.append((inner, value))


def _mark(node: yaml.Node) -> Mark:
    return node.start_mark.line + 1, node.start_mark.column + 1


def _read_toml(name: str, text: str) -> Source:
    try:
        return Source(name, tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        place = _TOML_PLACE.search(str(error))
        line, column = (int(place[1]), int(place[2])) if place and place[1] else (None, None)
        message = f"is not TOML: {_TOML_PLACE.sub('', str(error))}"
        raise ConfigError([Fault("", message, name, line, column)]) from None


def _read_json(name: str, text: str) -> Source:
    try:
        data = json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        message = f"is not JSON: {error.msg}"
        raise ConfigError([Fault("", message, name, error.lineno, error.colno)]) from None
    except ValueError as error:  # a constant such as NaN; a number with too many digits
        raise ConfigError([Fault("", f"is not JSON: {error}", name)]) from None
    places = JsonPlaces(text)
    if places.repeated:
        faults = (Fault(dotted(at), "is there twice", name, *mark) for at, mark in places.repeated)
        raise ConfigError(faults)
    return Source(name, data, places.keys, places.values)


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not a JSON number")


_READERS: dict[str, Callable[[str, str], Source]] = {
    ".yaml": _read_yaml,
    ".yml": _read_yaml,
    ".toml": _read_toml,
    ".json": _read_json,
}
