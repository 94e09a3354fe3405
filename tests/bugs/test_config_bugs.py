"""Faults of 2014 that a configuration can have: each absent here, by its number."""

import dataclasses
from pathlib import Path

import pytest

from handyrep.config.legacy import NEVER_THERE
from handyrep.config.read import load, read, read_text
from handyrep.config.settings import PasswordSettings, Settings
from handyrep.config.show import rows
from handyrep.errors import ConfigurationError, PluginError
from handyrep.model.server import Server
from handyrep.plugin_api.check import check_plugins, uses
from handyrep.plugin_api.registry import Registry
from tests.config.texts import MINIMAL
from tests.factories import make_server, make_settings


def test_e11_hr_09_every_default_plugin_exists_and_fits() -> None:
    """E11: the shipped defaults select_by_priority and handyrep_oneserver were never there."""
    settings = make_settings(servers=(make_server("m1", "master"),))
    named = {name for _, _, name in uses(settings)}
    assert named >= {
        settings.failover.poll_method,
        settings.failover.selection_method,
        settings.servers[0].clone_method,
    }
    assert check_plugins(settings, Registry()) == ((), ())


def test_hr_09_an_unknown_plugin_stops_the_start_with_what_was_meant() -> None:
    settings = make_settings(failover={"selection_method": "select_by_priority"})
    problems, _ = check_plugins(settings, Registry())
    assert any("[failover] selection_method = select_by_priority" in problem for problem in problems)
    with pytest.raises(PluginError):
        Registry().load("handyrep_oneserver")


def test_hr_09_the_names_that_never_existed_are_read_as_what_was_meant() -> None:
    for never, meant in NEVER_THERE.items():
        assert never not in Registry().names()
        assert meant in Registry().names()


def test_hr_10_no_directive_is_called_connection_failover() -> None:
    """The code of 2014 read an option that had another name. Here a name that is not declared is no attribute."""
    assert not hasattr(Settings().failover, "connection_failover")
    loaded = read_text(MINIMAL + "[failover]\nconnection_failovr = x\n")
    assert any("did you mean connection_failover_method?" in problem for problem in loaded.problems)


def test_hr_32_a_configuration_can_be_read_again_and_again(tmp_path: Path) -> None:
    """Reload lost the file's name, so that the second one failed."""
    file = tmp_path / "handyrep.conf"
    file.write_text(MINIMAL)
    first = load(file)
    assert load(Path(first.source)) == first == load(Path(load(Path(first.source)).source))


def test_hr_32_a_bad_configuration_gives_nothing_to_swap_in(tmp_path: Path) -> None:
    file = tmp_path / "handyrep.conf"
    file.write_text(MINIMAL + "[failover]\npoll_interval = never\n")
    assert read(file).settings is None


@pytest.mark.parametrize("word", ["maybe", "2", "yess", "Falsch", "on, off", "'True False'", "None", "-", "t"])
def test_hr_33_auto_failover_maybe_is_refused(word: str) -> None:
    """The validator's partial failure was truthy: `auto_failover = maybe` turned failover on."""
    loaded = read_text(MINIMAL + f"[failover]\nauto_failover = {word}\nremaster = perhaps\n")
    assert loaded.settings is None
    assert [problem.split(" must")[0] for problem in loaded.problems] == [
        "line 12: [failover] auto_failover",
        "line 13: [failover] remaster",
    ]


def test_hr_33_load_refuses_the_file(tmp_path: Path) -> None:
    file = tmp_path / "handyrep.conf"
    file.write_text(MINIMAL + "[failover]\nauto_failover = maybe\n")
    with pytest.raises(ConfigurationError, match="auto_failover must be True or False"):
        load(file)


def test_hr_34_every_setting_is_found_under_its_own_name() -> None:
    """get_setting looked up the literal text "setting_name"."""
    loaded = read_text(MINIMAL)
    assert loaded.settings is not None
    shown = {(row.section, row.key): row.value for row in rows(loaded.settings, loaded.origins)}
    assert shown["handyrep", "cluster_name"] == "test"
    assert shown["servers.r1", "hostname"] == "r1.example"
    assert not [key for _, key in shown if key == "setting_name"]


@pytest.mark.parametrize("enabled", ["True", "yes", "1", "on", ""])
def test_hr_35_two_enabled_masters_are_refused(enabled: str) -> None:
    loaded = read_text(MINIMAL + f"[[m2]]\nhostname = m2\nrole = master\nenabled = {enabled}\n")
    assert loaded.settings is None
    assert "line 13: [servers] [[m2]] role is master, and [[m1]] is the enabled master already" in loaded.problems


def test_hr_40_every_password_belongs_to_a_directive() -> None:
    """An unknown password key was read. Here only declared attributes exist, and mypy knows them."""
    loaded = read_text(MINIMAL + "[passwords]\nhandyrep_db_passwd = x\n")
    assert any("did you mean handyrep_db_pass?" in problem for problem in loaded.problems)
    assert not hasattr(PasswordSettings(), "handyrep_db_passwd")


def test_hr_52_settings_cannot_be_changed() -> None:
    """A plugin of 2014 appended to the list of databases in the shared configuration."""
    loaded = read_text(
        MINIMAL + "[failover]\nfence_methods = a, b\n[plugins]\n[[multi_pgbouncer]]\ndatabase_list = a, b\n"
    )
    settings = loaded.settings
    assert settings is not None
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.failover.auto_failover = True  # type: ignore[misc] # what must fail
    with pytest.raises(TypeError):
        settings.plugins["multi_pgbouncer"]["database_list"] = ("c",)  # type: ignore[index] # what must fail
    assert settings.plugins["multi_pgbouncer"]["database_list"] == ("a", "b")
    assert isinstance(settings.failover.fence_methods, tuple)
    assert isinstance(settings.servers, tuple)


def test_hr_62_no_password_has_a_default() -> None:
    passwords = PasswordSettings()
    assert [getattr(passwords, field.name) for field in dataclasses.fields(passwords) if "pass" in field.name] == [
        None
    ] * 6


def test_hr_64_a_configuration_shows_no_password() -> None:
    loaded = read_text(MINIMAL + "[passwords]\nhandyrep_db_pass = sesame\n[plugins]\n[[p]]\nsmtp_pass = sesame\n")
    assert loaded.settings is not None
    assert "sesame" not in f"{loaded}{loaded.settings!r}{rows(loaded.settings, loaded.origins)}"


def test_hr_65_host_keys_cannot_be_switched_off() -> None:
    loaded = read_text(MINIMAL.replace("[servers]", "strict_host_key_checking = no\n[servers]"))
    assert loaded.settings is None
    assert Server(name="x").known_hosts
