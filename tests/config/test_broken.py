"""Broken configurations without number: one to five mistakes put into a good one. None is a traceback, every one is named."""

import dataclasses
import re
from collections.abc import Callable

import pytest
from hypothesis import example, given, seed, settings
from hypothesis import strategies as st

from handyrep.config.read import read_text

SEED = 20140517
"""Printed with the test's name by every run, so that a failure can be had again."""

Conf = dict[str, dict[str, str | None]]
"""Headings and their directives. A key with the value None is a whole line."""


def good() -> Conf:
    """A configuration in which every section has something to break."""
    return {
        "[handyrep]": {"cluster_name": "shop", "profile": "careful", "log_verbose": "yes", "plugins_dir": "/plugins"},
        "[passwords]": {"handyrep_db_pass": "'p, #%(x)s'", "superuser_pass": "x"},
        "[failover]": {"auto_failover": "on", "poll_interval": "2.5 s", "fail_retries": "4", "fence_methods": "fence_stop, other"},
        "[archive]": {"archiving": "False", "archive_directory": "/wal", "archive_server": "attic"},
        "[extra_failover_commands]": {},
        "[extra_failover_commands] [[tell]]": {"command": "teller", "parameters": "a, 'b, c'"},
        "[server_defaults]": {"pgdata": "/data", "port": "5433", "lag_limit": "10", "ssh_port": "2222"},
        "[servers]": {},
        "[servers] [[m1]]": {"hostname": "m1", "role": "master", "failover_priority": "1"},
        "[servers] [[r1]]": {"hostname": "r1", "role": "replica", "enabled": "true", "sslmode": "require"},
        "[servers] [[attic]]": {"hostname": "attic", "role": "archive"},
        "[plugins]": {},
        "[plugins] [[poll_isready]]": {"isready_path": "/usr/bin/pg_isready"},
    }  # fmt: skip


def written(conf: Conf) -> str:
    """The text of it. The innermost heading of a path is what stands in the file."""
    lines = []
    for heading, directives in conf.items():
        lines.append(re.sub(r"^\[\w+\] (?=\[\[)", "", heading))
        lines.extend(key if value is None else f"{key} = {value}" for key, value in directives.items())
    return "\n".join(lines) + "\n"


def with_server(conf: Conf, name: str, directives: dict[str, str | None]) -> str:
    """Put one more server where servers stand; returns its headings."""
    after = list(conf.items())
    conf.clear()
    for heading, values in after:
        conf[heading] = values
        if heading.startswith("[servers] [[attic]]"):
            conf[f"[servers] [[{name}]]"] = directives
    return f"[servers] [[{name}]]"


@dataclasses.dataclass(frozen=True)
class Mistake:
    """A kind of mistake: `make` breaks the configuration at a target and returns what a problem must contain."""

    name: str
    targets: tuple[tuple[str, str], ...]
    make: Callable[[Conf, str, str, int], tuple[str, ...]]


def _all(*headings: str) -> tuple[tuple[str, str], ...]:
    return tuple((heading, key) for heading in headings for key in good()[heading])


FIXED = tuple(heading for heading in good() if not heading.startswith("[plugins]"))
CHECKED = _all(*FIXED)


def _typo_in_key(conf: Conf, heading: str, key: str, at: int) -> tuple[str, ...]:
    typo = key[: 1 + at % (len(key) - 1)] + "q" + key[1 + at % (len(key) - 1) :]
    conf[heading] = {typo if name == key else name: value for name, value in conf[heading].items()}
    return heading, typo


def _typo_in_section(conf: Conf, heading: str, key: str, at: int) -> tuple[str, ...]:
    typo = f"{heading[: 1 + at % (len(heading) - 2)]}z{heading[1 + at % (len(heading) - 2) :]}"
    typo = heading.replace("]", "z]") if "[z" in typo else typo
    rows = list(conf.items())
    conf.clear()
    conf.update(
        {
            (typo + name[len(heading) :] if name == heading or name.startswith(f"{heading} ") else name): value
            for name, value in rows
        }
    )
    return typo, "is not a section"


def _unknown_section(conf: Conf, heading: str, key: str, at: int) -> tuple[str, ...]:
    conf[f"[zz{at}]"] = {"anything": "1"}
    return f"[zz{at}]", "is not a section"


def _replaced(*values: str) -> Callable[[Conf, str, str, int], tuple[str, ...]]:
    def make(conf: Conf, heading: str, key: str, at: int) -> tuple[str, ...]:
        conf[heading][key] = values[at % len(values)]
        return heading, key

    return make


def _repeated_key(conf: Conf, heading: str, key: str, at: int) -> tuple[str, ...]:
    conf[heading][f"{key} = {conf[heading][key]}"] = None
    return heading, key, "stands twice"


def _repeated_section(conf: Conf, heading: str, key: str, at: int) -> tuple[str, ...]:
    conf[f"{heading} # again"] = {}
    return heading, "stands twice"


def _stray_line(conf: Conf, heading: str, key: str, at: int) -> tuple[str, ...]:
    conf[heading][f"stray{at}"] = None
    hidden = heading.startswith(("[passwords]", "[plugins]"))
    return (heading, "is neither") if hidden else (heading, f"stray{at}", "is neither")


def _bad_heading(conf: Conf, heading: str, key: str, at: int) -> tuple[str, ...]:
    conf[f"[broken{at}"] = {}
    return f"[broken{at}]", "is opened by 1 '[' and closed by 0 ']'"


def _second_master(conf: Conf, heading: str, key: str, at: int) -> tuple[str, ...]:
    """Two more masters: the role of m1 may be broken as well."""
    names = [f"{name}{at}" for name in ("third", "second")]
    for name in names:
        with_server(conf, name, {"hostname": name, "role": "master"})
    return f"[servers] [[{names[0]}]]", "role", "is master"


def _same_place(conf: Conf, heading: str, key: str, at: int) -> tuple[str, ...]:
    twins = [f"{name}{at}" for name in ("twin", "other")]
    for name in twins:
        with_server(conf, name, {"hostname": "elsewhere", "role": "pgbouncer", "port": "7000"})
    return f"[servers] [[{twins[0]}]]", "hostname", "the same as those of"


def _bad_name(conf: Conf, heading: str, key: str, at: int) -> tuple[str, ...]:
    name = ("a b", "-x", "x;y", "$x", "ü", "a/b")[at % 6]
    return with_server(conf, name, {"hostname": f"h{at}"}), "is not a server's name"


MISTAKES = (
    Mistake("typo in key", CHECKED, _typo_in_key),
    Mistake("typo in section", tuple((h, "") for h in FIXED if "[[" not in h), _typo_in_section),
    Mistake("unknown section", (("nowhere", ""),), _unknown_section),
    Mistake("no boolean", (("[failover]", "auto_failover"), ("[handyrep]", "log_verbose"), ("[archive]", "archiving"), ("[servers] [[r1]]", "enabled")), _replaced("maybe", "2", "truee", "on, off")),
    Mistake("no interval", (("[failover]", "poll_interval"),), _replaced("soon", "1 fortnight", "-2", "0", "9 days", "1 2", "1e3")),
    Mistake("no number", (("[failover]", "fail_retries"), ("[server_defaults]", "port"), ("[server_defaults]", "ssh_port"), ("[servers] [[m1]]", "failover_priority")), _replaced("x", "-1", "1.5", "99999999", "0x10", "'1 2'")),
    Mistake("no choice", (("[handyrep]", "profile"), ("[servers] [[r1]]", "sslmode")), _replaced("often", "FAST", "none")),
    Mistake("no path", (("[archive]", "archive_directory"), ("[server_defaults]", "pgdata")), _replaced("wal", "/a/../b", "~/x")),
    Mistake("no host", (("[servers] [[m1]]", "hostname"), ("[servers] [[r1]]", "hostname")), _replaced("a b", "-x", "$(id)", "a;b", "a\tb", "'%s'")),
    Mistake("no plugin name", (("[extra_failover_commands] [[tell]]", "command"),), _replaced("../x", "a b", "a, b", "/x")),
    Mistake("control character", _all("[handyrep]", "[passwords]", "[archive]", "[plugins] [[poll_isready]]"), _replaced("'a\x07b'", "'a\x1b[31mb'", "'/a\x7f'", "'''a\x0bb'''")),
    Mistake("open quote", CHECKED, _replaced("'open", '"open', "'a' b", "'''open", "a,,b", ", a")),
    Mistake("no variable or file", _all("[passwords]"), _replaced("env:HANDYREP_UNSET", "file:/nowhere", "file:/", "'env:'")),
    Mistake("repeated key", CHECKED, _repeated_key),
    Mistake("repeated section", tuple((h, "") for h in FIXED if "[[" not in h), _repeated_section),
    Mistake("stray line", tuple((h, "") for h in good()), _stray_line),
    Mistake("bad heading", (("nowhere", ""),), _bad_heading),
    Mistake("second master", (("nowhere", ""),), _second_master),
    Mistake("same place", (("nowhere", ""),), _same_place),
    Mistake("bad server name", (("nowhere", ""),), _bad_name),
    Mistake("unknown server", (("[archive]", "archive_server"),), _replaced("attick", "m2")),
)  # fmt: skip

Injection = tuple[Mistake, tuple[str, str], int]


@st.composite
def injections(draw: st.DrawFn) -> list[Injection]:
    """One to five mistakes, no two at the same place; sections lose their names last, so that the others find them."""
    chosen: list[Injection] = []
    taken: set[tuple[str, str]] = set()
    for _ in range(draw(st.integers(1, 5))):
        mistake = draw(st.sampled_from(MISTAKES))
        target = draw(st.sampled_from(mistake.targets))
        place = (mistake.name, "") if target[0] == "nowhere" else target
        if place not in taken:
            taken.add(place)
            chosen.append((mistake, target, draw(st.integers(0, 20))))
    return sorted(chosen, key=lambda one: (one[0].make is _typo_in_section, one[1][0] == "nowhere"))


def _broken(chosen: list[Injection]) -> tuple[str, list[tuple[str, ...]]]:
    conf = good()
    expected = [mistake.make(conf, *target, at) for mistake, target, at in chosen]
    return written(conf), expected


def _renamed(expected: tuple[str, ...], misspelt: dict[str, str]) -> tuple[str, ...]:
    """A misspelt section is spoken of as it stands in the file."""
    heading, space, rest = expected[0].partition(" ")
    return (misspelt.get(heading, heading) + space + rest, *expected[1:])


def test_the_configuration_to_be_broken_is_good() -> None:
    assert read_text(written(good())).problems == ()


@seed(SEED)
@settings(max_examples=400)
@given(injections())
def test_every_mistake_is_named(chosen: list[Injection]) -> None:
    text, expected = _broken(chosen)
    misspelt = {
        target[0]: words[0]
        for (mistake, target, _), words in zip(chosen, expected, strict=True)
        if mistake.name == "typo in section"
    }
    loaded = read_text(text)
    assert loaded.settings is None, text
    for words in (_renamed(one, misspelt) for one in expected):
        named = [problem for problem in loaded.problems if all(word in problem for word in words)]
        assert named, f"{words} is not among {loaded.problems} for (seed {SEED})\n{text}"


@pytest.mark.parametrize("mistake", MISTAKES, ids=[mistake.name for mistake in MISTAKES])
def test_every_kind_is_named_at_every_place(mistake: Mistake) -> None:
    for target in mistake.targets:
        for at in range(7):
            text, (words,) = _broken([(mistake, target, at)])
            problems = read_text(text).problems
            assert any(all(word in problem for word in words) for problem in problems), (words, problems)


@seed(SEED)
@settings(max_examples=300)
@given(st.text(max_size=200))
@example("[handyrep]\n'\"")
@example("[[[\n]]]")
@example("\ufeff[handyrep]\r\n")
def test_no_text_is_a_traceback(text: str) -> None:
    assert read_text(text).settings is None


_LINES = st.sampled_from(
    ["[servers]", "[[m1]]", "[failover]", "[plugins]", "[[[x]]]", "role = master", "hostname = a", "a = '''", 'x""" = ,', "= =", "port = ,", "]", "#", "'a' = b", "fence_methods = ,"]
)  # fmt: skip


@seed(SEED)
@settings(max_examples=300)
@given(st.lists(_LINES, max_size=30))
def test_no_heap_of_lines_is_a_traceback(lines: list[str]) -> None:
    loaded = read_text("\n".join(lines))
    assert (loaded.settings is None) == bool(loaded.problems)
