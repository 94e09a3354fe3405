"""The clients: a process of its own, wherever it is started on the network. `python -m soak.routes PLAN HISTORY`.

PLAN is a JSON file: a list of [route, address, port, user, password]. On each route a thread writes rows, one after the other, as long as
the process's standard input is open; a line there names a route on which one more row is written by a statement that computes first.
Every answer but a refusal becomes a line of HISTORY. Must know nothing of HandyRep.
"""

import itertools
import json
import sys
import threading
from contextlib import suppress
from io import FileIO
from pathlib import Path

from soak.history import Refused, to_line
from soak.session import Door, Session, SilentError, opened

_ANSWER_S, _OPEN_S = 4.0, 1.5
_PAUSE_S, _AFTER_REFUSAL_S, _BEFORE_ANOTHER_S = 0.005, 0.05, 0.2
_REFUSALS_OF_A_SESSION = 10
"""A server that refuses may be promoted, so the session is kept for a while; it may also be the wrong one, so not for ever."""
_ROWS_OF_A_ROUTE = 10**9


class Client:
    """Writes on one route. No row is ever tried twice, so each has one fate. `history` takes each line in one write."""

    def __init__(self, number: int, route: str, door: Door, history: FileIO) -> None:
        self.route = route
        self._door = door
        self._rows = itertools.count(number * _ROWS_OF_A_ROUTE)
        self._history = history

    def work(self, stop: threading.Event) -> None:
        """Until told to stop."""
        while not stop.is_set():
            with suppress(SilentError), opened(self._door, _OPEN_S) as session:
                self._use(session, stop)
            stop.wait(_BEFORE_ANOTHER_S)

    def busy_once(self) -> None:
        """One row by a statement that computes first, in a session of its own."""
        with suppress(SilentError), opened(self._door, _OPEN_S) as session:
            self._write(session, busy=True)

    def _use(self, session: Session, stop: threading.Event) -> None:
        refusals = 0
        while refusals < _REFUSALS_OF_A_SESSION and not stop.is_set():
            refused = self._write(session)
            refusals = refusals + 1 if refused else 0
            stop.wait(_AFTER_REFUSAL_S if refused else _PAUSE_S)

    def _write(self, session: Session, *, busy: bool = False) -> bool:
        """Whether it was refused. Raises SilentError when the session is over, once that is written down."""
        answer = session.insert(next(self._rows), _ANSWER_S, busy=busy)
        if isinstance(answer, Refused):
            return True
        self._history.write(to_line(answer, self.route).encode())
        if session.is_over:
            raise SilentError
        return False


def main(plan: str, history: str) -> None:
    """Write on all routes until standard input ends."""
    stop = threading.Event()
    with FileIO(history, "a") as file:
        doors = json.loads(Path(plan).read_text())
        clients = {route: Client(number, route, Door(*door), file) for number, (route, *door) in enumerate(doors, 1)}
        threads = [threading.Thread(target=client.work, args=(stop,)) for client in clients.values()]
        for thread in threads:
            thread.start()
        for line in sys.stdin:
            threads.append(threading.Thread(target=clients[line.strip()].busy_once))
            threads[-1].start()
        stop.set()
        for thread in threads:
            thread.join()


if __name__ == "__main__":
    main(*sys.argv[1:])
