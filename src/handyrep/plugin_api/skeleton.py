"""Writes a new plugin that works from the first moment, with a test beside it."""

import keyword
import re
from pathlib import Path

from handyrep.errors import RefusedError
from handyrep.plugin_api.contract import KINDS, Kind, Method

_PLUGIN = '''\
"""{name}: say in one sentence what it is for."""

from handyrep.directives import text
from handyrep.plugin_api.contract import Kind
from handyrep.plugin_api.options import option
from handyrep.plugins.handyrepplugin import handyrepplugin


class {name}(handyrepplugin):
    """Say in one sentence what it does.

    Does: …
    Touches on the server: nothing yet.
    Needs: …
    Safe to repeat?: yes.
    When it cannot tell: it fails and says why.
    Options: greeting.
    """

    kinds = (Kind.{kind_name},)
    greeting = option(text, "hello", "an option of your own: [plugins] [[{name}]] greeting = …")
{methods}
    def test(self, servername=None):
        """Fail when run() could not work: a missing tool, a wrong path, an unreachable host. Change nothing."""
        return self.success(f"{{self.greeting}}: {name} is ready")
'''
_METHOD = '''
    def {name}({parameters}):
        """{text}

        Helpers that wait for you: self.run_as_postgres(servername, "program", "argument"), self.run_as_root(...),
        self.run_as_login(...), self.run_local(...), self.query(servername, "select 1"), self.server(servername).
        """
        return {answer}
'''
_TEST = '''\
"""The contract that every plugin keeps, tried on {name}. Run it with: pytest {test_file}"""

from pathlib import Path

from handyrep.plugin_api.contract import Kind
from handyrep.plugin_api.testing import check_plugin


def test_{name}_keeps_the_contract() -> None:
    assert check_plugin("{name}", Kind.{kind_name}, plugins_dir=Path(__file__).parent) == []
'''


def write_skeleton(name: str, kind: Kind, folder: Path) -> list[Path]:
    """Write NAME.py and test_NAME.py. Raises RefusedError when the name will not do or a file is there already."""
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,62}", name) or keyword.iskeyword(name) or name.startswith("test_"):
        raise RefusedError(
            f"{name!r} cannot be the name of a plugin", remedy="Letters, digits and '_', and no word of Python."
        )
    plugin, test = folder / f"{name}.py", folder / f"test_{name}.py"
    for file in (plugin, test):
        if file.exists():
            raise RefusedError(f"{file} is there already; nothing was written")
    methods = "".join(_method(method) for method in KINDS[kind].methods if not method.optional)
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o755)
        plugin.write_text(_PLUGIN.format(name=name, kind_name=kind.name, methods=methods), encoding="utf-8")
        test.write_text(_TEST.format(name=name, kind_name=kind.name, test_file=test.name), encoding="utf-8")
    except OSError as error:
        raise RefusedError(f"{folder} cannot be written to ({error.strerror})") from None
    return [plugin, test]


def _method(method: Method) -> str:
    parameters = ", ".join(["self", *method.parameters])
    answer = "[]" if method.returns_list else 'self.fail("not written yet: this plugin does nothing")'
    return _METHOD.format(name=method.name, parameters=parameters, text=method.text, answer=answer)
