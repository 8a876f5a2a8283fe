"""The blanking that the token rules stand on."""

import pytest

from tests.tidy.rust_source import code_of, production_code_of


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("a(); // unwrap()", "a();"),
        ("/// unwrap()\nb()", "b()"),
        ("a /* x /* unwrap() */ y */ b", "a b"),
        ('f("unwrap() \\" // x") + 1', "f( ) + 1"),
        ('f(r#"unwrap() " "#) + r"\\"', "f( ) +"),
        ('f(b"unwrap()", c"x", br##"y"# "##)', "f( , , )"),
        ("f('\"', b'\\'', '\\u{1F600}', '/')", "f( , , , )"),
        ("fn f<'a>(x: &'a str) -> &'a str { x }", "fn f<'a>(x: &'a str) -> &'a str { x }"),
        ("a / b * c", "a / b * c"),
    ],
)
def test_comments_and_literals_are_blank(text: str, kept: str) -> None:
    blanked = code_of(text)
    assert " ".join(blanked.split()) == kept
    assert [len(line) for line in blanked.split("\n")] == [len(line) for line in text.split("\n")]


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("a(); #[cfg(test)] mod tests { fn x() { unwrap() } } b();", "a(); b();"),
        ("#[cfg(test)]\nmod tests;\nb();", "b();"),
        ("#[cfg(all(test, not(loom)))] mod tests { {} } b();", "b();"),
        ("#[cfg(test)] use x::{y, z}; b();", "b();"),
        ("#[cfg(loom)] mod x { }", "#[cfg(loom)] mod x { }"),
        ("#[cfg(not(test))] fn x() {}", "#[cfg(not(test))] fn x() {}"),
    ],
)
def test_items_that_only_tests_see_are_blank(text: str, kept: str) -> None:
    blanked = production_code_of(text)
    assert " ".join(blanked.split()) == kept
    assert blanked.count("\n") == text.count("\n")
