"""`handyrep plugin`: make, list and test plugins."""

import asyncio
import json
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from handyrep.app import load_checked, running
from handyrep.engine.hands import said
from handyrep.errors import ConfigurationError, PluginError, RefusedError
from handyrep.model.answer import Outcome
from handyrep.plugin_api.contract import KINDS, Kind
from handyrep.plugin_api.registry import Registry
from handyrep.plugin_api.skeleton import write_skeleton
from handyrep.surfaces.text import console

app = typer.Typer(help="Make, list and test plugins.", no_args_is_help=True)


class _Chosen:
    conf = Path("handyrep.conf")


def use(conf: Path) -> None:
    """The file that --conf names."""
    _Chosen.conf = conf


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="file, class and plugin will carry this name")],
    kind: Annotated[Kind, typer.Option(help="what it is for")],
    folder: Annotated[Path | None, typer.Option(help="where to; left out: plugins_dir of the configuration")] = None,
) -> None:
    """Write a plugin that works, with a test, for you to fill in."""
    where = folder or _plugins_dir()
    for file in write_skeleton(name, kind, where):
        typer.echo(f"wrote {file}")
    typer.echo(
        f"Next: fill in run() and test(), set {KINDS[kind].directive} = {name}, then: handyrep plugin test {name}"
    )


@app.command("list")
def list_plugins(as_json: Annotated[bool, typer.Option("--json", help="as JSON")] = False) -> None:
    """Every plugin that can be named, what it is for, and where it comes from."""
    registry = _registry()
    found = []
    for name in registry.names():
        try:
            plugin = registry.load(name)
            about, kinds = (plugin.__doc__ or "").strip().split("\n")[0], ", ".join(plugin.kinds) or "any"
        except PluginError as error:
            about, kinds = f"cannot be loaded: {error}", "?"
        found.append({"name": name, "kinds": kinds, "from": registry.source(name), "about": about})
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    table = Table("plugin", "for", "from", "about", box=None)
    for row in found:
        table.add_row(row["name"], row["kinds"], row["from"], row["about"])
    console().print(table)


@app.command()
def test(name: Annotated[str, typer.Argument(help="plugin")]) -> None:
    """Run a plugin's own test() against the configured servers. Changes nothing."""
    ok, details = asyncio.run(_tested(name))
    typer.echo(f"{name}: {'SUCCESS' if ok else 'FAIL'} {details}".rstrip())
    raise typer.Exit(0 if ok else 1)


async def _tested(name: str) -> tuple[bool, str]:
    loaded, registry = load_checked(_Chosen.conf)
    if loaded.settings is None or registry is None:
        raise ConfigurationError(loaded.problems, source=str(_Chosen.conf))
    kind = next(iter(registry.load(name).kinds), Kind.EXTRA_COMMAND)
    async with running(_Chosen.conf, beside_a_daemon=True) as on:
        patience_s = on.engine.settings.failover.start_timeout
        result = await on.engine.hands.use(kind, "test", name=name, patience_s=patience_s)
    ok = result.outcome is Outcome.SUCCESS
    return ok, result.details if ok else said(result)


def _registry() -> Registry:
    loaded, registry = load_checked(_Chosen.conf)
    if registry is not None:
        return registry
    if _Chosen.conf.exists():
        raise ConfigurationError(loaded.problems, source=str(_Chosen.conf))
    return Registry()


def _plugins_dir() -> Path:
    loaded, _ = load_checked(_Chosen.conf)
    folder = loaded.settings.handyrep.plugins_dir if loaded.settings else ""
    if not folder:
        raise RefusedError(
            "no folder for the plugin is known", remedy="Set plugins_dir in [handyrep], or give --folder."
        )
    return Path(folder)
