"""One held remote shell: commands go in one after the other, each answer is cut out between random marks.

A held shell answers in about a millisecond where a new SSH channel takes 15 or more. A shell that did not answer in time is
thrown away with what it runs; it is never used again. What the login prints, or an earlier command left running prints,
stands before the first mark and is never looked at.
"""

import asyncio
import secrets
import shlex

import asyncssh

from handyrep.adapters.output import Kept
from handyrep.adapters.quoting import ENVIRONMENT, shell_line, with_input
from handyrep.ports import Ran

_CHUNK_BYTES = 1 << 16
_KEPT_VARIABLES = ("HOME", "USER", "LOGNAME")
_START = (
    "cd / && exec env -i",
    *(f'{name}="${name}"' for name in _KEPT_VARIABLES),
    *(f"{name}={value}" for name, value in ENVIRONMENT.items()),
)
"""Nothing of the login's environment but who it is: no PG*, no LD_*. In / since others may not enter the login's home."""


class Shell:
    """A remote `sh`. One command at a time; the caller gives the deadline.

    `usable`: it has answered all it was asked. `begun`: the host has taken up the last command. `process_group`: what to kill
    when it owes an answer; asked before any command, since a busy host may begin one long after nobody waits for it any more.
    `switch`: the sudo and its options by which it runs as another account than the login; nothing when it does not.
    """

    def __init__(
        self, process: asyncssh.SSHClientProcess[bytes], process_group: int, switch: tuple[str, ...] = ()
    ) -> None:
        self._process = process
        self.switch = switch
        self._asked = False
        self.begun = False
        self.process_group = process_group

    @classmethod
    async def start(cls, connection: asyncssh.SSHClientConnection, switch: tuple[str, ...] = ()) -> "Shell":
        """Open one on a connection. Raises OSError: it ended at once, as one does that sudo refuses, or its process group cannot be told."""
        line = " ".join((*_START, *(shlex.quote(word) for word in switch), "sh"))
        process = await connection.create_process(line, encoding=None)
        mark = secrets.token_hex(16).encode()
        process.stdin.write((_begin_in_group(mark) if switch else _begin(mark)) + b"\n")
        try:
            return cls(process, await _Section(process.stdout, mark).begin(), switch)
        except OSError:
            process.close()
            raise

    @property
    def usable(self) -> bool:
        """Whether a command can be given to it: it is open and owes no answer."""
        return not self._asked and not self._process.is_closing()

    async def run(self, argv: tuple[str, ...], stdin: bytes) -> Ran:
        """Run one command to its end. When this is cancelled, or the shell breaks, it is not usable any more."""
        mark = secrets.token_hex(16).encode()
        script = _script(argv, stdin, mark)
        self._asked, self.begun = True, False
        self._process.stdin.write(script)
        out, err = _Section(self._process.stdout, mark), _Section(self._process.stderr, mark)
        status, _ = await asyncio.gather(self._answer(out), self._answer(err))
        self._asked = False
        return Ran(status, out.kept.text(), err.kept.text(), cut=out.kept.cut or err.kept.cut)

    def close(self) -> None:
        """Close the channel. What runs in the shell may go on: kill its process group first."""
        self._asked = True
        self._process.close()

    async def _answer(self, section: "_Section") -> int:
        await section.begin()
        self.begun = True
        return await section.end()


def _script(argv: tuple[str, ...], stdin: bytes, mark: bytes) -> bytes:
    """The command with its input between two marks on both outputs: shell's process before it, exit status behind it."""
    line = with_input(shell_line(argv), stdin, mark)
    begin = _begin(mark)
    end = b"printf '\\n%se%%s\\n' $status" % mark
    return b"%s; %s >&2; {\n%s\n}; status=$?; %s; %s >&2\n" % (begin, begin, line, end, end)


def _begin(mark: bytes) -> bytes:
    return b"printf '\\n%sb%%s\\n' $$" % mark


def _begin_in_group(mark: bytes) -> bytes:
    """Sudo may or may not have made a process group for it: the kernel tells which one it is in."""
    return b"read -r _ _ _ _ group _ < /proc/$$/stat; printf '\\n%sb%%s\\n' $group" % mark


class _Section:
    """What one command wrote to one stream."""

    def __init__(self, stream: asyncssh.SSHReader[bytes], mark: bytes) -> None:
        self.kept = Kept()
        self._stream = stream
        self._mark = b"\n" + mark
        self._tail = b""

    async def begin(self) -> int:
        """The number in the first mark; all before it is dropped."""
        return await self._number_after(self._mark + b"b", Kept())

    async def end(self) -> int:
        """The number in the second mark; what comes before it is kept."""
        return await self._number_after(self._mark + b"e", self.kept)

    async def _number_after(self, mark: bytes, before: Kept) -> int:
        while True:
            start = self._tail.find(mark)
            end = self._tail.find(b"\n", start + len(mark)) if start >= 0 else -1
            if end >= 0:
                number = self._tail[start + len(mark) : end]
                before.add(self._tail[:start])
                self._tail = self._tail[end + 1 :]
                if not number.isdigit():
                    raise ConnectionAbortedError("the remote shell does not tell its number")
                return int(number)
            if start < 0:
                keep = len(mark) - 1
                before.add(self._tail[:-keep])
                self._tail = self._tail[-keep:]
            chunk = await self._stream.read(_CHUNK_BYTES)
            if not chunk:
                raise ConnectionResetError("the remote shell ended")
            self._tail += chunk
