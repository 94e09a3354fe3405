"""A real streaming replica of a real PostgreSQL, on loopback."""

import contextlib
import os
import pwd
import subprocess
from collections.abc import Iterator

from tests.adapters.ports import free_port
from tests.adapters.postgresql import PASSWORD, PostgreSQL, account, short_folder


@contextlib.contextmanager
def replica_of(master: PostgreSQL) -> Iterator[PostgreSQL]:
    """Copied, started, and removed at the end."""
    with short_folder() as folder:
        made = PostgreSQL(folder, free_port(), master.programs)
        group = None if account() is None else pwd.getpwnam(account() or "").pw_gid
        where = ["-h", "127.0.0.1", "-p", str(master.port), "-U", "postgres"]
        subprocess.run(
            [str(master.programs / "pg_basebackup"), *where, "-D", str(folder / "data"), "-R", "-c", "fast", "-X", "stream"],
            check=True, capture_output=True, user=account(), group=group, env={**os.environ, "PGPASSWORD": PASSWORD},
        )  # fmt: skip
        with (folder / "data/postgresql.conf").open("a") as conf:
            conf.write(f"port = {made.port}\nunix_socket_directories = '{folder}'\n")
        try:
            made.start()
            yield made
        finally:
            made.stop()
