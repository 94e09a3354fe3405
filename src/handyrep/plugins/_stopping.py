"""The scripts of fence_stop: a look that does nothing, the fence, and its release. Each is given PGDATA first."""

from handyrep.plugins._holders import DATA, HOLDERS, STOP, STUCK
from handyrep.plugins._programs import FINDING

# pg_waldump ends with 1 at the end of the WAL, and with another status when it was ended itself. What it cannot read is not the end either.
LAST_RECORD = r"""
last_record() {
    told=$({ { timeout 30 "${control%/*}/pg_waldump" -p "$data/pg_wal" -t $((0x${newest:-0})) -s "$1"; echo "status=$?" >&2; } | tail -n 1; } 2>&1)
    case $told in
        *"could not read"*) echo "it cannot be read";;
        *status=[01]"
"*rmgr:*) echo "rmgr:${told##*rmgr:}";;
        *status=[01]) ;;
        *) echo "reading it did not end";;
    esac
}
"""
"""last_record: the last whole record of the newest timeline's WAL, read from $1 on; nothing where none begins, or why it cannot be told."""

# $3: so many looks must find it calm, and three once anything had to be stopped: what starts it again may be about to. $4: hundredths of a
# second for a fast stop, '' as usual. $5: a place in the WAL that it is known to have reached, or ''; the reading begins there. What is read
# between two looks that find it calm is what stays. What does not end because something starts it again and again comes back in recovery at least.
FENCE = (
    FINDING
    + LAST_RECORD
    + DATA
    + HOLDERS
    + STOP
    + r"""
read_end() {
    control=$(program_path pg_controldata "$2" "$data") || control=false
    newest=
    for file in "$data"/pg_wal/????????????????????????; do
        file=${file##*/}
        case $file in *[!0-9A-F]*) ;; *) newest=${file%????????????????};; esac
    done
    said=$("$control" "$data" 2>/dev/null)
    redo=${said#*"REDO location:"} redo=${redo%%
*}
    last=
    [ -z "$1" ] || last=$(last_record "$1")
    redo=${redo##* } last=${last:-$(last_record "${redo:-0/0}")}
    was_read=yes
}
mark() {
    [ ! -e "$data/handyrep.fenced" ] || return 0
    [ -e "$data/standby.signal" ] && was=there || was=absent
    echo "standby.signal was $was" > "$data/handyrep.fenced" || { echo "fault=$data cannot be written"; exit 12; }
    : > "$data/standby.signal"
    sync "$data/standby.signal" "$data/handyrep.fenced" "$data" 2>/dev/null || sync
}
rounds=0 calm=0 wanted=$3 patience=$4 was_read=
while [ "$calm" -lt "$wanted" ]; do
    rounds=$((rounds + 1))
    [ "$rounds" -le 20 ] || { echo "fault=something starts PostgreSQL again and again"; exit 11; }
    around
    if [ -n "$held" ]; then
        calm=0 wanted=3 was_read=
        echo "stopped=yes"
        stop || { mark; stop; } || { echo "fault=processes $(holders | tr '\n' ' ')do not end"; exit 11; }
    fi
    mark
    case $calm in 0) ;; 1) read_end "$5" "$2"; sleep 0.01;; *) sleep 0.02;; esac
    calm=$((calm + 1))
done
[ -n "$was_read" ] || read_end "$5" "$2"
around
for try in 1 2 3 4 5; do hidden; [ -z "$left" ] && break; sleep 0.1; around; done
[ -z "$held" ] || { echo "fault=processes hold $data"; exit 11; }
[ -z "$left" ] || { echo "fault=$HIDDEN" $left; exit 11; }
attached
[ "$attaches" = 0 ] || { echo "fault=processes are attached to its shared memory"; exit 11; }
echo "data=$data"
echo "newest=$newest"
echo "$said"
echo "record=$last"
"""
)
RELEASE = (
    DATA
    + HOLDERS
    + r"""
[ -e "$data/handyrep.fenced" ] || exit 0
read -r mark < "$data/handyrep.fenced"
[ "$mark" = "standby.signal was absent" ] && rm -f "$data/standby.signal"
rm -f "$data/handyrep.fenced" && sync "$data" 2>/dev/null
exit 0
"""
)
LOOK = (
    DATA
    + HOLDERS
    + STUCK
    + r"""
around
stuck
[ -z "$waiting" ] || { echo "fault=processes$waiting wait for the storage, which takes no writes: until it does even SIGKILL does not end them"; exit 13; }
[ -w "$data" ] || { echo "fault=$data cannot be written"; exit 12; }
for try in 1 2 3 4 5; do
    hidden
    [ -z "$left" ] && { [ -z "$held" ] && echo "ended=yes"; exit 0; }
    sleep 0.1
    around
done
echo "fault=$HIDDEN" $left; exit 11
"""
)
