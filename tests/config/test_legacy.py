"""A handyrep.conf for the program of 2014 loads; what changed since is told, once each, with its line."""

from pathlib import Path

import pytest

from handyrep.config.legacy import GONE, NEVER_THERE, RENAMED
from handyrep.config.read import Loaded, read, read_text
from handyrep.config.settings import SECTIONS, ExtraCommand, Settings
from handyrep.directives import directives_of
from handyrep.model.server import Server
from tests.config.texts import MINIMAL

CONF = Path(__file__).with_name("handyrep_2014.conf")


@pytest.fixture(scope="module")
def loaded() -> Loaded:
    return read(CONF)


@pytest.fixture
def old(loaded: Loaded) -> Settings:
    assert loaded.settings is not None, loaded.problems
    return loaded.settings


def test_it_loads(loaded: Loaded) -> None:
    assert loaded.problems == ()


def test_values_mean_what_they_meant(old: Settings) -> None:
    assert old.handyrep.replication_user == "wal_sender"
    assert old.failover.poll_interval == 30.0
    assert old.failover.fail_retries == 4
    assert old.failover.connection_failover_method == "multi_pgbouncer"
    assert old.archive.archive_server == "attic"
    assert old.extra_failover_commands[0].parameters == ("old", "new")
    assert {server.name: server.lag_limit for server in old.servers} == dict.fromkeys(
        ("till", "stock", "attic", "door"), 500
    )
    assert [server.passfile for server in old.servers[:2]] == ["/home/handyrep/.pgpass", "/home/handyrep/.pgpass_stock"]
    assert old.plugins["multi_pgbouncer"]["database_list"] == ("shop", "reports")


def test_passwords_are_taken_to_the_letter(old: Settings) -> None:
    db, replication = old.passwords.handyrep_db_pass, old.passwords.replication_pass
    assert db is not None
    assert replication is not None
    assert (db.reveal(), replication.reveal()) == ("one, two", "100%s")


def test_plugins_that_never_existed_are_what_was_meant(old: Settings) -> None:
    assert old.handyrep.master_check_method == "one_hr_master"
    assert old.failover.selection_method == "select_replica_priority"


def test_recovery_conf_is_no_more(old: Settings) -> None:
    assert old.servers[0].replica_conf == ""
    assert old.servers[0].recovery_template == ""


@pytest.mark.parametrize(
    ("section", "key"),
    [
        ("[handyrep]", "last_updated"),
        ("[handyrep]", "postgresql_version"),
        ("[handyrep]", "push_alert_parameters"),
        ("[handyrep]", "master_check_method"),
        ("[failover]", "fail_retry"),
        ("[failover]", "recovery_wait"),
        ("[failover]", "max_replay_lag"),
        ("[failover]", "selection_method"),
        ("[failover]", "connection_failover"),
        ("[extra_failover_commands] [[say_so]]", "run_as"),
        ("[extra_failover_commands] [[say_so]]", "run_on"),
        ("[archive]", "archive_host"),
        ("[archive]", "archive_template"),
        ("[archive]", "archive_script_path"),
        ("[archive]", "archive_delete_hours"),
        ("[server_defaults]", "replica_conf"),
        ("[server_defaults]", "recovery_template"),
        ("[server_defaults]", "restart_parameters"),
        ("[server_defaults]", "promotion_parameters"),
        ("[server_defaults]", "clone_parameters"),
        ("[server_defaults]", "archive_mode"),
        ("[server_defaults]", "streaming"),
        ("[server_defaults]", "pgpass"),
        ("[servers] [[till]]", "name"),
        ("[servers] [[stock]]", "pgpass"),
        ("[passwords]", "read_password"),
        ("[handyrep]", "authentication_method"),
    ],
)
def test_each_old_word_is_told_once_with_its_line(loaded: Loaded, section: str, key: str) -> None:
    told = [warning for warning in loaded.warnings if f": {section} {key} " in warning]
    assert len(told) == 1
    number = int(told[0].removeprefix("line ").partition(":")[0])
    assert key in CONF.read_text().splitlines()[number - 1]


def test_nothing_else_is_warned_of(loaded: Loaded) -> None:
    """A further warning is a change that the list above, and so the user, would not hear of."""
    passwords = [warning for warning in loaded.warnings if "chmod 600" in warning]
    assert len(loaded.warnings) - len(passwords) == 27


def test_the_origin_tells_the_old_name(loaded: Loaded) -> None:
    assert loaded.origins["failover", "fail_retries"].endswith(", as fail_retry")
    assert loaded.origins["failover", "selection_method"].endswith(", as select_by_priority")


def test_todays_name_wins_over_the_old_one() -> None:
    loaded = read_text(MINIMAL + "\n[failover]\nfail_retry = 7\nfail_retries = 9\n")
    assert loaded.settings is not None, loaded.problems
    assert loaded.settings.failover.fail_retries == 9
    assert any("fail_retry " in warning and "this one is ignored" in warning for warning in loaded.warnings)


def test_a_password_among_the_settings_is_moved_and_not_shown() -> None:
    loaded = read_text(MINIMAL.replace("[handyrep]", "[handyrep]\nadmin_password = hush-hush"))
    assert loaded.settings is not None, loaded.problems
    assert loaded.settings.passwords.admin_password is not None
    assert any(
        "[handyrep] admin_password is called [passwords] admin_password today" in line for line in loaded.warnings
    )
    assert "hush-hush" not in str(loaded)


def test_a_connection_failover_that_names_a_plugin_is_renamed() -> None:
    loaded = read_text(MINIMAL + "\n[failover]\nconnection_failover = multi_pgbouncer\n")
    assert loaded.settings is not None, loaded.problems
    assert loaded.settings.failover.connection_failover_method == "multi_pgbouncer"


def _known(section: str) -> set[str]:
    items: dict[str, type] = {**SECTIONS, "servers": Server, "extra_failover_commands": ExtraCommand}
    return set(directives_of(items[section]))


@pytest.mark.parametrize(("old_name", "new_name"), RENAMED.items())
def test_renamed_directives_exist_under_the_new_name_only(old_name: tuple[str, str], new_name: tuple[str, str]) -> None:
    assert old_name[1] not in _known(old_name[0])
    assert new_name[1] in _known(new_name[0])


@pytest.mark.parametrize("old_name", GONE)
def test_directives_that_are_gone_are_gone(old_name: tuple[str, str]) -> None:
    assert old_name[1] not in _known(old_name[0])


def test_what_was_meant_by_the_old_defaults_is_todays_default() -> None:
    settings = Settings()
    assert set(NEVER_THERE.values()) == {settings.handyrep.master_check_method, settings.failover.selection_method}
