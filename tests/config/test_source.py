"""Reading files: places of keys and values, and what is refused before any setting is looked at."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayx.config.fault import ConfigError, dotted
from gatewayx.config.json_places import JsonPlaces
from gatewayx.config.source import FILE_MAX_BYTES, Source, read_source


def read(folder: Path, name: str, text: str | bytes) -> Source:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_source(path)


def refusal(folder: Path, name: str, text: str | bytes) -> str:
    with pytest.raises(ConfigError) as caught:
        read(folder, name, text)
    return str(caught.value).replace(f"{folder}/", "")


def test_yaml_places(tmp_path: Path) -> None:
    source = read(tmp_path, "a.yaml", "a: 1\nb:\n  - c: x\n    d: [1, 22]\n")
    assert source.data == {"a": 1, "b": [{"c": "x", "d": [1, 22]}]}
    assert source.keys[("b", 0, "d")] == (4, 5)
    assert source.values[("b", 0, "d")] == (4, 8)
    assert source.values[("b", 0, "d", 1)] == (4, 12)


def test_json_places(tmp_path: Path) -> None:
    source = read(tmp_path, "a.json", '{"a": 1,\n "b": [\n{"c": "}\\""}, true]}')
    assert source.data == {"a": 1, "b": [{"c": '}"'}, True]}
    assert source.keys[("b",)] == (2, 2)
    assert source.values[("b", 0, "c")] == (3, 7)
    assert source.values[("b", 1)] == (3, 15)


def test_toml_is_read_without_places(tmp_path: Path) -> None:
    source = read(tmp_path, "a.toml", "[a]\nb = [1]\n")
    assert source.data == {"a": {"b": [1]}}
    assert str(source.fault(("a", "b", 0), "odd")) == f"{tmp_path}/a.toml: a.b[0]: odd"


def test_a_place_falls_back_to_what_is_around_it(tmp_path: Path) -> None:
    source = read(tmp_path, "a.yaml", "a:\n  b: {}\n")
    assert str(source.fault(("a", "b", "c", 3), "odd")).endswith("a.yaml:2:6: a.b.c[3]: odd")


def test_yaml_anchors_and_merge_keys_work(tmp_path: Path) -> None:
    text = "base: &base {dial: 1}\na: *base\nb: {<<: *base, idle: 2}\n"
    source = read(tmp_path, "a.yml", text)
    assert source.data == {"base": {"dial": 1}, "a": {"dial": 1}, "b": {"dial": 1, "idle": 2}}


def test_a_byte_order_mark_is_not_content(tmp_path: Path) -> None:
    assert read(tmp_path, "a.json", b"\xef\xbb\xbf{}").data == {}


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.ini", "", "a.ini: unknown kind of file: use .yaml, .yml, .toml, .json"),
        ("a.yaml", "a: [1\nb: 2\n", "a.yaml:2:2: is not YAML: "),
        ("a.yaml", "a: 1\n---\nb: 2\n", "a.yaml:2:1: is not YAML: but found another document"),
        ("a.yaml", "a: 1\nb: 2\na: 3\n", "a.yaml:3:1: a: is there twice"),
        (
            "a.yaml",
            "a: {on: 1}\n",
            "a.yaml:1:5: a: has a key that is not text 'on': write it in quotes",
        ),
        ("a.yaml", "? [x]\n: 1\n", "a.yaml:1:3: has a key that is not text"),
        ("a.yaml", "a: !!python/name:os.system\n", "a.yaml:1:4: is not YAML: "),
        ("a.yaml", "a: 2024-13-45\n", "a.yaml: is not YAML: "),
        ("a.yaml", "a: \x07\n", "a.yaml: is not YAML: "),
        ("a.json", '{"a": 1,}', "a.json:1:9: is not JSON: "),
        ("a.json", "", "a.json:1:1: is not JSON: "),
        ("a.json", '{"a": NaN}', "a.json: is not JSON: NaN is not a JSON number"),
        ("a.json", '{"a": {"b": 1, "b": 2}}', "a.json:1:16: a.b: is there twice"),
        ("a.json", "[" * 100_000, "a.json: is nested too deeply"),
        ("a.toml", "a = \nb = 1", "a.toml:1:5: is not TOML: "),
        ("a.toml", "a = [1", "a.toml: is not TOML: "),
        ("a.toml", "a = 1\na = 2\n", "a.toml:2:6: is not TOML: "),
        ("a.yaml", b"a: 1\nb: \xff\n", "a.yaml:2:4: is not UTF-8"),
    ],
)
def test_refused_documents(tmp_path: Path, name: str, text: str | bytes, said: str) -> None:
    assert refusal(tmp_path, name, text).startswith(said)


def test_a_missing_file_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: No such file or directory"):
        read_source(tmp_path / "none.yaml")


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    assert (
        refusal(tmp_path, "a.yaml", b"#" * (FILE_MAX_BYTES + 1)) == "a.yaml: is larger than 4 MiB"
    )


def test_aliases_that_grow_without_bound_are_refused(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    assert "holds more than 200000 values" in refusal(tmp_path, "a.yaml", "\n".join(lines))


def test_an_alias_that_holds_itself_is_refused(tmp_path: Path) -> None:
    assert "more than 32 levels" in refusal(tmp_path, "a.yaml", "a: &a [*a]\n")


_documents = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(_documents, st.sampled_from([None, 0, 3]), st.booleans())
def test_json_places_point_at_the_values(
    document: object, indent: int | None, ascii_only: bool
) -> None:
    """The oracle: what stands at a place decodes to the value at that location."""
    text = json.dumps(document, indent=indent, ensure_ascii=ascii_only)
    places = JsonPlaces(text)
    lines = text.split("\n")
    decoder = json.JSONDecoder()

    def stands_at(mark: tuple[int, int]) -> object:
        line, column = mark
        rest = "\n".join([lines[line - 1][column - 1 :], *lines[line:]])
        return decoder.raw_decode(rest)[0]

    def locations(value: object, location: tuple[str | int, ...]) -> int:
        assert stands_at(places.values[location]) == value, dotted(location)
        inner = list(enumerate(value)) if isinstance(value, list) else []
        if isinstance(value, dict):
            inner = list(value.items())
            for key in value:
                assert stands_at(places.keys[(*location, key)]) == key
        return 1 + sum(locations(item, (*location, step)) for step, item in inner)

    assert locations(document, ()) == len(places.values)
    assert places.repeated == []
