"""What the documentation says about the configuration is true."""

import re
from pathlib import Path

import pytest
import yaml

from gatewayx.config import load_file, validate
from gatewayx.config.reference import page

ROOT = Path(__file__).resolve().parents[2]


def test_the_reference_is_up_to_date() -> None:
    written = (ROOT / "docs/CONFIGURATION.md").read_text(encoding="utf-8")
    assert written == page(), "run `make docs`"


def examples() -> list[tuple[str, str]]:
    """Every YAML block of the documentation that shows proxies, with the page that shows it."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    return [
        (page.name, block)
        for page in pages
        for block in re.findall(r"```yaml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
        if "proxies:" in block
    ]


def test_the_documentation_has_examples() -> None:
    assert {name for name, _ in examples()} >= {"README.md", "CONFIGURATION.md"}


@pytest.mark.parametrize(("name", "block"), examples())
def test_examples_of_the_documentation_are_valid(name: str, block: str) -> None:
    variables = dict.fromkeys(re.findall(r"\{env\.(\w+)\}", block), "x")
    assert validate(yaml.safe_load(block), variables).proxies


def test_the_configuration_of_the_demo_is_valid() -> None:
    assert load_file(ROOT / "examples/gateway.yaml", environ={}).proxies
