"""The parser: the same answer as the reference, and no text that stops it."""

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gatewayx.slo.agent.parse import LINE_LENGTH_MAX, parse, read_reference

WANTED = {"requests", "latency_bucket", "a:b"}

# Values that look like syntax: every piece that the fast path searches for.
pieces = st.sampled_from(
    ['",le="', ',le="5"', '"} ', "} ", '="', '",', ",", "=", "le=", "{", "}", "#", " # {"]
) | st.sampled_from(["\\", '"', "\n", "\t", " ", "x", "5", "+Inf", "é", "\u2028", "\x85", ""])
texts = st.lists(pieces, max_size=4).map("".join)
escaped = texts.map(
    lambda text: text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
)
raw = texts.map(lambda text: text.replace("\n", ""))
label_names = st.sampled_from(["a", "b", "le", "_c", "code", "__name__", "é", "1x", ""])
bounds = st.sampled_from(["5", "0.5", "+Inf", "1e3", "", "NaN", "x"])
numbers = st.one_of(
    st.integers(-5, 10**18).map(str),
    st.floats().map(str),
    st.sampled_from(["+Inf", "-Inf", "NaN", "1e400", "1_000", "0x10", "", "abc", "1.", ".5", "+5"]),
)
tails = st.sampled_from(
    ["", " 1700000000000", " -5", " 17.5", ' # {trace_id="x"} 0.5', ' 1 # {a="} "} 1 2', " x", "\r"]
)


@st.composite
def lines(draw):
    values = draw(st.sampled_from([escaped, raw]))
    labels = draw(
        st.lists(
            st.one_of(st.tuples(label_names, values), st.tuples(st.just("le"), bounds)),
            max_size=4,
        )
    )
    name = draw(
        st.sampled_from(["requests", "latency_bucket", "a:b", " requests", "requests ", ""])
    )
    body = ",".join(f'{label}="{value}"' for label, value in labels)
    body += draw(st.sampled_from(["", "", "", ",", ",,", " "]))
    braces = f"{{{body}}}" if labels or draw(st.booleans()) else ""
    space = draw(st.sampled_from([" ", " ", " ", "  ", "\t", ""]))
    return f"{name}{braces}{space}{draw(numbers)}{draw(tails)}"


def reference(line):
    """What the reference says of one line: (name, labels, value), with nan for a bad value."""
    stripped = line.strip()
    if not stripped or stripped.startswith("#"):
        return None
    try:
        name, labels, value = read_reference(stripped)
    except ValueError:
        return None
    return (name, dict(labels), value if math.isfinite(value) else None)


def plain(sample):
    labels = dict(sample.labels)
    if sample.le is not None:
        labels["le"] = sample.le
    return (sample.name, labels, None if math.isnan(sample.value) else sample.value)


@given(lines())
@example('requests{a=",le=",b="y"} 5')
@example('requests{a="x",le=",b="} 5')
@example('requests{a=",le="5""} 0')
@example('requests{a=",le="5",b=",c="y"} 0')
@example('requests{le="5"",a="y"} 0')
@example('latency_bucket{le="5",a="x"} 5')
@example('latency_bucket{a="x",le="5",b="y"} 5')
@example('requests{a="x=",b=",y"} 5')
@example('requests{a="} "} 5')
@example('requests{__name__="x"} 5')
@example('requests{a="x",a="y"} 5')
def test_agrees_with_the_reference(line):
    expected = reference(line)
    parsed = parse(f"{line}\n".encode(), WANTED)
    if expected is not None and expected[0] in WANTED:
        assert [plain(sample) for sample in parsed.samples] == [expected]
        assert parsed.bad_lines == (expected[2] is None)
        assert parsed.illegible_lines == 0
    else:
        assert all(math.isnan(sample.value) for sample in parsed.samples)
        assert parsed.bad_lines >= len(parsed.samples)


@given(st.lists(lines(), max_size=6))
def test_a_text_is_its_lines(several):
    one_by_one = [parse(f"{line}\n".encode(), WANTED) for line in several]
    together = parse("".join(f"{line}\n" for line in several).encode(), WANTED)
    assert [plain(sample) for sample in together.samples] == [
        plain(sample) for parsed in one_by_one for sample in parsed.samples
    ]
    for count in ("sample_lines", "bad_lines", "illegible_lines"):
        assert getattr(together, count) == sum(getattr(parsed, count) for parsed in one_by_one)


@given(st.binary(max_size=200))
def test_no_bytes_stop_it(text):
    parsed = parse(text, WANTED)
    assert parsed.illegible_lines <= parsed.bad_lines <= parsed.sample_lines


TEXT = b"""# HELP requests Requests.
# TYPE requests gauge
requests{code="200",path="/a\\"b\\\\c\\nd"} 12 1700000000000
requests{code="500"} 3
latency_bucket{le="5",code="200"} 7 # {trace_id="1"} 3.2
latency_bucket{code="200",le="+Inf"} 12
other{code="200"} 99
requests 5
# EOF
"""


def test_reads_what_collectors_write():
    parsed = parse(TEXT, WANTED)
    assert [plain(sample) for sample in parsed.samples] == [
        ("requests", {"code": "200", "path": '/a"b\\c\nd'}, 12),
        ("requests", {"code": "500"}, 3),
        ("latency_bucket", {"code": "200", "le": "5"}, 7),
        ("latency_bucket", {"code": "200", "le": "+Inf"}, 12),
        ("requests", {}, 5),
    ]
    assert (parsed.sample_lines, parsed.bad_lines, parsed.truncated) == (6, 0, False)
    assert parsed.samples[2].labels is parsed.samples[3].labels


def test_a_text_cut_anywhere_shows_no_value_it_did_not_have():
    values = {plain(sample)[2] for sample in parse(TEXT, WANTED).samples}
    for end in range(1, len(TEXT)):
        parsed = parse(TEXT[:end], WANTED)
        assert parsed.truncated == (TEXT[end - 1 : end] != b"\n")
        assert {plain(sample)[2] for sample in parsed.samples} <= values


@pytest.mark.parametrize(
    ("line", "legible"),
    [
        ('requests{code="200"} NaN', True),
        ('requests{code="200"} +Inf', True),
        ('requests{code="200"} 1e999', True),
        ('requests{code="200"} twelve', True),
        ('requests{code="200"}', True),
        ('requests{code="200} 5', False),
        ('requests{code="200",code="500"} 5', False),
        ("{} 5", False),
        ("}", False),
        ("requests{" + "a" * LINE_LENGTH_MAX + "} 5", False),
        ("requests{" + 'a="\\\\",' * LINE_LENGTH_MAX + "} 5", False),
    ],
)
def test_a_bad_line_is_counted_and_costs_only_itself(line, legible):
    parsed = parse(f'requests{{code="1"}} 1\n{line}\nrequests{{code="2"}} 2\n'.encode(), WANTED)
    good = [sample.value for sample in parsed.samples if not math.isnan(sample.value)]
    assert good == [1, 2]
    assert (parsed.bad_lines, parsed.illegible_lines) == (1, not legible)
    assert len(parsed.samples) == 2 + legible


def test_a_line_that_is_not_utf8_costs_only_itself():
    parsed = parse(b'requests{code="1"} 1\nrequests{code="\xff"} 5\nrequests{code="2"} 2\n', WANTED)
    assert [sample.value for sample in parsed.samples] == [1, 2]
    assert (parsed.bad_lines, parsed.illegible_lines) == (1, 1)


def test_what_is_not_wanted_is_not_judged():
    parsed = parse(b'other{code="200} x\nother NaN\n', WANTED)
    assert (parsed.samples, parsed.sample_lines, parsed.bad_lines) == ((), 2, 0)
