"""`handyrep config`: check a configuration, or show what it comes to. Talks to no server."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from handyrep.app import load_checked
from handyrep.config.show import rows
from handyrep.surfaces.text import console

app = typer.Typer(help="Check and show the configuration.", no_args_is_help=True)


class _Chosen:
    conf = Path("handyrep.conf")


def use(conf: Path) -> None:
    """The file that --conf names."""
    _Chosen.conf = conf


@app.command()
def check(file: Annotated[Path | None, typer.Argument(help="configuration file; left out: --conf")] = None) -> None:
    """Name every mistake at once. Exit code 2 when there is one."""
    path = file or _Chosen.conf
    loaded, _ = load_checked(path)
    for warning in loaded.warnings:
        typer.echo(f"warning: {warning}", err=True)
    for problem in loaded.problems:
        typer.echo(f"wrong: {problem}", err=True)
    if loaded.settings is None:
        typer.echo(f"{path}: {len(loaded.problems)} mistakes", err=True)
        raise typer.Exit(2)
    typer.echo(f"{path}: in order, {len(loaded.settings.servers)} servers")


@app.command()
def show(
    file: Annotated[Path | None, typer.Argument(help="configuration file; left out: --conf")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="as JSON")] = False,
) -> None:
    """Show every effective value and where it came from. Secrets stay hidden."""
    path = file or _Chosen.conf
    loaded, _ = load_checked(path)
    if loaded.settings is None:
        check(path)
        return
    found = rows(loaded.settings, loaded.origins)
    if as_json:
        typer.echo(
            json.dumps(
                [{"section": r.section, "key": r.key, "value": r.value, "origin": r.origin} for r in found], indent=2
            )
        )
        return
    table = Table("section", "directive", "value", "from", box=None)
    for row in found:
        table.add_row(row.section, row.key, row.value, row.origin)
    console().print(table)
