"""The errors HandyRep raises, each saying what happened, to which server, and what to do.

Owns the vocabulary of failure. Must never hold a secret: texts are shown, logged and stored.
"""


class HandyRepError(Exception):
    """Something a person may have to read.

    `what` is one sentence; `server` the server it happened to, if it was one; `remedy` what to do next.
    """

    def __init__(self, what: str, *, server: str | None = None, remedy: str | None = None) -> None:
        self.what = what
        self.server = server
        self.remedy = remedy
        super().__init__(what)

    def __str__(self) -> str:
        where = f"{self.server}: " if self.server else ""
        then = f" {self.remedy}" if self.remedy else ""
        return f"{where}{self.what}{then}"


class ConfigurationError(HandyRepError):
    """The configuration cannot be used. `problems` holds every mistake found, one sentence each."""

    def __init__(self, problems: tuple[str, ...], *, source: str) -> None:
        self.problems = problems
        self.source = source
        listed = "\n".join(f"  - {problem}" for problem in problems)
        count = "1 mistake" if len(problems) == 1 else f"{len(problems)} mistakes"
        super().__init__(f"{source}: {count}\n{listed}")


class NoAnswerError(HandyRepError):
    """A server or host did not answer: deadline, refusal, reset, DNS. It proves nothing about that server.

    For a command or statement that was already sent, the effect is unknown.
    """


class HostKeyError(NoAnswerError):
    """The SSH host key is unknown or has changed. Nothing was sent; nothing may be inferred about the server."""


class DatabaseError(HandyRepError):
    """PostgreSQL (or pgbouncer) answered with an error, so it is alive. `sqlstate` is its five characters or ''."""

    def __init__(self, what: str, *, sqlstate: str = "", server: str | None = None, remedy: str | None = None) -> None:
        self.sqlstate = sqlstate
        super().__init__(what, server=server, remedy=remedy)


class StateError(HandyRepError):
    """A state file or the journal cannot be read or written. It is never taken for "none"."""


class RecordError(HandyRepError):
    """A record is not what this HandyRep writes, or could not be made. It is never taken for something near it."""


class PluginError(HandyRepError):
    """A plugin is missing, cannot be loaded, or returned something that is no answer."""


class RevokedError(HandyRepError):
    """A plugin used a helper after its deadline. The helper did nothing."""


class RefusedError(HandyRepError):
    """HandyRep refuses what was asked, since it is unsafe, impossible or not understood. Nothing was changed."""


class BusyError(RefusedError):
    """Another operation that changes the cluster is running. Nothing was changed."""
