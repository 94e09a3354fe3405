"""Which processes hold a data directory, told by the kernel, and their end: the shell functions of every fence that stops PostgreSQL.

In each script `data` is the data directory, `place` its device and inode, `owner` whose it is. Only STOP does more than look.
"""

# Every PostgreSQL process works in its data directory, so device and inode of its working directory tell whose it is: no name,
# symlink or namespace can hide it, and a dead postmaster's busy backends are found as well. The kernel shows it to the same user
# and group only: a PostgreSQL of the same user that may not be looked into is no proof, unless its -D names another one. The shared memory segment that
# postmaster.pid names is the test that PostgreSQL itself makes before it starts.
HOLDERS = r"""
HIDDEN="PostgreSQL of the same user but another group may not be looked into: processes"
around() {
    held= seen=$(stat -L -c '%d:%i=%n' /proc/[0-9]*/cwd 2>/dev/null)
    for one in $seen; do
        case $one in "$place="*) ;; *) continue;; esac
        process=${one#*=/proc/}; process=${process%/cwd}
        read -r command 2>/dev/null < "/proc/$process/comm" || continue
        case $command in *postgres*|*postmaster*) held="$held$process
";; esac
    done
}
holders() { around; printf %s "$held"; }
folder_of() { tr '\0' '\n' 2>/dev/null < "/proc/$1/cmdline" | sed -n '/^-D$/{n;p;q;}'; }
elsewhere() {
    folder=$(folder_of "$1")
    [ -n "$folder" ] || folder=$(folder_of "$2")
    case $folder in /*) ;; *) return 1;; esac
    there=$(stat -L -c %d:%i -- "$folder" 2>/dev/null)
    [ -f "$folder/PG_VERSION" ] && [ -n "$there" ] && [ "$there" != "$place" ]
}
hidden() {
    left=
    for process in /proc/[0-9]*; do
        case $seen in *"=$process/cwd"*) continue;; esac
        read -r command 2>/dev/null < "$process/comm" || continue
        case $command in *postgres*|*postmaster*) ;; *) continue;; esac
        state= user= parent=
        while read -r key value rest; do
            case $key in State:) state=$value;; Uid:) user=$value;; PPid:) parent=$value;; esac
        done 2>/dev/null < "$process/status"
        [ "$user" = "$owner" ] && [ "$state" != Z ] || continue
        elsewhere "${process#/proc/}" "$parent" || left="$left ${process#/proc/}"
    done
}
attached() {
    attaches=0 segment= line=0
    while read -r _ number _ || [ -n "$number" ]; do
        line=$((line + 1))
        [ "$line" = 7 ] && segment=$number
    done 2>/dev/null < "$data/postmaster.pid"
    [ -n "$segment" ] || return 0
    while read -r _ number _ _ _ _ count _; do
        [ "$number" = "$segment" ] && attaches=$count
    done < /proc/sysvipc/shm
}
"""
"""around: a look, as $held, the processes of $data, and $seen. hidden: those that may not be looked into, by that look, as $left. attached:
how many use its shared memory, as $attaches. holders prints the processes of $data. Most set variables: each subshell takes time.
What is not in $seen counts as hidden, so that a look which failed proves nothing.
"""
DATA = r"""
{ cd -P -- "$1" 2>/dev/null && data=$PWD && cd /; } || { echo "fault=$1 cannot be entered"; exit 10; }
[ -f "$data/PG_VERSION" ] || { echo "fault=$data has no PG_VERSION: it is no data directory"; exit 10; }
place=$(stat -L -c '%d:%i %u' -- "$data" /proc/self/cwd 2>/dev/null) || { echo "fault=/proc cannot be read"; exit 10; }
place=${place%%
*}
owner=${place#* } place=${place% *}
"""
"""Makes $data, and its $place and $owner, of $1, or ends the script."""
STUCK = r"""
asleep() {
    for process in $held; do
        state= switches=
        while read -r key value rest; do
            case $key in State:) state=$value;; voluntary_ctxt_switches:) switches=$value;; esac
        done 2>/dev/null < "/proc/$process/status"
        [ "$state" = D ] && echo "$process:$switches"
    done
}
stuck() {
    sleeping= waiting=
    [ -z "$held" ] || sleeping=$(asleep)
    for try in 1 2; do
        [ -n "$sleeping" ] || return 0
        sleep 0.1
        around
        sleeping=$(asleep | grep -Fx "$sleeping")
    done
    for process in $sleeping; do waiting="$waiting ${process%%:*}"; done
}
"""
"""stuck, after a look around: as $waiting, processes of $data that sleep in the kernel without once having woken meanwhile, as all do that write to a disk that hangs."""
STOP = r"""
postmaster() { sed -n 1p "$data/postmaster.pid" 2>/dev/null; }
now() { read -r now rest < /proc/uptime; now=${now%.*}${now#*.}; }
wait_gone() {
    now; end=$((now + $1))
    while [ -n "$(holders)" ]; do
        now; [ "$now" -lt "$end" ] || return 1
        sleep 0.01
    done
}
signal_postmaster() {
    main=$(postmaster)
    holders | grep -qx "$main" && kill "-$1" "$main" 2>/dev/null
}
stop() {
    [ -z "$(holders)" ] && return 0
    signal_postmaster INT && wait_gone "${patience:-100}" && return 0
    signal_postmaster QUIT && wait_gone $((${patience:-100} / 2)) && return 0
    for round in 1 2 3 4 5 6 7 8 9 10; do
        for process in $(holders); do kill -KILL "$process" 2>/dev/null; done
        wait_gone 50 && return 0
    done
    return 1
}
"""
"""stop: fast, waited for $patience hundredths of a second (100), immediate, half as long, then SIGKILL to every process that works in $data, so that a hung or orphaned one ends as well; 1 when some do not.

How long each may take is told by the host's clock, in hundredths of a second: on a busy host looking takes its time.
"""
# A dead postmaster is there until its parent takes note, in a container without an init for long. To pg_ctl status and to PostgreSQL's
# own look before it starts it is a running one.
DEAD = r"""
dead() { main=$(sed -n 1p "$1/postmaster.pid" 2>/dev/null) && grep -q '^State:[[:space:]]*Z' "/proc/$main/status" 2>/dev/null; }
reaped() {
    tries=50
    while dead "$1" && [ $tries -gt 0 ]; do sleep 0.1; tries=$((tries - 1)); done
    ! dead "$1"
}
"""
"""dead: whether the postmaster that $1 had last, $main, is such a one. reaped waits until it is none, 1 when that takes too long."""
