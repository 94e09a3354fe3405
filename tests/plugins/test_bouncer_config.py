"""pgbouncer.ini: what is rendered leads where it is meant to, or is refused before anybody gets it."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handyrep.errors import PluginError
from handyrep.plugins._bouncer_config import MARK, Target, parse_databases, render, targets, template_from

TEMPLATE = "[databases]\n{% for n, c in databases.items() %}\n{{ n }} = {{ c }}\n{% endfor %}\n[pgbouncer]\nlisten_port = 6432\n"
MASTER, ONE, TWO = ("m1", 5432), ("r1", 5433), ("fe80::1", 5434)
NOWHERE: frozenset[tuple[str, int]] = frozenset()
NAMES = st.text(string.ascii_letters + string.digits + "_.-", min_size=1, max_size=58)
ODD_NAMES = (
    "",
    " ",
    "with space",
    'q"uote',
    "it's",
    "a=b",
    "a;b",
    "#c",
    "a\nb",
    "a\r",
    "100%",
    "ünï",
    "*",
    "a*",
    "[x]",
    "%include x",
    "x" * 61,
    "pgbouncer",
    "\0",
    MARK,
)


def file_of(template: str, *names: str, extra: str = "", ours: frozenset[tuple[str, int]] = NOWHERE) -> str:
    wanted = targets(names or ("app",), MASTER, (), suffix="_ro", all_replicas=False)
    return render(template, wanted, extra, {}, ours).text


def test_read_only_names_lead_to_the_first_replica() -> None:
    assert targets(("a", "b", "a"), MASTER, (ONE, TWO), suffix="_ro", all_replicas=False) == {
        "a": Target("m1", 5432, "a"), "a_ro": Target("r1", 5433, "a"),
        "b": Target("m1", 5432, "b"), "b_ro": Target("r1", 5433, "b"),
    }  # fmt: skip


def test_with_all_replicas_each_has_a_number() -> None:
    assert targets(("a",), MASTER, (ONE, TWO), suffix="_ro", all_replicas=True) == {
        "a": Target("m1", 5432, "a"), "a_ro1": Target("r1", 5433, "a"), "a_ro2": Target("fe80::1", 5434, "a"),
    }  # fmt: skip


@pytest.mark.parametrize(("everyone", "name"), [(False, "a_ro"), (True, "a_ro1")])
def test_without_replicas_read_only_names_lead_to_the_master(everyone: bool, name: str) -> None:
    assert targets(("a",), MASTER, (), suffix="_ro", all_replicas=everyone)[name] == Target("m1", 5432, "a")


def test_a_name_that_would_stand_for_two_is_refused() -> None:
    with pytest.raises(PluginError, match="'a_ro' would stand for two"):
        targets(("a", "a_ro"), MASTER, (), suffix="_ro", all_replicas=False)


@pytest.mark.parametrize("name", ODD_NAMES)
def test_d9_a_name_that_pgbouncer_cannot_have_is_refused(name: str) -> None:
    with pytest.raises(PluginError, match="cannot be the name of a database in pgbouncer"):
        targets((name,), MASTER, (), suffix="_ro", all_replicas=False)


@given(st.lists(NAMES, min_size=1, max_size=5, unique=True), st.booleans())
def test_d9_what_is_rendered_is_read_back_the_same(names: list[str], everyone: bool) -> None:
    try:
        wanted = targets(names, MASTER, (ONE, TWO), suffix="-r.o_", all_replicas=everyone)
    except PluginError:
        return
    file = render(TEMPLATE, wanted, "application_name='it''s # ; me'", {}, NOWHERE)
    assert parse_databases(file.text) == dict(file.databases)
    assert file.databases.keys() == {*wanted, MARK}


@given(st.text(max_size=40))
def test_any_text_for_a_host_is_carried_or_refused(host: str) -> None:
    wanted = {"a": Target(host, 5432, "a")}
    try:
        file = render(TEMPLATE, wanted, "", {}, NOWHERE)
    except PluginError:
        return
    assert parse_databases(file.text)["a"] == Target(host, 5432, "a")


BROKEN = {
    "no such variable": "[databases]\n{{ nothing_of_that_name }}\n",
    "a syntax error of Jinja": "{% for %}",
    "not closed": "{{ databases",
    "a division by zero": "{{ 1 // 0 }}",
    "code": "{{ databases.__class__.__mro__ }}",
    "empty": "",
    "no databases": "[pgbouncer]\nlisten_port = 1\n",
    "only some": "[databases]\napp = {{ databases['app'] }}\n",
    "another host": "[databases]\napp = host=elsewhere port=5432 dbname=app\napp_ro = {{ databases['app'] }}\n",
    "another host further down": TEMPLATE + "[databases]\napp = host=elsewhere dbname=app\n",
    "all databases": TEMPLATE + "[databases]\n* = host=m1\n",
    "a line that is none": TEMPLATE + "nonsense\n",
    "a key before any section": "x = 1\n" + TEMPLATE,
    "a header that is not closed": TEMPLATE + "[users\n",
    "a quoted name": TEMPLATE + '[databases]\n"a b" = host=m1\n',
    "an empty value": TEMPLATE + "[databases]\nx = host=''\n",
    "a quote that is not closed": TEMPLATE + "[databases]\nx = host='m\n",
    "text after a quote": TEMPLATE + "[databases]\nx = host='m'n\n",
}


@pytest.mark.parametrize("name", BROKEN)
def test_d6_a_template_that_is_broken_is_never_pushed(name: str) -> None:
    with pytest.raises(PluginError):
        file_of(BROKEN[name])


def test_a_name_of_the_template_may_not_lead_to_the_cluster() -> None:
    template = TEMPLATE + "[databases]\ndirect = host=m1 port=5432\nother = host=elsewhere\n"
    assert "other = host=elsewhere" in file_of(template, ours=frozenset({("m1", 5433)}))
    with pytest.raises(PluginError, match="'direct' leads to a server of the cluster"):
        file_of(template, ours=frozenset({("m1", 5432)}))


def test_what_extra_connect_param_says_may_not_lead_elsewhere() -> None:
    assert "pool_size=5" in file_of(TEMPLATE, extra=" pool_size=5 ")
    with pytest.raises(PluginError, match="does not lead where it should"):
        file_of(TEMPLATE, extra="host=elsewhere")
    with pytest.raises(PluginError, match="control characters"):
        file_of(TEMPLATE, extra="user=x\nadmin_users = y")


def test_includes_comments_and_sections_of_the_template_survive() -> None:
    rest = "; a comment\n%include /etc/pgbouncer/more.ini\n[users]\njoe = pool_mode=session\n"
    assert rest in file_of(TEMPLATE + rest)


def test_the_mark_tells_one_file_from_another() -> None:
    one, two = (file_of(TEMPLATE, extra=extra).splitlines()[-1] for extra in ("", "pool_size=5"))
    assert one.startswith(f"{MARK} = host=127.0.0.1 port=1 dbname=")
    assert one != two


def test_a_template_is_made_from_the_file_that_is_there() -> None:
    there = "; mine {{ not jinja }}\n[databases]\n; old\nx = host=gone\n\n[users]\njoe = pool_size=1\n[pgbouncer]\nauth_query = select '{%'\n"
    made = file_of(template_from(there))
    assert "; mine {{ not jinja }}" in made
    assert "auth_query = select '{%'" in made
    assert "joe = pool_size=1" in made
    assert parse_databases(made).keys() == {"app", "app_ro", MARK}
