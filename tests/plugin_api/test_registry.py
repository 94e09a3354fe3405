"""Where plugins come from, which of two of one name counts, and what the check of a configuration says of them."""

from pathlib import Path

import pytest

from handyrep.config.settings import ExtraCommand
from handyrep.errors import PluginError
from handyrep.model.answer import Outcome
from handyrep.plugin_api.check import check_plugins
from handyrep.plugin_api.contract import Kind
from handyrep.plugin_api.registry import Registry
from tests.factories import make_cluster, make_settings
from tests.plugin_api.test_containment import plugin, write
from tests.plugin_api.worlds import a_caller

PACKAGED = (
    "from handyrep.plugins.handyrepplugin import handyrepplugin\nclass packaged(handyrepplugin):\n"
    "    def run(self, servername): return self.success('from a package')\n"
)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the path with an installed package that brings a plugin."""
    site = tmp_path / "site"
    about = site / "someones_plugins-1.dist-info"
    about.mkdir(parents=True)
    (site / "someones_plugins.py").write_text(PACKAGED)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: someones-plugins\nVersion: 1\n")
    (about / "entry_points.txt").write_text(
        "[handyrep.plugins]\npackaged = someones_plugins:packaged\nbroken = someones_plugins:nothing\n"
    )
    monkeypatch.syspath_prepend(site)
    return site


async def test_a_plugin_of_an_installed_package_works_on_a_thread_of_its_own(package: Path) -> None:
    registry = Registry()
    assert {"packaged", "broken"} <= set(registry.names())
    assert (registry.source("packaged"), registry.is_own("packaged")) == ("package", False)
    result = await a_caller().call(
        Kind.POLL, "packaged", arguments={"servername": "m1"}, cluster=make_cluster(), deadline_s=5
    )
    assert (result.outcome, result.details) == (Outcome.SUCCESS, "from a package")


def test_a_package_that_is_broken_is_told(package: Path) -> None:
    with pytest.raises(PluginError, match="package plugin broken cannot be loaded: it raised AttributeError"):
        Registry().load("broken")


def test_a_file_wins_over_a_package_and_that_over_ours(package: Path, tmp_path: Path) -> None:
    folder = tmp_path / "plugins"
    folder.mkdir(mode=0o755)
    registry = Registry(folder)
    assert registry.load("packaged").__module__ == "someones_plugins"
    for name in ("packaged", "one_hr_master"):
        (folder / f"{name}.py").write_text(PACKAGED.replace("packaged", name))
        assert registry.load(name).__module__ == f"handyrep_user_plugins.{name}"
        assert registry.source(name) == str(folder / f"{name}.py")
        (folder / f"{name}.py").unlink()
    assert registry.load("one_hr_master").__module__ == "handyrep.plugins.one_hr_master"
    assert registry.source("one_hr_master") == "HandyRep"


def test_tests_and_private_modules_are_no_plugins(tmp_path: Path) -> None:
    for name in ("test_mine", "_shared", "mine"):
        (tmp_path / f"{name}.py").write_text("")
    added = set(Registry(tmp_path).names()) - set(Registry().names())
    assert added == {"mine"}


def test_the_check_says_what_is_wrong_and_what_was_meant(tmp_path: Path) -> None:
    write(tmp_path, plugin("def run(self, servername): return self.success()"))
    settings = make_settings(
        failover={
            "poll_method": "pol_connect",
            "selection_method": "poll_connect",
            "connection_failover_method": "multi_pgbouncer",
            "inspect_method": "bad",
        },
        plugins={"poll_isready": {"isready_pth": "/x"}, "fence_stopp": {}, "restart_pg_ctl": {"pg_ctl_path": "x"}},
    )
    problems, warnings = check_plugins(settings, Registry(tmp_path))
    assert any(
        p.startswith("[failover] poll_method = pol_connect: ") and p.endswith("did you mean poll_connect?")
        for p in problems
    )
    assert "[failover] selection_method = poll_connect: that plugin is for poll_method" in problems
    assert any("[[multi_pgbouncer]] database_list is required" in p for p in problems)
    assert any("[[restart_pg_ctl]] pg_ctl_path must be a full path" in p for p in problems)
    assert any("[[fence_stopp]] is for a plugin that does not exist; did you mean fence_stop?" in w for w in warnings)
    assert len(problems) == 4


@pytest.mark.parametrize(
    ("parameters", "body", "told"),
    [
        ((), "def run(self): pass", False),
        (("a",), "def run(self): pass", True),
        (("a",), "def run(self, one): pass", False),
        (("a", "b"), "async def run(self, one, two=2): pass", False),
        (("a", "b", "c"), "def run(self, one, two=2): pass", True),
        (("a", "b", "c"), "def run(self, *all): pass", False),
        (("a", "b", "c"), "run = 7", True),
    ],
)
def test_parameters_that_a_plugin_does_not_take_refuse_the_start(
    tmp_path: Path, parameters: tuple[str, ...], body: str, told: bool
) -> None:
    write(tmp_path, plugin(body))
    asked = make_settings(handyrep={"master_check_method": "bad", "master_check_parameters": parameters})
    ordered = make_settings(extra_failover_commands=(ExtraCommand(name="mail", command="bad", parameters=parameters),))
    for settings in (asked, ordered):
        problems, _ = check_plugins(settings, Registry(tmp_path))
        assert any("does not take" in problem for problem in problems) is told
