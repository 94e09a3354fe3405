"""docs/plugins.md, made from the plugins themselves: what each is for, does, touches and needs, and its options."""

import inspect
from collections.abc import Iterator
from importlib.resources import files

from handyrep.plugin_api.contract import COMMON, KINDS
from handyrep.plugin_api.options import options_of
from handyrep.plugin_api.plugin import Plugin
from handyrep.plugin_api.registry import Registry

HEADINGS = ("Does", "Touches on the server", "Needs", "Safe to repeat?", "When it cannot tell", "Options")
"""What the docstring of every plugin of HandyRep's own answers, in this order."""


def page() -> str:
    """The whole page."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield "# Plugins"
    yield ""
    yield "Made by `make docs` from the plugins themselves. HandyRep's engine touches no server: every action is one of these, and each can be"
    yield "replaced with one file of your own."
    yield ""
    yield "## Kinds"
    yield ""
    yield "| kind | directive | what for | methods beside test() |"
    yield "|---|---|---|---|"
    for kind, contract in KINDS.items():
        methods = ", ".join(
            f"`{m.name}({', '.join(m.parameters)})`" + (" (optional)" if m.optional else "") for m in contract.methods
        )
        yield f"| {kind.value} | `{contract.directive}` | {contract.text} | {methods} |"
    yield ""
    yield "Each has, or may have, as well:"
    yield ""
    for method in COMMON:
        optional = " (optional)" if method.optional else ""
        yield f"- `{method.name}({', '.join(method.parameters)})`{optional}: {method.text}"
    yield ""
    yield from (files("handyrep") / "templates" / "writing_plugins.md").read_text(encoding="utf-8").splitlines()
    yield ""
    yield "## The plugins"
    registry = Registry()
    for name in registry.names():
        yield from _section(name, registry.load(name))


def _section(name: str, plugin: type[Plugin]) -> Iterator[str]:
    about, headings = parts(plugin)
    yield ""
    yield f"### {name}"
    yield ""
    kinds = ", ".join(f"`{KINDS[kind].directive}`" for kind in plugin.kinds) or "any directive"
    yield f"For {kinds}. {about}"
    yield ""
    for heading in HEADINGS[:-1]:
        yield f"- **{heading}** {headings.get(heading, '')}"
    yield ""
    declared = options_of(plugin)
    if not declared:
        yield "Options: none."
        return
    yield "| option | default | |"
    yield "|---|---|---|"
    for option, directive in declared.items():
        default = ", ".join(directive.default) if isinstance(directive.default, tuple) else directive.default
        yield f"| `{option}` | {default if default not in ('', None) else 'blank'} | {directive.help} |"


def parts(plugin: type[Plugin]) -> tuple[str, dict[str, str]]:
    """(what comes before the first heading, text by heading) of a plugin's docstring."""
    about: list[str] = []
    headings: dict[str, str] = {}
    current = ""
    for line in (inspect.getdoc(plugin) or "").splitlines():
        found = next(
            (
                heading
                for heading in HEADINGS
                if line.startswith(f"{heading}:") or (line.startswith(heading) and heading.endswith("?"))
            ),
            "",
        )
        if found:
            current = found
            headings[current] = line.removeprefix(found).lstrip(":").strip()
        elif current:
            headings[current] = f"{headings[current]} {line.strip()}".strip()
        else:
            about.append(line.strip())
    return " ".join(about).strip(), headings
