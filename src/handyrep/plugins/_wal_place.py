"""What is done to pg_wal of two servers when WAL is carried from one to the other: shell programs, each with pgdata as its first word.

Owns the folder of what is not whole yet. Only GIVE changes what PostgreSQL reads.
"""

FOLDER = "handyrep.rescue"
"""Below pg_wal: on its file system, wherever that is, so that each file takes its place in one rename."""

# The first page of every segment tells the system identifier, in its bytes 24 to 31.
SOURCE = r"""
set -u
data=$1 control=$2 identifier=$3 size=$4 begun=$5; shift 5
"$control" "$data" | sed 's/^/control=/'
cd -- "$data/pg_wal" || { echo "fault=$data/pg_wal cannot be entered"; exit 10; }
archived=
for name do
    found=$(stat -L -c %s -- "$name" 2>/dev/null) && [ -r "$name" ] || { echo "fault=$name is not there"; exit 11; }
    [ "$found" = "$size" ] || { echo "fault=$name has $found bytes instead of $size"; exit 11; }
    whose=$(od -An -t u8 -j 24 -N 8 -- "$name" | tr -d ' ')
    [ "$whose" = "$identifier" ] || { echo "fault=$name is of another cluster (system identifier $whose)"; exit 11; }
    [ ! -e "archive_status/$name.done" ] || archived="$archived $name"
done
echo "archived=$archived"
echo "sum=$(head -c "$begun" -- "$1" | sha256sum)"
"""
"""Looks at the segments $6… of the old master: lines with what pg_controldata says, `archived`, the `sum` of the begun part, or a `fault`."""

READ = """
dd if="$1/pg_wal/$2" bs="$4" skip="$3" count=1 2>/dev/null | gzip -1 -c | base64 -w 0
"""
"""Piece $3 of segment $2, packed, as text."""

# Whose group may read the data directory may read the WAL.
_ENTER = f"""
set -eu
data=$1 folder=./{FOLDER}; shift
refuse() {{ echo "$1" >&2; exit 10; }}
cd -- "$data/pg_wal"
umask 077
[ -z "$(find -H "$data" -maxdepth 0 -perm -g=r)" ] || umask 027
"""

BEGIN = (
    _ENTER
    + r"""
runs_in=$1 size=$2 begun=$3 sum=$4 kept=$5 wanted_kb=$6 first=$7
[ "$data" -ef "$runs_in" ] || refuse "$data is not the data directory it runs in"
rm -rf -- "$folder"
[ "$(stat -L -c %s -- "$first" 2>/dev/null)" = "$size" ] || refuse "it has no $first of $size bytes to go on from"
[ "$(head -c "$begun" -- "$first" | sha256sum)" = "$sum" ] || refuse "$first is not the same on both, so their histories have parted"
free_kb=$(($(stat -f -c '%a * %S' .) / 1024))
[ "$free_kb" -ge "$wanted_kb" ] || refuse "$wanted_kb kB of disk space are wanted in its pg_wal, and $free_kb are free"
mkdir "$folder"
head -c "$kept" -- "$first" > "$folder/$first"
"""
)
"""Makes the folder, with what the candidate has of the first segment. Refuses a candidate that it would not fit, or not go on from."""

WRITE = (
    _ENTER
    + """
cd "$folder"
gzip -dc >> "$1"
found=$(stat -c %s -- "$1")
[ "$found" = "$2" ] || refuse "$1 has grown to $found bytes instead of $2"
"""
)
"""Adds a packed piece, from the input, to segment $1 in the folder, which has $2 bytes then."""

SEAL = (
    _ENTER
    + """
size=$1 waldump=$2 timeline=$3 start=$4 upto=$5; shift 5
cd "$folder"
for name do last=$name; done
found=$(stat -c %s -- "$last")
[ "$found" -ge "$size" ] || head -c $((size - found)) /dev/zero >> "$last"
for name do
    [ "$(stat -c %s -- "$name")" = "$size" ] || refuse "$name is not whole"
done
"$waldump" -q -p . -t "$timeline" -s "$start" -e "$upto" >/dev/null
sync -- "$@" 2>/dev/null || sync
"""
)
"""Makes the segments in the folder whole and durable, and has pg_waldump read them from $4 to $5."""

# The segment that the candidate stands in is written on, as its receiver would do it: whoever has it open, such as a server that sends it
# on, must not go on reading an old file. It is the last step, and nothing of the others can be replayed before it. What the old
# master has archived must not be archived again; what it has not, the next master will archive.
GIVE = (
    _ENTER
    + """
piece=$1 kept=$2 archived=$3 first=$4; shift 4
for name do mv -f -- "$folder/$name" "$name"; done
for name in $archived; do : > "archive_status/$name.done"; done
sync . archive_status 2>/dev/null || sync
dd if="$folder/$first" of="$first" bs="$piece" skip="$kept" seek="$kept" conv=notrunc,fsync 2>/dev/null
rm -rf -- "$folder"
"""
)
"""Puts the segments $4… into their places, the first one from its piece $2 on, and marks those in $3 as archived."""

DISCARD = _ENTER + 'rm -rf -- "$folder"'
"""Throws away what was copied."""
