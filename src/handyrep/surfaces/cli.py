"""The command line: one command per operation, made from its declaration, and a few that need no HandyRep at all.

Exit codes: 0 success, 1 it failed, 2 wrong use or wrong configuration, 3 uncertain (look), 130 Ctrl-C.
"""

import asyncio
import inspect
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from handyrep import __version__
from handyrep.errors import ConfigurationError, HandyRepError
from handyrep.model.result import RD
from handyrep.operations import OPERATIONS
from handyrep.operations.declare import Operation, Parameter
from handyrep.surfaces import cli_config, cli_plugin, text
from handyrep.surfaces.library import AsyncHandyRep
from handyrep.surfaces.serve import serve as serve_until_told

OK, FAILED, WRONG_USE, UNCERTAIN, INTERRUPTED = 0, 1, 2, 3, 130

app = typer.Typer(
    name="handyrep",
    help="PostgreSQL high availability with nothing to install on the database servers.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(cli_config.app, name="config")
app.add_typer(cli_plugin.app, name="plugin")


class _Chosen:
    conf = Path("handyrep.conf")
    as_json = False


@app.callback()
def _options(
    conf: Annotated[Path, typer.Option("--conf", "-c", envvar="HANDYREP_CONF", help="configuration file")] = Path(
        "handyrep.conf"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="print the return dictionary as JSON")] = False,
) -> None:
    _Chosen.conf = conf
    _Chosen.as_json = as_json
    cli_config.use(conf)
    cli_plugin.use(conf)


@app.command()
def version() -> None:
    """Print HandyRep's version."""
    typer.echo(__version__)


@app.command()
def serve() -> None:
    """Watch the cluster in the foreground until Ctrl-C or SIGTERM."""
    asyncio.run(serve_until_told(_Chosen.conf))


@app.command()
def status(
    check: Annotated[str, typer.Option(help="cached, poll or verify")] = "cached",
) -> None:
    """One glance: cluster, servers, lag, and what HandyRep thinks."""
    _do("get_status", {"check_type": check})


def _do(name: str, arguments: dict[str, object]) -> None:
    listener = None if _Chosen.as_json else text.progress
    rd = asyncio.run(AsyncHandyRep(_Chosen.conf, listener).call(name, **arguments))
    if _Chosen.as_json:
        typer.echo(json.dumps(rd, indent=2, default=str))
    else:
        text.show(name, rd)
    raise typer.Exit(exit_code(rd))


def exit_code(rd: RD) -> int:
    """What the process ends with for this answer."""
    if rd.get("result") == "SUCCESS":
        return OK
    if rd.get("uncertain") is True:
        return UNCERTAIN
    return WRONG_USE if rd.get("error") == "RefusedError" else FAILED


def _command(operation: Operation) -> Callable[..., None]:
    def command(**arguments: object) -> None:
        _do(operation.name, {name: value for name, value in arguments.items() if value is not None})

    parameters = [_parameter(parameter) for parameter in operation.parameters]
    command.__name__ = operation.name
    command.__doc__ = operation.text
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined] # typer reads it
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command


def _parameter(declared: Parameter) -> inspect.Parameter:
    help_text = declared.text + (f" ({', '.join(declared.choices)})" if declared.choices else "")
    if declared.required:
        return _made(declared.name, Annotated[declared.kind, typer.Argument(help=help_text)], inspect.Parameter.empty)
    shown = declared.default is not None
    argument = typer.Argument if declared.bare else typer.Option
    return _made(declared.name, Annotated[declared.kind | None, argument(help=help_text, show_default=shown)], None)


def _made(name: str, annotation: Any, default: object) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)


for _operation in OPERATIONS.values():
    app.command(_operation.name.replace("_", "-"), rich_help_panel=_operation.group)(_command(_operation))


def main() -> None:
    """Entry point. Every error that people can cause ends in a sentence, not in a traceback."""
    try:
        status = app(standalone_mode=False)
    except typer.Exit as done:
        sys.exit(done.exit_code)
    except typer.Abort:
        sys.exit(INTERRUPTED)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except HandyRepError as error:
        typer.echo(str(error), err=True)
        sys.exit(WRONG_USE if isinstance(error, ConfigurationError) else FAILED)
    except Exception as error:
        if not _is_usage(error):
            raise
        error.show()  # type: ignore[attr-defined] # click's usage errors show themselves
        sys.exit(WRONG_USE)
    sys.exit(status if isinstance(status, int) else OK)


def _is_usage(error: Exception) -> bool:
    return hasattr(error, "exit_code") and hasattr(error, "show")
