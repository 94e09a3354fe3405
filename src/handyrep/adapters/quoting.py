"""The one place where a command becomes a shell line. Every word is quoted; nothing in it can become syntax.

Must never add meaning: what a program is given is byte for byte what stands in its Command.
"""

import base64
import re
import shlex

from handyrep.errors import RefusedError
from handyrep.ports import Command

ENVIRONMENT = {"LC_ALL": "C", "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
"""What every command sees whatever the login says: messages in English, and the system's programs."""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OF_ITSELF = re.compile(r"\$\{?(?:\$|0|PPID)")
"""What a script may ask of the process that it runs in."""
_PLAIN = re.compile(rb"[\t\n -~]*\n")


def checked(command: Command) -> Command:
    """The same command. Raises RefusedError for words that no program can be given unchanged."""
    if not command.argv or not command.argv[0]:
        raise RefusedError("a command without a program cannot be run")
    if "=" in command.argv[0]:
        raise RefusedError(f"{command.argv[0]!r} is no program: env and sudo would take it for a variable")
    wrong = [name for name in command.environment if not _NAME.fullmatch(name)]
    if wrong:
        raise RefusedError(f"{wrong[0]!r} is no name for an environment variable")
    for word in (*command.argv, *command.environment.values()):
        _as_bytes(word)
    return command


def with_variables(command: Command) -> tuple[str, ...]:
    """The argv, begun by env where the command has variables of its own. They are as visible as arguments: no secrets."""
    variables = tuple(f"{name}={value}" for name, value in command.environment.items())
    return ("env", "--", *variables, *command.argv) if variables else command.argv


def shell_line(argv: tuple[str, ...]) -> bytes:
    """The argv as one line for a POSIX shell.

    A script for sh is run by a child of that shell, which is one: to begin programs for it takes longer than most scripts do. Whatever
    else it is begins with env, so that a program called `exit`, `exec` or `eval` is never the shell's own word of that name.
    """
    words = [_as_bytes(shlex.quote(word)) for word in argv]
    if argv[:2] == ("sh", "-c") and len(argv) > 2 and not _OF_ITSELF.search(argv[2]):
        return b"( set -- %s; eval %s )" % (b" ".join(words[4:]), words[2])
    return b" ".join((b"env --", *words))


def with_input(line: bytes, stdin: bytes, end: bytes) -> bytes:
    """A line of shell_line that reads this; `end` is a word that does not stand in it. What a shell might not keep as it is goes encoded."""
    if not stdin:
        return line + b" </dev/null"
    if _PLAIN.fullmatch(stdin):
        return b"%s <<'%s'\n%s%s" % (line, end, stdin, end)
    return b"base64 -d <<'%s' | %s\n%s%s" % (end, line, base64.encodebytes(stdin), end)


def _as_bytes(word: str) -> bytes:
    if "\0" in word:
        raise RefusedError("a command with a NUL character cannot be run")
    try:
        return word.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise RefusedError(f"{word!r} cannot be written as UTF-8") from None
