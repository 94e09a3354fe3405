"""`handyrep serve`: the monitor loop and the control socket, until SIGTERM or SIGINT. Logs one JSON object a line."""

import asyncio
import contextlib
import datetime as dt
import json
import logging
import signal
import sys
from pathlib import Path

from handyrep.app import running
from handyrep.engine.monitor import Monitor
from handyrep.surfaces.control import listening
from handyrep.surfaces.progress import Audience


class JsonLines(logging.Formatter):
    """One JSON object a line: nothing in a text can break a line or hide in one."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as JSON."""
        at = dt.datetime.fromtimestamp(record.created, dt.UTC).isoformat(timespec="milliseconds")
        line = {
            "at": at,
            "level": record.levelname.lower(),
            "kind": getattr(record, "kind", record.name),
            "text": record.getMessage(),
        }
        return json.dumps(
            {**line, **({"facts": facts} if (facts := getattr(record, "facts", None)) else {})}, default=str
        )


def log_to(file: str, *, verbose: bool) -> None:
    """Send HandyRep's log to a file, or to standard error when it is blank."""
    handler = logging.FileHandler(file) if file else logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logger = logging.getLogger("handyrep")
    logger.handlers[:] = [handler]
    logger.setLevel(logging.DEBUG if verbose else logging.INFO)
    logger.propagate = False


async def serve(conf: Path) -> None:
    """Run until a signal asks to stop. A step of a failover that is under way is left to its journal."""
    audience = Audience()
    async with running(conf, also_tell=audience) as on:
        settings = on.engine.settings.handyrep
        log_to(settings.log_file, verbose=settings.log_verbose)
        for warning in on.loaded.warnings:
            logging.getLogger("handyrep").warning(warning)
        async with listening(on, Path(settings.state_dir), audience) as path:
            on.history.record("start", f"HandyRep watches {settings.cluster_name}; control socket {path}", {})
            await _until_told(on.monitor)
        on.history.record("stop", "HandyRep was told to stop", {})


async def _until_told(monitor: Monitor) -> None:
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    task = asyncio.create_task(monitor.run())
    try:
        await told.wait()
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
