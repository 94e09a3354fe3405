"""A HandyRep as people run it (`handyrep serve`), in a process of its own that kills itself at a boundary of its journal.

`python -m tests.lab.mortal WHEN NUMBER ARGUMENTS`: SIGKILL just `before` or `after` the record of that number is on disk; 0 never.
Nothing else about it differs from the real one: it is its code.
"""

import os
import signal
import sys
from collections.abc import Callable, Mapping
from typing import Any

from handyrep.adapters.journal_file import RecordFile
from handyrep.surfaces.cli import main


def mortal(when: str, number: int) -> None:
    """Let the journal's record of that number be the last thing this process does, or the first that it does not do."""
    add = RecordFile._add
    written = 0

    def dying(self: RecordFile, record: Mapping[str, Any], settle: Callable[[int], None]) -> None:
        nonlocal written
        written += 1
        if written == number and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        add(self, record, settle)
        if written == number:
            os.kill(os.getpid(), signal.SIGKILL)

    RecordFile._add = dying  # type: ignore[method-assign] # this process is made to be killed by it


if __name__ == "__main__":
    mortal(sys.argv[1], int(sys.argv[2]))
    sys.argv[1:] = sys.argv[3:]
    main()
