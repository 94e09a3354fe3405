"""Templates of files that HandyRep writes on proxies: found, and rendered. Must never let a template run code or read files."""

import dataclasses
import functools
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

from jinja2 import StrictUndefined, TemplateError
from jinja2 import Template as JinjaTemplate
from jinja2.sandbox import SandboxedEnvironment

from handyrep.errors import PluginError


@dataclasses.dataclass(frozen=True, slots=True)
class Template:
    """Its text, and whether it is the user's own."""

    text: str
    is_own: bool


def find_template(name: str, folder: str) -> Template:
    """The file of that name in the folder (templates_dir), or else among HandyRep's own. Raises PluginError."""
    if Path(name).name != name:
        raise PluginError(f"template {name!r} must be the name of a file in templates_dir")
    own = Path(folder) / name if folder else None
    try:
        if own is not None and own.is_file():
            return Template(own.read_text(encoding="utf-8"), is_own=True)
        return Template((files("handyrep") / "templates" / name).read_text(encoding="utf-8"), is_own=False)
    except (OSError, UnicodeDecodeError):
        where = f"{folder}, nor among HandyRep's own" if folder else "HandyRep's own, and templates_dir is not set"
        raise PluginError(f"the template {name} is not to be read in {where}") from None


def rendered(template: str, values: Mapping[str, object]) -> str:
    """What the template gives. Raises PluginError: a name that is not there is an error, never empty."""
    try:
        return _compiled(template).render(values)
    except (TemplateError, TypeError, ValueError, ArithmeticError, RecursionError) as error:
        raise PluginError(f"the template cannot be rendered: {type(error).__name__}: {error}") from None


@functools.lru_cache(maxsize=32)
def _compiled(template: str) -> JinjaTemplate:
    """Compiling takes longer than rendering, and a template hardly ever changes."""
    environment = SandboxedEnvironment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False
    )
    return environment.from_string(template)
