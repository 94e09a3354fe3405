"""Free ports on loopback."""

import contextlib
import itertools
import os
import shutil
import socket
import time
from collections.abc import Iterator

import pytest

_WAIT_S = 20.0
_FIRST, _LAST = 20000, 32000


def program(name: str) -> str:
    """Where a system's program is; without it the test is skipped, which CI takes for a failure."""
    found = shutil.which(name, path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin")
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def _ours() -> Iterator[int]:
    """Below the ports that clients get from the kernel, and not those of another worker of the same run."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    width = (_LAST - _FIRST) // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    begin = os.getpid() * 37 % width
    for number in itertools.count(begin):
        yield _FIRST + worker * width + number % width


_PORTS = _ours()


def free_port() -> int:
    """A port that nobody uses now, and nobody is given until thousands of others were."""
    for port in itertools.islice(_PORTS, _LAST - _FIRST):
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")


def wait_for(port: int) -> None:
    """Return when somebody listens there."""
    end = time.monotonic() + _WAIT_S
    while time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.02)
    raise AssertionError(f"nobody listens on port {port}")
