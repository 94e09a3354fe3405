"""Tries tests on a changed module, each time in a fork of a process that has imported everything but decide/ and the tests.

Owns the forks and their limits. Must never take a run in which nothing was tried for a caught mutant.
"""

import contextlib
import dataclasses
import gc
import importlib
import json
import math
import os
import resource
import sys
from collections.abc import Callable, Collection, Container, Mapping, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, NoReturn

import coverage
import pytest
from hypothesis import HealthCheck, Phase, settings

ROOT = Path(__file__).parents[2]
DECIDE = ROOT / "src/handyrep/decide"
EXAMPLES = 20
START_CPU_S = 5
BASELINE_CPU_S = 400
MEMORY_BYTES = 2 * 1024**3
BELOW_DECIDE = ("handyrep.model", "handyrep.errors", "handyrep.directives")
OURS = ("handyrep", "tests", "conftest")
_WITHOUT = (
    "-p",
    "no:cacheprovider",
    "-p",
    "no:unraisableexception",
    "-p",
    "no:threadexception",
    "-p",
    "no:asyncio",
    "-p",
    "no:xdist",
)
NOTHING_TO_SAY = "it came to no end, and was stopped"


@dataclasses.dataclass(frozen=True)
class Baseline:
    """What the unchanged code does: how long each test takes, which tests go through which line, what they import."""

    took_s: Mapping[str, float]
    through: Mapping[str, Mapping[str, Sequence[str]]]
    imported: Sequence[str]


class NothingTriedError(Exception):
    """The tests could not be run, or do not pass on the unchanged code: nothing that follows would mean anything."""


class _Changed(MetaPathFinder, Loader):
    """Gives the changed code for one module."""

    def __init__(self, name: str, code: CodeType) -> None:
        self._name, self._code = name, code

    def find_spec(self, fullname: str, *_: Any) -> ModuleSpec | None:
        return spec_from_loader(fullname, self) if fullname == self._name else None

    def exec_module(self, module: ModuleType) -> None:
        exec(self._code, module.__dict__)


class _Watch:
    """Chooses the tests and their order; notes how long each took, and the first that failed."""

    def __init__(self, order: Mapping[str, float], left_out: Container[str], before: Callable[[str], object]) -> None:
        self._order, self._left_out, self._before = order, left_out, before
        self.took_s: dict[str, float] = {}
        self.failed = ""

    def pytest_sessionstart(self) -> None:
        """After conftest.py: the same examples each time, and none made smaller."""
        settings.register_profile(
            "mutation", deadline=None, max_examples=EXAMPLES, derandomize=True, database=None, phases=(Phase.explicit, Phase.generate),
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        settings.load_profile("mutation")

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = [item for item in items if item.nodeid not in self._left_out]
        items.sort(key=lambda item: self._order.get(item.nodeid, 0.0))

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        self._before(item.nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.took_s[report.nodeid] = self.took_s.get(report.nodeid, 0.0) + report.duration
        if report.failed and not self.failed:
            self.failed = report.nodeid

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed and not self.failed:
            self.failed = f"{report.nodeid}, when it was imported"


def baseline(folders: Sequence[str]) -> Baseline:
    """Run every test of these folders once on the code as it is."""
    told = _forked(lambda: _measured(folders), BASELINE_CPU_S)
    if told is None or told["code"] != 0:
        raise NothingTriedError(f"the tests do not pass on the unchanged code: {told and told['failed']}")
    return Baseline(told["took_s"], told["through"], told["imported"])


def warm_up(imported: Sequence[str]) -> None:
    """Import what does not depend on decide/, once for all forks."""
    for name in imported:
        if name.split(".")[0] not in OURS or name.startswith(BELOW_DECIDE):
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
    gc.freeze()


def caught_by(name: str, code: CodeType, tests: Collection[str], known: Baseline) -> str:
    """The first of these tests, and of those that only come to be by the change, that notices that the module has this code; '' when none does."""
    if not tests:
        return ""
    enough_s = math.ceil(START_CPU_S + 3 * sum(known.took_s[test] for test in tests))
    told = _forked(lambda: _tried(name, code, tests, known), enough_s)
    if told is None:
        return NOTHING_TO_SAY
    if (
        told["code"] not in (0, 1, 2)
        or bool(told["code"]) != bool(told["failed"])
        or not (told["ran"] or told["failed"])
    ):
        raise NothingTriedError(f"pytest ended with {told['code']} after {told['ran']} of {len(tests)} tests of {name}")
    return str(told["failed"])


def _tried(name: str, code: CodeType, tests: Collection[str], known: Baseline) -> dict[str, Any]:
    sys.meta_path.insert(0, _Changed(name, code))
    watch = _Watch(known.took_s, known.took_s.keys() - set(tests), lambda _: None)
    files = sorted({test.split("::")[0] for test in tests})
    return {"code": _pytest(["-x", *files], watch), "failed": watch.failed, "ran": len(watch.took_s)}


def _measured(folders: Sequence[str]) -> dict[str, Any]:
    measure = coverage.Coverage(data_file=None, source=[str(DECIDE)], config_file=False)
    watch = _Watch({}, (), measure.switch_context)
    measure.start()
    code = _pytest(folders, watch)
    measure.stop()
    data = measure.get_data()
    through = {
        Path(file).stem: {str(line): tests for line, tests in data.contexts_by_lineno(file).items()}
        for file in data.measured_files()
    }
    imported = [name for name in sys.modules if not name.startswith("_")]
    return {"code": code, "failed": watch.failed, "took_s": watch.took_s, "through": through, "imported": imported}


def _pytest(arguments: Sequence[str], watch: _Watch) -> int:
    own = ["-c", os.devnull, "--rootdir", str(ROOT), "--confcutdir", str(ROOT), *_WITHOUT]
    return int(pytest.main([*own, "-q", "--tb=no", "--no-header", *arguments], plugins=[watch]))


def _forked(work: Callable[[], dict[str, Any]], cpu_s: int) -> dict[str, Any] | None:
    """What the work gives in a process of its own; None when that ended without a word."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        _limited(work, writing, cpu_s)
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8") as answer:
        text = answer.read()
    os.waitpid(pid, 0)
    return json.loads(text) if text else None


def _limited(work: Callable[[], dict[str, Any]], writing: int, cpu_s: int) -> NoReturn:
    """The fork's own life: silent, and ended by the kernel when a change makes it run or grow for ever."""
    try:
        resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        with os.fdopen(writing, "w", encoding="utf-8") as answer:
            json.dump(_answered(work), answer)
    finally:
        os._exit(0)


def _answered(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """pytest tells of the faults of a change itself; what comes up to here is a fault of ours."""
    try:
        return work()
    except Exception as error:  # noqa: BLE001 - it is told where somebody reads it
        return {"code": 3, "failed": repr(error), "ran": 0}
