"""Rust source with everything blanked out that is not production code, line numbers kept.

Not a parser: it knows comments, the forms of string and character literals, and that the item
behind `#[cfg(test)]` ends with its braces or its semicolon. That is enough to look for tokens
without being fooled by prose.
"""

import re

_OPAQUE = re.compile(
    r"""
    //[^\n]*                                   # line comment, doc comments too
  | /\*                                        # block comment; nested, so it is closed by hand
  | \b(?:br|cr|r)(?P<hashes>\#*)".*?"(?P=hashes)   # raw string
  | [bc]?"(?:[^"\\]|\\.)*"                   # string
  | b?'(?:[^'\\\n]|\\(?:x..|u\{[^}]*\}|.))'    # character; a lifetime has no closing quote
    """,
    re.VERBOSE | re.DOTALL,
)
_TEST_ONLY = re.compile(r"#\[cfg\((?:test|all\(test\b[^\]]*|any\(test\b[^\]]*)\)\]")


def code_of(text: str) -> str:
    """The same text with comments and the content of literals blanked."""
    out: list[str] = []
    index = 0
    while match := _OPAQUE.search(text, index):
        out.append(text[index : match.start()])
        index = _end_of_block_comment(text, match.start()) if match[0] == "/*" else match.end()
        out.append(_blank(text[match.start() : index]))
    out.append(text[index:])
    return "".join(out)


def production_code_of(text: str) -> str:
    """The same, with items that only tests see blanked as well."""
    code = code_of(text)
    while match := _TEST_ONLY.search(code):
        end = _end_of_item(code, match.end())
        code = code[: match.start()] + _blank(code[match.start() : end]) + code[end:]
    return code


def _end_of_block_comment(text: str, start: int) -> int:
    depth = 0
    for match in re.compile(r"/\*|\*/").finditer(text, start):
        depth += 1 if match[0] == "/*" else -1
        if depth == 0:
            return match.end()
    return len(text)


def _end_of_item(code: str, start: int) -> int:
    """Behind the first semicolon outside braces, or the brace that closes the first one."""
    depth = 0
    for match in re.compile(r"[{;]|\}(?:\s*;)?").finditer(code, start):
        depth += {"{": 1, "}": -1, ";": 0}[match[0][0]]
        if depth == 0:
            return match.end()
    return len(code)


def _blank(text: str) -> str:
    return re.sub(r"[^\n]", " ", text)
