"""Finds plugins by name: in plugins_dir, among installed packages, among our own, in this order.

Only a plain name is ever looked up; nothing outside these three places can be loaded.
"""

import importlib
import importlib.metadata
import importlib.util
import os
import pkgutil
import re
import stat
import sys
import threading
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from handyrep.errors import PluginError
from handyrep.plugin_api.contract import Kind
from handyrep.plugin_api.outside import said
from handyrep.plugin_api.plugin import Plugin

ENTRY_POINTS = "handyrep.plugins"
_OWN = "handyrep.plugins"
_FILES = "handyrep_user_plugins"
LOAD_S = 10.0
"""Longest time that a plugin's file may take to load."""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


class Registry:
    """Plugin classes by name. A file in `plugins_dir` wins over an installed package, that over our own."""

    def __init__(self, plugins_dir: Path | None = None) -> None:
        self._plugins_dir = plugins_dir
        self._installed = {entry.name: entry for entry in importlib.metadata.entry_points(group=ENTRY_POINTS)}
        self._own = frozenset(module.name for module in pkgutil.iter_modules(importlib.import_module(_OWN).__path__))
        self._loaded: dict[str, type[Plugin]] = {}

    def load(self, name: str) -> type[Plugin]:
        """The class called `name`. Raises PluginError: no such plugin, or it cannot be loaded, and why."""
        if name in self._loaded and self._still_there(name):
            return self._loaded[name]
        if not _NAME.fullmatch(name):
            raise PluginError(f"{name!r} is not a plugin's name", remedy="A name is letters, digits and '_'.")
        self._loaded[name] = self._find(name)
        return self._loaded[name]

    def names(self) -> tuple[str, ...]:
        """Every plugin that could be loaded, sorted."""
        files = {file.stem for file in self._plugins_dir.glob("*.py")} if self._plugins_dir else set()
        found = self._own | self._installed.keys() | {name for name in files if not name.startswith("test_")}
        return tuple(sorted(name for name in found if not name.startswith("_")))

    def source(self, name: str) -> str:
        """Where the plugin comes from: 'HandyRep', 'package', or its file."""
        file = self._file(name)
        if file is not None:
            return str(file)
        return "package" if name in self._installed else "HandyRep"

    def is_own(self, name: str) -> bool:
        """Whether nobody but HandyRep has code under this name: that runs on the main loop, all other on threads."""
        return self._file(name) is None and name not in self._installed

    def _still_there(self, name: str) -> bool:
        """A plugin whose file went away is missing from then on; one whose file came replaces ours."""
        from_file = self._loaded[name].__module__.startswith(f"{_FILES}.")
        return from_file == (self._file(name) is not None)

    def _file(self, name: str) -> Path | None:
        if not _NAME.fullmatch(name):
            return None
        file = self._plugins_dir / f"{name}.py" if self._plugins_dir else None
        return file if file is not None and file.is_file() else None

    def _find(self, name: str) -> type[Plugin]:
        file = self._file(name)
        if file is not None:
            return _class_in(_module_from(file), name, str(file))
        if name in self._installed:
            entry = self._installed[name]
            with _contained(f"package plugin {name}"):
                return _checked(entry.load(), name, f"package {entry.value}")
        if name not in self._own:
            where = f"in {self._plugins_dir}, " if self._plugins_dir else ""
            raise PluginError(f"there is no plugin {name!r} ({where}among installed packages or HandyRep's own)")
        return _class_in(importlib.import_module(f"{_OWN}.{name}"), name, "HandyRep")


@contextmanager
def _contained(what: str) -> Iterator[None]:
    try:
        yield
    except PluginError:
        raise
    except BaseException as error:  # noqa: BLE001 - a plugin's file may do anything, sys.exit() included
        raise PluginError(f"{what} cannot be loaded: it {said(error)}") from None


def _module_from(file: Path) -> types.ModuleType:
    _refuse_what_others_may_write(file)
    spec = importlib.util.spec_from_file_location(f"{_FILES}.{file.stem}", file)
    if spec is None or spec.loader is None:
        raise PluginError(f"{file} cannot be loaded as Python")
    module = importlib.util.module_from_spec(spec)
    _welcome_old_imports()
    sys.modules[module.__name__] = module  # dataclasses and pickle look a class's module up there
    with _contained(str(file)):
        _in_time(lambda: spec.loader.exec_module(module), str(file))  # type: ignore[union-attr] # looked at above
    return module


def _in_time(load: Callable[[], None], what: str) -> None:
    """A file that does not come to its end must not hold up the start of HandyRep for ever."""
    raised: list[BaseException] = []

    def work() -> None:
        try:
            load()
        except BaseException as error:  # noqa: BLE001 - it is raised again below
            raised.append(error)

    thread = threading.Thread(target=work, name=f"loading {what}", daemon=True)
    thread.start()
    thread.join(LOAD_S)
    if thread.is_alive():
        raise PluginError(f"{what} has not come to its end after {LOAD_S:g} s of loading")
    if raised:
        raise raised[0]


def _refuse_what_others_may_write(file: Path) -> None:
    """Whoever can write the file or its folder can run code as HandyRep, with its SSH keys."""
    for place in (file.parent, file):
        facts = place.stat()
        if facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH) or facts.st_uid not in (0, os.geteuid()):
            raise PluginError(
                f"{place} may be written by other accounts than root and the one that runs HandyRep",
                remedy=f"chown it and run: chmod go-w {place}",
            )


def _welcome_old_imports() -> None:
    """Plugins of 2014 begin with `from plugins.handyrepplugin import HandyRepPlugin`."""
    parent = importlib.import_module(f"{_OWN}.handyrepplugin")
    package = sys.modules.setdefault("plugins", types.ModuleType("plugins"))
    if "plugins.handyrepplugin" not in sys.modules and not hasattr(package, "__path__"):
        sys.modules["plugins.handyrepplugin"] = parent
        package.handyrepplugin = parent  # type: ignore[attr-defined] # a module made on the spot


def _class_in(module: types.ModuleType, name: str, source: str) -> type[Plugin]:
    found = getattr(module, name, None)
    if found is None:
        raise PluginError(f"{source} has no class {name!r}: file and class of a plugin carry the same name")
    return _checked(found, name, source)


def _checked(found: object, name: str, source: str) -> type[Plugin]:
    if not (isinstance(found, type) and issubclass(found, Plugin)):
        raise PluginError(f"{name!r} in {source} does not extend handyrepplugin")
    kinds: object = found.kinds
    if not isinstance(kinds, tuple) or not all(isinstance(kind, Kind) for kind in kinds):
        raise PluginError(f"kinds of {name!r} in {source} must be a tuple such as (Kind.POLL,), not {kinds!r:.80}")
    return found
