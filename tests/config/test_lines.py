"""The lines of the file: what ConfigObj is given, it reads, as it would have read it in a whole file."""

import pytest
from configobj import ConfigObj, ConfigObjError
from hypothesis import assume, given
from hypothesis import strategies as st

from handyrep.config.findings import Findings
from handyrep.config.lines import Line, Outline, readable

_PIECES = st.lists(
    st.sampled_from(["a", "b c", "'", '"', ",", " ", "#", "'x'", '"y"', "'''", '"""', "%(a)s", "=", "[", "\t", "é"]),
    max_size=12,
)


def _value(raw: str) -> str | tuple[str, ...] | None:
    """What comes of one value; None when it is refused."""
    findings = Findings()
    line = Outline(f"[s]\nk = {raw}\n", findings).sections["s",].lines.get("k")
    return None if line is None or findings.problems else readable(line, ("s",), findings)


def _configobj(raw: str) -> str | tuple[str, ...] | None:
    try:
        value = ConfigObj(["[s]", f"k = {raw}"], interpolation=False)["s"]["k"]
    except ConfigObjError:
        return None
    return value if isinstance(value, str) else tuple(value)


@given(_PIECES.map("".join))
def test_no_value_is_taken_that_configobj_would_not_take(raw: str) -> None:
    assert _value(raw) is None or _configobj(raw) is not None


@given(_PIECES.map("".join))
def test_what_is_taken_means_what_it_means_to_configobj(raw: str) -> None:
    """But for quotes in comments, which ConfigObj takes for quotes."""
    assume("#" not in raw)
    value = _value(raw)
    assert value is None or value == _configobj(raw)


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        ("a # 'b", "a"),
        ("'a' # b', c", "a"),
        ("a, b # c, d", ("a", "b")),
        ("'''a # b''' # c", "a # b"),
        ("# nothing", ""),
        ("a'b", "a'b"),
        ('"it\'s"', "it's"),
        (", # none", ()),
    ],
)
def test_comments_and_quotes(raw: str, value: object) -> None:
    assert _value(raw) == value


def test_a_long_value_keeps_its_lines() -> None:
    findings = Findings()
    outline = Outline("[plugins]\n[[p]]\nbody = '''one\n[two]\nthree = 3\n''' # end\nnext = 1\n", findings)
    lines = outline.sections["plugins", "p"].lines
    assert findings.problems == ()
    assert lines["body"].value == "one\n[two]\nthree = 3\n"
    assert lines["next"].number == 7


def test_a_value_without_end_is_refused() -> None:
    findings = Findings()
    outline = Outline("[plugins]\n[[p]]\nbody = " + "x" * 70_000 + "\n", findings)
    assert outline.sections["plugins", "p"].lines["body"].text == ""
    assert findings.problems == ("line 3: [plugins] [[p]] body has a value of more than 65536 characters",)


def test_sections_without_end_are_refused() -> None:
    findings = Findings()
    outline = Outline("".join(f"[s{number}]\na = 1\n" for number in range(2100)), findings)
    assert len(outline.sections) == 2001
    assert findings.problems[0] == "line 4001: [s2000] is one of more than 2000 sections"


def test_what_configobj_refuses_all_the_same_is_a_finding() -> None:
    findings = Findings()
    assert readable(Line(7, "k", "'open"), ("plugins", "p"), findings) is None
    assert findings.problems == ("line 7: [plugins] [[p]] k has a value that cannot be read",)


def test_warnings_without_end_are_cut() -> None:
    findings = Findings()
    for number in range(500):
        findings.warning(("s",), "k", "is odd", number + 1)
    assert len(findings.warnings) == 200


def test_findings_write_no_control_characters() -> None:
    findings = Findings()
    findings.problem(("a\x1b[31m",), "k\u202e", "must not", 1)
    assert findings.problems == ("line 1: [a\\x1b[31m] k\\u202e must not",)
