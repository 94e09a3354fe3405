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
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from handyrep.errors import PluginError
from handyrep.plugin_api.plugin import Plugin

ENTRY_POINTS = "handyrep.plugins"
_OWN = "handyrep.plugins"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


class Registry:
    """Plugin classes by name. A file in `plugins_dir` wins over an installed package, that over our own."""

    def __init__(self, plugins_dir: Path | None = None) -> None:
        self._plugins_dir = plugins_dir
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
        own = {module.name for module in pkgutil.iter_modules(importlib.import_module(_OWN).__path__)}
        installed = {entry.name for entry in importlib.metadata.entry_points(group=ENTRY_POINTS)}
        files = {file.stem for file in self._plugins_dir.glob("*.py")} if self._plugins_dir else set()
        return tuple(sorted(name for name in own | installed | files if not name.startswith("_")))

    def source(self, name: str) -> str:
        """Where the plugin comes from: 'HandyRep', 'package', or its file."""
        file = self._file(name)
        if file is not None:
            return str(file)
        installed = name in {entry.name for entry in importlib.metadata.entry_points(group=ENTRY_POINTS)}
        return "package" if installed else "HandyRep"

    def is_own(self, plugin: type[Plugin]) -> bool:
        """Whether HandyRep ships it: those run on the main loop, others on a thread of their own."""
        return plugin.__module__.startswith(f"{_OWN}.")

    def _still_there(self, name: str) -> bool:
        """A plugin whose file went away is missing from then on; one whose file came replaces ours."""
        was_file = not self.is_own(self._loaded[name])
        return self._file(name) is not None if was_file and self._plugins_dir else True

    def _file(self, name: str) -> Path | None:
        file = self._plugins_dir / f"{name}.py" if self._plugins_dir else None
        return file if file is not None and file.is_file() else None

    def _find(self, name: str) -> type[Plugin]:
        file = self._file(name)
        if file is not None:
            return _class_in(_module_from(file), name, str(file))
        for entry in importlib.metadata.entry_points(group=ENTRY_POINTS, name=name):
            with _contained(f"package plugin {name}"):
                return _checked(entry.load(), name, f"package {entry.value}")
        if importlib.util.find_spec(f"{_OWN}.{name}") is None:
            where = f"in {self._plugins_dir}, " if self._plugins_dir else ""
            raise PluginError(f"there is no plugin {name!r} ({where}among installed packages or HandyRep's own)")
        return _class_in(importlib.import_module(f"{_OWN}.{name}"), name, "HandyRep")


@contextmanager
def _contained(what: str) -> Iterator[None]:
    try:
        yield
    except PluginError:
        raise
    except BaseException as error:  # a plugin's file may do anything, sys.exit() included
        if isinstance(error, KeyboardInterrupt):
            raise
        raise PluginError(f"{what} cannot be loaded: {type(error).__name__}: {error}") from error


def _module_from(file: Path) -> types.ModuleType:
    _refuse_what_others_may_write(file)
    spec = importlib.util.spec_from_file_location(f"handyrep_user_plugins.{file.stem}", file)
    if spec is None or spec.loader is None:
        raise PluginError(f"{file} cannot be loaded as Python")
    module = importlib.util.module_from_spec(spec)
    _welcome_old_imports()
    with _contained(str(file)):
        spec.loader.exec_module(module)
    return module


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
    return found
