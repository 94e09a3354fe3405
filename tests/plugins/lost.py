"""Answers of databases that get lost."""

from typing import Any

import pytest

from handyrep.adapters.postgres import RealDatabases
from handyrep.model.server import Server


def lose(monkeypatch: pytest.MonkeyPatch, server: str, part: str, error: Exception, *, sent: bool = True) -> None:
    """Of statements with this part the answer of that server is lost."""
    real = RealDatabases.query

    async def query(self: RealDatabases, to: Server, statement: str, *values: Any, **how: Any) -> Any:
        lost = to.name == server and part in statement
        answer = await real(self, to, statement, *values, **how) if sent or not lost else ()
        if lost:
            raise error
        return answer

    monkeypatch.setattr(RealDatabases, "query", query)
