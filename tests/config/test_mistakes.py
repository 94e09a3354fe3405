"""Every kind of mistake in handyrep.conf, with its line, its place and what would be right."""

import pytest

from handyrep.config.read import read_text
from tests.config.texts import MINIMAL

MISTAKES = [
    # text added to the minimal configuration, what one problem must say
    ("[failover]\npoll_intervall = 3", "line 12: [failover] poll_intervall is not a directive of this section; did you mean poll_interval?"),
    ("[failover]\nPoll_Interval = 3", "did you mean poll_interval?"),
    ("[failover]\nquorum = 3", "line 12: [failover] quorum is not a directive of this section"),
    ("[failover]\nlog_verbose = True", "[failover] log_verbose is not a directive of this section; it belongs in [handyrep]"),
    ("[archive]\nhostname = x", "it belongs in [servers] [[name]]"),
    ("[archive]\nport = 5432", "it belongs in [servers] [[name]] or [server_defaults]"),
    ("[failver]\npoll_interval = 3", "line 11: [failver] is not a section; did you mean failover?"),
    ("[failver]\npoll_intervl = 3", "line 12: [failver] poll_intervl is not a directive of this section; did you mean poll_interval?"),
    ("[zebra]\na = 3", "line 11: [zebra] is not a section"),
    ("[failover]\nauto_failover = maybe", "line 12: [failover] auto_failover must be True or False, not 'maybe'"),
    ("[failover]\npoll_interval = soon", "line 12: [failover] poll_interval must be a time such as"),
    ("[failover]\npoll_interval = 3 parsecs", "must be a time such as"),
    ("[failover]\npoll_interval = -1", "must be a time such as"),
    ("[failover]\npoll_interval = 0", "must be a time from 50 ms to 1 h, not '0'"),
    ("[failover]\ncall_timeout = 0 s", "must be a time from 50 ms to 1 h"),
    ("[failover]\nfail_retries = 2.5", "must be a whole number, not '2.5'"),
    ("[failover]\nfail_retries = 1, 2", "must be a whole number, not a list"),
    ("[failover]\nmax_lost_wal = nan", "must be a number between"),
    ("[failover]\npoll_method = ../evil", "[failover] poll_method must be letters, digits"),
    ("[failover]\nfence_methods = fence_stop, 'a b'", "[failover] fence_methods must be letters, digits"),
    ("[failover]\nfence_methods = fence_stop, ''", "must not contain an empty value"),
    ("[failover]\nfail_retries = 1\nfail_retries = 1", "line 13: [failover] fail_retries stands twice, first on line 12"),
    ("[failover]\n[archive]\n[failover]", "line 13: [failover] stands twice, first on line 11: join the two"),
    ("[failover]\n[archive]\n[failover]\nfail_retry_intrval = 3", "line 14: [failover] fail_retry_intrval is not a directive"),
    ("[servers]\n[[r1]]", "line 12: [servers] [[r1]] stands twice, first on line 9"),
    ("[failover]\n[[inner]]\na = 1", "line 12: [failover] [[inner]] is a subsection, and [failover] takes none"),
    ("[plugins]\n[[p]]\n[[[q]]]\na = 1", "line 13: [plugins] [[p]] [[[q]]] is a subsection, and [plugins] [[p]] takes none"),
    ("[failover]\n[[archive]]\narchiving = True", "did you mean archive?"),
    ("[failover", "line 11: [failover] is opened by 1 '[' and closed by 0 ']'"),
    ("[[failover]", "line 11: [servers] [[failover]] is opened by 2 '[' and closed by 1 ']'"),
    ("[failover] x", "line 11: [failover] is followed by something on the line of its heading"),
    ("[]", "line 11: [servers] [[r1]] is followed by a heading that cannot be read"),
    ("[a]\n[[[b]]]", "line 12: [a] [[b]] stands 3 '[' deep without a section around it"),
    ("[failover]\nremaster", "line 12: [failover] remaster is neither [section] nor key = value nor # comment"),
    ("[failover]\n= 3", "line 12: [failover] = is neither"),
    ("[failover]\npoll_method = 'open", "line 12: [failover] poll_method has a value whose quotes or commas do not fit together"),
    ("[failover]\nfence_methods = a,,b", "line 12: [failover] fence_methods has a value whose quotes or commas"),
    ("[failover]\npoll_method = '''open", "line 12: [failover] poll_method has a value whose quotes"),
    ("[failover]\npoll_method = '''a''' b", "line 12: [failover] poll_method has a value whose quotes"),
    ("[handyrep]\nlog_file = '''a\nb'''", "log_file must not contain control characters or line breaks"),
    ("[archive]\narchive_directory = '/a\x07b'", "line 12: [archive] archive_directory must not contain control characters"),
    ("[archive]\narchive_directory = '/a\u2028b'", "must not contain control characters or line breaks"),
    ("[archive]\narchive_directory = srv/wal", "must be a full path beginning with '/', not 'srv/wal'"),
    ("[archive]\narchive_directory = /srv/../etc", "must not contain '..'"),
    ("[archive]\narchive_server = r11", "line 12: [archive] archive_server names 'r11', which is not in [servers]; did you mean r1?"),
    ("[failover]\nsynchronous_replicas = r1, r11", "line 12: [failover] synchronous_replicas names 'r11', which is not in [servers]; did you mean r1?"),
    ("[plugins]\nisready_path = /x", "line 12: [plugins] isready_path stands outside any [[name]] of this section"),
    ("[plugins]\n[[p]]\nkey = 'a\x1bb'", "line 13: [plugins] [[p]] key must not contain control characters"),
    ("[extra_failover_commands]\n[[tell]]\nparameters = 1", "[extra_failover_commands] [[tell]] command is required"),
    ("[passwords]\nsuperuser_pass = env:HANDYREP_NOT_SET", "names the environment variable 'HANDYREP_NOT_SET', which is not set"),
    ("[passwords]\nsuperuser_pass = file:/nowhere/at/all", "names '/nowhere/at/all', which is not a file"),
    ("[passwords]\nsuperuser_pas = x", "line 12: [passwords] superuser_pas is not a directive of this section; did you mean superuser_pass?"),
    ("[handyrep]\nprofile = hasty", "profile must be one of careful, normal, fast, not 'hasty'"),
    ("[servers]\n[[bad name]]\nhostname = h", "line 12: [servers] [[bad name]] is not a server's name"),
    ("[servers]\n[[-x]]\nhostname = h", "[servers] [[-x]] is not a server's name"),
    ("[servers]\n[[$(id)]]\nhostname = h", "is not a server's name"),
    ("[servers]\n[[m2]]\nhostname = m2\nrole = master", "line 14: [servers] [[m2]] role is master, and [[m1]] is the enabled master already"),
    ("[servers]\n[[r2]]\nrole = replica", "line 12: [servers] [[r2]] hostname is required"),
    ("[servers]\n[[r2]]\nhostname =", "line 13: [servers] [[r2]] hostname is required"),
    ("[servers]\n[[r2]]\nhostname = a;b", "hostname must be a host name or an IP address, not 'a;b'"),
    ("[servers]\n[[r2]]\nhostname = R1.example", "line 13: [servers] [[r2]] hostname and port (5432) are the same as those of [[r1]]"),
    ("[servers]\n[[r2]]\nhostname = r1.example\nport = 5433", "[servers] [[r2]] pgdata is on the same host the same as that of [[r1]]"),
    ("[servers]\n[[R1]]\nhostname = r2", "[servers] [[R1]] differs only in capital letters from [[r1]]"),
    ("[servers]\n[[r2]]\nhostname = r2\nport = 70000", "port must be a whole number between 1 and 65535, not '70000'"),
    ("[servers]\n[[r2]]\nhostname = r2\npgdata = /", "pgdata is the root of the file system"),
    ("[servers]\n[[r2]]\nhostname = r2\nname = r2\nprot = 3", "line 15: [servers] [[r2]] prot is not a directive of such a subsection; did you mean port?"),
]  # fmt: skip


def _added(text: str) -> str:
    """The minimal configuration with more to it: a section that it has already is not opened again."""
    if text.startswith("[handyrep]\n"):
        return MINIMAL.replace("[handyrep]", text)
    return MINIMAL + text.replace("[servers]\n", "\n") + "\n"


@pytest.mark.parametrize(("text", "problem"), MISTAKES, ids=[text for text, _ in MISTAKES])
def test_c11_e10_a_mistake_is_named_with_its_place(text: str, problem: str) -> None:
    loaded = read_text(_added(text))
    assert loaded.settings is None
    assert any(problem in found for found in loaded.problems), loaded.problems


def test_the_texts_are_right_without_the_mistake() -> None:
    assert read_text(MINIMAL).problems == ()


def test_all_mistakes_come_at_once_in_the_order_of_the_lines() -> None:
    loaded = read_text("stray\n[handyrp]\ncluster_name = 'x\n[failover]\nauto_failover = 7\n[servers\n[[a]]\nprt = 1\n")
    lines = [problem.partition(":")[0] for problem in loaded.problems]
    assert lines == ["line 1", "line 2", "line 3", "line 5", "line 6", "line 6", "line 7", "line 7", "line 8"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "[servers] names no server"),
        ("# nothing\n", "[servers] names no server"),
        ("port = 3\n", "line 1: port stands before the first [section]; it belongs in"),
        (MINIMAL.replace("role = master", "role = replica"), "[servers] has no enabled server with the role master"),
        (MINIMAL.replace("role = master", "role = master\nenabled = no"), "has no enabled server with the role master"),
        (MINIMAL.replace("pgdata = /data\n", ""), "[servers] [[m1]] pgdata is required"),
    ],
)
def test_what_is_missing_is_named(text: str, problem: str) -> None:
    loaded = read_text(text)
    assert loaded.settings is None
    assert any(problem in found for found in loaded.problems), loaded.problems


def test_a_disabled_second_master_is_no_mistake() -> None:
    loaded = read_text(MINIMAL + "[[m2]]\nhostname = m2\nrole = master\nenabled = False\n")
    assert loaded.problems == ()


def test_an_archive_server_may_live_on_a_replicas_host() -> None:
    loaded = read_text(MINIMAL + "[[attic]]\nhostname = r1.example\nrole = archive\n")
    assert loaded.problems == ()


def test_thousands_of_mistakes_are_cut() -> None:
    loaded = read_text("[failover]\n" + "\n".join(f"nonsense_{number} = 1" for number in range(5000)))
    assert len(loaded.problems) == 201
    assert loaded.problems[-1].endswith("more, not listed")


@pytest.mark.parametrize(
    "text",
    [
        "[failover]\nfence_methods = " + "a, " * 100_000 + "'open",
        "[" * 100_000,
        "[x]\n" * 50_000,
        "a" + " " * 500_000,
        "[plugins]\n[[p]]\n" + "k = '''\n" * 50_000,
        "[failover]\npoll_method = " + "x" * 900_000,
        "[" + "a" * 500_000 + "]",
    ],
    ids=[
        "an open quote after a long list",
        "brackets",
        "headings",
        "spaces",
        "open quotes",
        "a long word",
        "a long name",
    ],
)
def test_hostile_texts_are_refused_soon_and_briefly(text: str) -> None:
    """ConfigObj alone needs exponential time for the first: with thirty items already a quarter of an hour."""
    loaded = read_text(text)
    assert loaded.settings is None
    assert all(len(problem) < 1000 for problem in loaded.problems)


def test_what_follows_a_hash_at_once_is_warned_of() -> None:
    loaded = read_text(MINIMAL + "[passwords]\nsuperuser_pass = sesame#1\n")
    assert loaded.settings is not None
    assert any("superuser_pass ends where '#' begins a comment" in warning for warning in loaded.warnings)
    assert "sesame" not in str(loaded)


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        (
            "[failover]\nsynchronous_required = 2\n",
            "[failover] synchronous_required is 2; replicas that may confirm: 1 (r1)",
        ),
        (
            "[failover]\nsynchronous_required = 1\nsynchronous_replicas = m1\n",
            "synchronous_required is 1; replicas that may confirm: none",
        ),
        (
            "[passwords]\nadmin_password = same\nread_password = same\n",
            "[passwords] read_password is the same as admin_password",
        ),
        ("[archive]\narchiving = True\n", "[archive] archiving is on, and archive_script_method is blank"),
    ],
)
def test_what_is_hardly_meant_is_warned_of(text: str, warning: str) -> None:
    loaded = read_text(MINIMAL + text)
    assert loaded.settings is not None
    assert any(warning in found for found in loaded.warnings)


def test_automatic_failover_without_a_replica_is_warned_of() -> None:
    loaded = read_text(MINIMAL.partition("[[r1]]")[0] + "[failover]\nauto_failover = True\n")
    assert loaded.settings is not None
    assert any("no enabled server has the role replica" in warning for warning in loaded.warnings)
