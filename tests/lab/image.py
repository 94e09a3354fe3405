"""The file system that all hosts of a lab share: this machine's own root, and over it prepared layers.

The first layer holds accounts, keys, sshd and sudo rules, and which units start. PostgreSQL comes in a layer for each version (see
databases). Every host boots with its own empty layer above those, so all hosts begin as exact copies. Whatever is switched on
on this machine itself is switched off in the layer: hosts start what the lab names, and nothing else.
"""

import contextlib
import datetime as dt
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.lab.certificates import LIFE, Authority
from tests.lab.shell import LabError, run

ROOT_TIER, POSTGRES_TIER, LOGIN_TIER = "handyrep", "handyrep_pg", "postgres"
"""Accounts to log in as: may become root and postgres; may become only postgres; is postgres."""
CERTIFICATE = ("/etc/ssl/lab/server.crt", "/etc/ssl/lab/server.key")
"""PostgreSQL's own on every host, and its key."""
_HOST_KEY = "etc/ssh/lab_host_key"
_WANTED = ("ssh.service", "postgresql.service")
"""postgresql.service is Debian's empty umbrella over clusters: always "active", it starts those that shall start with the host."""
_MASKED = (
    "console-getty.service", "getty.target", "systemd-firstboot.service", "systemd-hwdb-update.service", "systemd-journal-flush.service",
    "systemd-machine-id-commit.service", "systemd-network-generator.service", "systemd-random-seed.service", "systemd-remount-fs.service",
    "systemd-sysusers.service", "systemd-update-utmp-runlevel.service", "systemd-update-utmp.service", "timers.target",
    # A real host runs logind. It would start a manager for each account that logs in, half a second of a test machine's two cores.
    "systemd-logind.service",
)  # fmt: skip
_SSHD = f"HostKey /{_HOST_KEY}\nPasswordAuthentication no\n"
_SUDO = f"{ROOT_TIER} ALL=(root,postgres) NOPASSWD: ALL\n{POSTGRES_TIER} ALL=(postgres) NOPASSWD: ALL\n"
_ONE_FILE_SYSTEM = ("etc", "usr", "var", "home")


class Image:
    """The prepared first layer in `folder`, and the key that opens its accounts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.layer = folder / "image"
        self.client_key = folder / "id_ed25519"
        self.root_certificate = folder / "root.crt"
        self._authority: Authority | None = None

    def prepare(self) -> None:
        """Make the layer. Raises LabError."""
        apart = [name for name in _ONE_FILE_SYSTEM if Path("/", name).is_mount()]
        if apart:
            raise LabError(
                f"the hosts' root is this machine's: /{', /'.join(apart)} must not be file systems of their own"
            )
        _make_key(self.client_key)
        self._authority = Authority(self.root_certificate)
        with mounted(self.folder, self.layer) as root:
            self._accounts(root)
            self._services(root)
            self._databases_of_the_machine(root)

    def make_identity(self, root: Path, name: str, addresses: tuple[str, ...], ssh_port: int) -> None:
        """What one host has for itself: its name, its SSH key, its port of sshd, PostgreSQL's certificate. Raises LabError."""
        write(root / "etc/hostname", f"{name}\n")
        write(root / "etc/hosts", f"127.0.0.1 localhost {name}\n::1 localhost\n")
        _make_key(root / _HOST_KEY)
        write(root / "etc/ssh/sshd_config.d/lab.conf", f"{_SSHD}Port {ssh_port}\n")
        self.certify(root, name, addresses)

    def certify(self, root: Path, name: str, addresses: tuple[str, ...], life: dt.timedelta = LIFE) -> None:
        """A new certificate for a host's PostgreSQL, which reads it when it reloads. Raises LabError."""
        if self._authority is None:
            raise LabError("the image is not prepared")
        for file, text in zip(CERTIFICATE, self._authority.issue(name, *addresses, life=life), strict=True):
            write(root / file.lstrip("/"), text, 0o600)
            shutil.chown(root / file.lstrip("/"), "postgres", "postgres")

    def public_key_of(self, root: Path) -> str:
        """The host's SSH key as known_hosts has it."""
        return " ".join((root / f"{_HOST_KEY}.pub").read_text().split()[:2])

    def _accounts(self, root: Path) -> None:
        """A password of '*' is one that nobody has; a locked account could not log in with a key either."""
        for name in (ROOT_TIER, POSTGRES_TIER):
            run("chroot", str(root), "userdel", "-r", name, check=False)
            run("chroot", str(root), "useradd", "-m", "-s", "/bin/bash", "-p", "*", name)
        run("chroot", str(root), "usermod", "-p", "*", "-s", "/bin/bash", LOGIN_TIER)
        for name in (ROOT_TIER, POSTGRES_TIER, LOGIN_TIER):
            folder = Path("var/lib/postgresql" if name == LOGIN_TIER else f"home/{name}", ".ssh")
            (root / folder).mkdir(mode=0o700, exist_ok=True)
            write(root / folder / "authorized_keys", self.client_key.with_suffix(".pub").read_text())
            run("chroot", str(root), "chown", "-R", f"{name}:", f"/{folder}")
        write(root / "etc/sudoers.d/lab", _SUDO, 0o440)

    def _services(self, root: Path) -> None:
        system = root / "etc/systemd/system"
        for wants in (*system.glob("*.wants"), *system.glob("*.requires"), *root.glob("etc/rc?.d")):
            shutil.rmtree(wants)
        for unit in _MASKED:
            link(system / unit, "/dev/null")
        for unit in _WANTED:
            link(system / "multi-user.target.wants" / unit, f"/lib/systemd/system/{unit}")
        link(system / "default.target", "/lib/systemd/system/multi-user.target")
        write(root / "etc/machine-id", "")
        write(root / "etc/fstab", "")

    def _databases_of_the_machine(self, root: Path) -> None:
        """Debian's package makes a cluster where it is installed; the hosts shall have those of the lab."""
        for folder in (*root.glob("etc/postgresql/*"), *root.glob("var/lib/postgresql/[0-9]*")):
            shutil.rmtree(folder)


@contextlib.contextmanager
def mounted(folder: Path, upper: Path, *layers: Path) -> Iterator[Path]:
    """The machine's root with `layers` and then `upper` over it, for preparing: programs run in it by chroot.

    /dev is mounted anew, not bound: taking a bound one away could take the machine's own file systems below /dev with it.
    """
    root = mount(folder, upper, layers)
    try:
        run("mount", "-t", "proc", "proc", str(root / "proc"))
        run("mount", "-t", "devtmpfs", "devtmpfs", str(root / "dev"))
        run("mount", "-t", "tmpfs", "tmpfs", str(root / "dev/shm"))
        yield root
    finally:
        for place in ("dev/shm", "dev", "proc", ""):
            run("umount", str(root / place), check=False)


def mount(folder: Path, upper: Path, layers: Iterable[Path]) -> Path:
    """Mount an overlay of the machine's root, the layers, the last on top, and `upper` to write to; its folder."""
    work, root = folder / f"{upper.name}.work", folder / f"{upper.name}.root"
    for one in (upper, work, root):
        one.mkdir(exist_ok=True)
    lower = ":".join([*(str(layer) for layer in reversed(list(layers))), "/"])
    run("mount", "-t", "overlay", "overlay", "-o", f"lowerdir={lower},upperdir={upper},workdir={work}", str(root))
    return root


def write(path: Path, text: str, mode: int = 0o644) -> None:
    """A file in place of whatever stood there: a link is not followed, out of the layer."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_text(text)
    path.chmod(mode)


def link(path: Path, target: str) -> None:
    """A symbolic link in place of whatever stood there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(target)


def _make_key(path: Path) -> None:
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f", str(path))
