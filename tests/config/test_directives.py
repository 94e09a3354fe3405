"""Values: what a text means, that it can be written again, and that nonsense is refused with a reason."""

import re
from typing import Any

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from handyrep import directives
from handyrep.config.settings import SECTIONS, ExtraCommand
from handyrep.directives import (
    Directive,
    Type,
    ValueProblem,
    directives_of,
    interval_text,
    list_of,
    parse_interval,
    secret,
)
from handyrep.model.server import Server

EVERY_DIRECTIVE = [
    pytest.param(directive, id=f"{declared.__name__}.{key}")
    for declared in (*SECTIONS.values(), Server, ExtraCommand)
    for key, directive in directives_of(declared).items()
]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0.5", 0.5), ("2 s", 2), ("2s", 2), ("1 minute", 60), ("200 ms", 0.2), ("1.5 hours", 5400), (".5 s", 0.5),
     (" 3 Sec ", 3), ("1 day", 86400), ("60 seconds", 60), ("2 min", 120), ("0", 0)],
)  # fmt: skip
def test_intervals(text: str, seconds: float) -> None:
    assert parse_interval(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "s", "soon", "-1", "1 2", "1,5 s", "1 fortnight", "1e3", "nan", "inf", "9" * 400, "11 years", "4000 days"],
)
def test_what_is_no_interval_is_refused(text: str) -> None:
    with pytest.raises(ValueProblem):
        parse_interval(text)


@given(st.floats(0, 3e8))
def test_intervals_are_written_as_what_is_read(seconds: float) -> None:
    assert parse_interval(interval_text(seconds)) == seconds


@given(st.integers(0, 80_000), st.sampled_from(["ms", "s", "min", "h"]))
def test_written_intervals_mean_the_same(number: int, unit: str) -> None:
    seconds = parse_interval(f"{number} {unit}")
    assert parse_interval(interval_text(seconds)) == seconds


@given(st.floats(0.05, 1e6))
def test_written_intervals_are_short_for_round_times(seconds: float) -> None:
    rounded = float(round(seconds)) or 1.0
    assert re.fullmatch(r"\d+ (d|h|min|s)", interval_text(rounded))


TYPES: list[Type[Any]] = [
    directives.word, directives.host, directives.path, directives.boolean, directives.seconds, directives.integer(),
    directives.number(), directives.text, directives.choice("a"), list_of(directives.word), directives.service,
]  # fmt: skip


@given(st.text() | st.from_regex(r"[0-9]{1,4}( ?[a-z]{1,3})?", fullmatch=True), st.sampled_from(TYPES))
def test_a_text_is_refused_with_a_reason_or_means_what_it_is_shown_as(text: str, kind: Type[Any]) -> None:
    try:
        value = kind.parse(text)
    except ValueProblem as problem:
        event(f"refused: {len(str(problem)) > 0}")
        return
    assert kind.parse(kind.show(value)) == value


@given(
    st.lists(
        st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp", "Zs")), min_size=1).filter(
            lambda part: "'" not in part
        )
    )
)
def test_lists_keep_their_parts(parts: list[str]) -> None:
    assert list_of(directives.text).parse_list is not None
    assert Directive(list_of(directives.text), (), "").parse(parts) == tuple(parts)


@pytest.mark.parametrize(
    "word", ["-x", "a b", "a;b", "$(id)", "`id`", "a'b", 'a"b', "a\nb", "../a", "a/b", "é", "a" * 129, "%s", "a\\b"]
)
def test_words_reach_no_shell(word: str) -> None:
    with pytest.raises(ValueProblem):
        directives.word.parse(word)


@pytest.mark.parametrize(
    "host", ["-oProxyCommand=x", "a b", "a;b", "$(id)", "a'b", "a\nb", "a,b", "a=b", "a/b", "user@host"]
)
def test_hosts_are_hosts(host: str) -> None:
    with pytest.raises(ValueProblem):
        directives.host.parse(host)


@pytest.mark.parametrize("host", ["db1", "db1.example.com", "10.0.0.1", "::1", "[::1]", "fe80::1%eth0", "db_1"])
def test_usual_hosts_are_taken(host: str) -> None:
    assert directives.host.parse(host) == host


@pytest.mark.parametrize("directive", EVERY_DIRECTIVE)
def test_every_default_is_a_value_that_could_be_written(directive: Directive[object]) -> None:
    if directive.type is secret or directive.default in (None, "", ()):
        assert directive.parse("") == directive.default
        return
    written = directive.type.show(directive.default)
    again = directive.parse(written)
    assert again == directive.default or written.startswith("~")


@pytest.mark.parametrize("directive", EVERY_DIRECTIVE)
def test_every_directive_has_help(directive: Directive[object]) -> None:
    assert len(directive.help) > 5
    assert not directive.help.endswith(".")
