"""Which value wins, and where each effective value came from."""

import pytest

from handyrep.config.profiles import PROFILES, TIMINGS
from handyrep.config.read import Loaded, read_text
from handyrep.config.settings import SECTIONS, Settings
from handyrep.config.show import rows
from handyrep.directives import directives_of
from handyrep.model.server import Server
from tests.config.texts import MINIMAL


def _read(text: str) -> tuple[Settings, Loaded]:
    loaded = read_text(text)
    assert loaded.settings is not None, loaded.problems
    return loaded.settings, loaded


def test_nothing_said_is_the_default() -> None:
    settings, loaded = _read(MINIMAL)
    assert settings.failover == Settings().failover
    assert settings.archive == Settings().archive
    assert loaded.origins["archive", "archiving"] == "default"


def test_every_effective_value_has_an_origin() -> None:
    settings, loaded = _read(MINIMAL + "[extra_failover_commands]\n[[tell]]\ncommand = x\n[plugins]\n[[p]]\na = 1\n")
    assert {(row.section, row.key) for row in rows(settings, loaded.origins)} <= set(loaded.origins)


def test_each_directive_is_shown_once() -> None:
    settings, loaded = _read(MINIMAL)
    shown = [(row.section, row.key) for row in rows(settings, loaded.origins)]
    wanted = [(name, key) for name in SECTIONS if name != "server_defaults" for key in directives_of(SECTIONS[name])]
    wanted += [(f"servers.{name}", key) for name in ("m1", "r1") for key in directives_of(Server)]
    assert sorted(shown) == sorted(wanted)


def test_a_server_wins_over_server_defaults_and_those_over_the_default() -> None:
    settings, loaded = _read(MINIMAL.replace("[servers]", "port = 5433\n[servers]") + "port = 5434\n")
    m1, r1 = settings.servers
    assert (m1.port, r1.port, m1.ssh_port) == (5433, 5434, 22)
    assert loaded.origins["servers.m1", "port"] == "server_defaults, line 5"
    assert loaded.origins["servers.r1", "port"] == "line 12"
    assert loaded.origins["servers.r1", "ssh_port"] == "default"


def test_blank_means_what_would_hold_without_the_line() -> None:
    text = (
        MINIMAL.replace("[servers]", "port = 5433\n[servers]") + "port =\nsslmode = ''\n[failover]\npoll_interval =\n"
    )
    settings, loaded = _read(text.replace("cluster_name = test", "cluster_name =\nprofile = fast"))
    assert settings.servers[1].port == 5433
    assert settings.servers[1].sslmode == "prefer"
    assert settings.failover.poll_interval == PROFILES["fast"].poll_interval
    assert settings.handyrep.cluster_name == "handyrep"
    assert loaded.origins["failover", "poll_interval"] == "profile fast"
    assert loaded.origins["handyrep", "cluster_name"] == "default"


def test_an_empty_list_is_no_default() -> None:
    settings, _ = _read(MINIMAL + "[failover]\nfence_methods = ,\n")
    assert settings.failover.fence_methods == ()


@pytest.mark.parametrize(
    ("written", "parameters"),
    [
        ("a, b", ("a", "b")),
        ("one", ("one",)),
        ("'a, b'", ("a, b",)),
        ("'a, b', c", ("a, b", "c")),
        ("a # b, c", ("a",)),
        ("'a # b', c # d", ("a # b", "c")),
        ("a,", ("a",)),
        (",", ()),
    ],
)
def test_quotes_keep_parameters_together(written: str, parameters: tuple[str, ...]) -> None:
    settings, _ = _read(f"{MINIMAL}[extra_failover_commands]\n[[tell]]\ncommand = x\nparameters = {written}\n")
    assert settings.extra_failover_commands[0].parameters == parameters


@pytest.mark.parametrize("profile", PROFILES)
def test_a_profile_sets_the_timings_that_are_not_set_alone(profile: str) -> None:
    text = MINIMAL.replace("cluster_name = test", f"profile = {profile}") + "[failover]\nfail_retries = 17\n"
    settings, loaded = _read(text)
    for name in TIMINGS:
        alone = name == "fail_retries"
        assert getattr(settings.failover, name) == (17 if alone else getattr(PROFILES[profile], name))
        assert loaded.origins["failover", name] == ("line 12" if alone else f"profile {profile}")


def test_shown_values_would_be_read_as_the_same_again() -> None:
    text = (
        MINIMAL
        + "[failover]\npoll_interval = 1.25 min\nfence_methods = a, b\n[extra_failover_commands]\n[[t]]\ncommand = c\nparameters = 'x, y', z\n"
    )
    settings, loaded = _read(text)
    lines: dict[str, list[str]] = {}
    for row in rows(settings, loaded.origins):
        if row.section != "passwords" and row.section.count(".") == 0:
            lines.setdefault(f"[{row.section}]", []).append(f"{row.key} = {row.value}")
        elif row.section == "extra_failover_commands.t":
            lines.setdefault("[extra_failover_commands]\n[[t]]", []).append(f"{row.key} = {row.value}")
    again = "\n".join("\n".join([heading, *inside]) for heading, inside in lines.items())
    shown, _ = _read(again + "\n" + MINIMAL.partition("cluster_name = test\n")[2])
    assert (shown.handyrep, shown.failover, shown.archive) == (settings.handyrep, settings.failover, settings.archive)
    assert shown.extra_failover_commands == settings.extra_failover_commands
