"""What fence_lease puts on the master's host: a guard that ends PostgreSQL when its lease is over, and a door that lets it start.

Owns these shell programs and the places they use. All of it but the door lies in /run, so that a reboot takes it away: then the door,
which stays, is shut. Must never end a PostgreSQL whose lease is not over.
"""

from handyrep.plugins._holders import DATA, HOLDERS, STOP

CHECK_S, STOP_S = 1.0, 9.0
"""How often the guard looks (and may wait two seconds for ss); how long until no process is left: 6.5 s of stopping, and looking for them."""
ROOM = "/run/handyrep-lease"

# The lease's end is a time of this host since it was started (with suspension), in hundredths of a second: whatever a clock is set to,
# and however late an order arrives, it cannot move; one that arrives after it does not open the door again. A receiver counts only as long as something was heard from its address: behind a
# cut line PostgreSQL itself would believe in it for wal_sender_timeout. A replica is left alone, and so is
# one that serves no client, as pg_rewind starts it: they acknowledge nothing.
GUARD = (
    DATA
    + HOLDERS
    + STOP
    + r"""
room=$2 silence_ms=$3 user=$4
over() {
    until=
    read -r until 2>/dev/null < "$room/until"
    case $until in ''|*[!0-9]*) return 0;; esac
    now; [ "$now" -gt "$until" ]
}
titles() {
    for process in $(holders); do
        echo "$process $(tr '\0' ' ' 2>/dev/null < "/proc/$process/cmdline") "
    done
}
is_alone() { titles | grep -q ' --single '; }
recovers() { [ -e "$data/standby.signal" ] && titles | grep -qE ': startup( recovering | waiting | *$)'; }
senders() {
    titles | while read -r process title; do
        case "$title " in
            *" walsender $user "*"sending backup"*) ;;
            *" walsender $user "*) echo "$process";;
        esac
    done
}
replica_is_attached() {
    sending=$(senders | tr '\n' ' ')
    [ -n "$sending" ] || return 1
    timeout 2 ss -Htnip state established 2>/dev/null | awk -v sending="$sending" -v peers=" $(cat "$room/peers") " -v most="$silence_ms" '
        /^[^ \t]/ {
            socket = $0; peer = $4
            sub(/:[0-9]+$/, "", peer); gsub(/[][]/, "", peer); sub(/%.*/, "", peer); sub(/^::ffff:/, "", peer)
        }
        /rcv_space:|lastsnd:|lastrcv:/ {
            heard = match($0, /lastrcv:[0-9]+/) ? substr($0, RSTART + 8, RLENGTH - 8) : 0
            if (index(peers, " " peer " ") == 0 || heard + 0 > most + 0) next
            for (n = split(sending, pids, " "); n > 0; n--) if (index(socket, "pid=" pids[n] ",")) found = 1
        }
        END { exit !found }
    '
}
told=
while sleep 1; do
    over || { told=; continue; }
    [ -n "$(holders)" ] || { rm -f "$room/open"; continue; }
    is_alone || recovers && continue
    replica_is_attached && continue
    over || continue
    [ "$told" ] || echo "the lease is over and no replica is attached: PostgreSQL in $data is stopped, and may not start"
    told=1
    rm -f "$room/open"
    stop
done
"""
)
"""The guard: `sh guard PGDATA ROOM SILENCE_MS REPLICATION_USER`. Runs until it is ended; `ROOM/peers` are the replicas' addresses."""

_PLACES = r"""
room=$2 guard=$3
runs() { main=$(sed -n 1p "$data/postmaster.pid" 2>/dev/null) && [ -n "$main" ] && [ "/proc/$main/cwd" -ef "$data" ]; }
unit_of() {
    sed -nE 's!^(0:|[0-9]*:name=systemd):(/.*)?/([^/]*\.service)$!\2/\3!p' "/proc/$1/cgroup" 2>/dev/null |
        grep -v /user.slice/ | sed 's!.*/!!' | tail -n 1
}
doors() { grep -lsF "AssertPathExists=|$room/open" /etc/systemd/system/*.d/handyrep-lease.conf; }
door_of() { echo "/etc/systemd/system/$1.d/handyrep-lease.conf"; }
put() { cat > "$1.new" && sync "$1.new" && mv -f "$1.new" "$1"; }
clock() {
    read -r boot < /proc/sys/kernel/random/boot_id && echo "boot=$boot"
    read -r now rest < /proc/uptime && now=${now%.*}${now#*.} && echo "now=$now"
}
renew() {
    clock >/dev/null && [ "$1" -gt "$now" ] || return 1
    echo "$1" > "$room/until.new" && mv -f "$room/until.new" "$room/until" && : > "$room/open"
}
"""

RENEW = (
    _PLACES
    + r"""
data=$1
clock
[ "$4" = "$boot" ] || exit 0
armed() {
    [ "$(cat "$room/terms" 2>/dev/null)" = "$6" ] && systemctl -q is-active "$guard.service" || return 1
    unit=$(cat "$room/unit") && [ -e "$(door_of "$unit")" ] || return 1
    ! runs || [ "$(unit_of "$main")" = "$unit" ]
}
armed "$@" && renew "$5" && echo armed=yes
exit 0
"""
)
"""`… PGDATA ROOM GUARD BOOT UNTIL TERMS`: says the host's clock, and renews the lease if BOOT is this one and all is in place (`armed`)."""

ARM = (
    DATA
    + _PLACES
    + r"""
boot=$4 until=$5 terms=$6 silence_ms=$7 user=$8
shift 8
fault() { echo "fault=$1"; exit 11; }
[ "$boot" = "$(cat /proc/sys/kernel/random/boot_id)" ] || fault "its host was started anew meanwhile"
[ -d /run/systemd/system ] || fault "systemd does not run its host"
for program in ss awk systemd-run getent; do command -v "$program" >/dev/null || fault "$program is missing on its host"; done
runs && unit=$(unit_of "$main") || unit=$(doors | sed 's!.*/\(.*\)\.d/.*!\1!' | head -n 1)
[ -n "$unit" ] || fault "PostgreSQL does not run in a service of systemd, so what would start it after a reboot is not known"
mkdir -p -m 0755 "${room%/*}" && mkdir -p -m 0700 "$room" || fault "$room cannot be made"
rm -f "$room/terms"
for name in "$@"; do getent ahosts "$name" | cut -d' ' -f1; done | sort -u | tr '\n' ' ' | put "$room/peers" || fault "$room cannot be written"
put "$room/guard" && echo "$unit" | put "$room/unit" || fault "$room cannot be written"
renew "$until" || fault "the order came too late"
door=$(door_of "$unit") escaped=$(echo "$data" | sed 's/%/%%/g')
doors | grep -vxF "$door" | while read -r old; do rm -f "$old"; done
mkdir -p "${door%/*}" && put "$door" <<END || fault "$door cannot be written"
# HandyRep (fence_lease) watches this PostgreSQL: it starts only while HandyRep renews its lease, or as a replica.
# To start it all the same, once you are sure that no other server is the master: delete this file, then systemctl daemon-reload
[Unit]
AssertPathExists=|$room/open
AssertPathExists=|$escaped/standby.signal
END
sync "${door%/*}" /etc/systemd/system 2>/dev/null || sync
systemctl daemon-reload || fault "systemctl daemon-reload failed"
systemctl show -P DropInPaths "$unit" | tr ' ' '\n' | grep -qxF "$door" || fault "systemd does not heed $door"
[ "$(systemctl cat "$unit" | grep -c '^Assert[A-Za-z]*=|')" = 2 ] || fault "$unit has alternatives of its own to what must hold when it starts"
systemctl -q stop "$guard.service" 2>/dev/null
systemctl -q reset-failed "$guard.service" 2>/dev/null
systemd-run -q --unit="$guard" --description="HandyRep's guard of PostgreSQL in $data" \
    -p Restart=always -p RestartSec=500ms -p StartLimitIntervalSec=0 \
    /bin/sh "$room/guard" "$data" "$room" "$silence_ms" "$user" || fault "the guard could not be started"
systemctl -q is-active "$guard.service" || fault "the guard does not run"
echo "$terms" | put "$room/terms"
clock
echo armed=yes
"""
)
"""`… PGDATA ROOM GUARD BOOT UNTIL TERMS SILENCE_MS REPLICATION_USER REPLICA…`, the guard on its input: puts all in place (`armed`), or says the `fault`."""

LEAVE = (
    _PLACES
    + r"""
clock >/dev/null
[ "$4" = "$boot" ] && [ "$5" -gt "$now" ] || { echo "the order came too late, or to a host that was started anew"; exit 11; }
systemctl -q stop "$guard.service" 2>/dev/null
systemctl -q reset-failed "$guard.service" 2>/dev/null
reload=
for door in $(doors); do
    rm -f "$door" && rmdir "${door%/*}" 2>/dev/null
    reload=yes
done
[ -z "$reload" ] || systemctl daemon-reload
rm -f "$room"/* && rmdir "$room" 2>/dev/null
rmdir "${room%/*}" 2>/dev/null
[ ! -e "$room" ] && [ -z "$(doors)" ] && ! systemctl -q is-active "$guard.service"
"""
)
"""`… PGDATA ROOM GUARD BOOT LATEST`: takes all away, with 0 when nothing is left. One that arrives after LATEST might take away what was put there since."""

PURPOSES = {
    "guard": "stops PostgreSQL when its lease is over and no replica is attached",
    "lease": "the lease, and what the guard goes by",
    "door": "lets PostgreSQL start only while there is a lease, or as a replica",
}
LEFT = (
    _PLACES
    + r"""
if [ -e "$room" ]; then echo "lease=$room"; fi
for door in $(doors); do echo "door=$door"; done
command -v systemctl >/dev/null || exit 0
[ -z "$(systemctl list-units --all --plain --no-legend "$guard.service" 2>/dev/null)" ] || echo "guard=unit $guard.service"
exit 0
"""
)
"""`… PGDATA ROOM GUARD`: says where each of PURPOSES is, if it is there. Needs no root, and changes nothing."""
