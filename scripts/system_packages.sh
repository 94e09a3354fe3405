#!/bin/sh
# Install the Debian packages that the tests on real servers need. Does nothing when they are there, or when we are neither root
# nor allowed to sudo: those tests are then skipped with the reason (and failed in CI).
# The services of these packages must not run on this machine itself: a policy-rc.d forbids it while they are installed.
set -eu
packages="postgresql-15 pgbouncer haproxy socat openssh-server openssh-client systemd systemd-container dbus sudo iproute2 iptables procps iputils-ping rsync util-linux e2fsprogs"

missing=""
for package in $packages; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

as_root=""
if [ "$(id -u)" != 0 ]; then
    sudo -n true 2>/dev/null || { echo "Without root, not installed:$missing"; exit 0; }
    as_root="sudo -n"
fi
command -v apt-get >/dev/null || { echo "This is no Debian; please install:$missing"; exit 0; }

echo "Installing Debian packages:$missing"
policy=/usr/sbin/policy-rc.d
ours=no
if [ ! -e "$policy" ]; then
    ours=yes
    printf '#!/bin/sh\nexit 101\n' | $as_root tee "$policy" >/dev/null
    $as_root chmod 755 "$policy"
    trap '$as_root rm -f "$policy"' EXIT INT TERM
fi
$as_root apt-get update -q >/dev/null
DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -q --no-install-recommends $missing >/dev/null
[ "$ours" = no ] || $as_root rm -f "$policy"
trap - EXIT INT TERM
