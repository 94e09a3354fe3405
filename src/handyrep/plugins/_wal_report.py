"""What stood in WAL that only one server has: transactions, rows by table, prepared transactions.

Pure: from pg_waldump's lines, which REDUCE boils down on the server that has them, to a report and a sentence. Owns what counts as
lost. It must never claim more than was read: what began before the first record that was read counts as "at least".
"""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from handyrep.model.lsn import Lsn
from handyrep.plugins._wal_end import record_end

SHOWN_COMMITS = 1000
"""Of so many commits xid and time are told."""
# Lost is what was committed at or after `fork`. Its rows may have been written before that; those of a transaction that is older than
# the first record here are not all here: an older one is known by the list of running transactions that PostgreSQL logs now and
# then. pg_waldump may print gigabytes, so nothing of it leaves the server but the sums.
REDUCE = r"""
function padded(lsn,    half) {
    split(lsn, half, "/")
    return substr("0000000" half[1], length(half[1])) "/" substr("0000000" half[2], length(half[2]))
}
function settle(xid, counts,    part, parts, i) {
    parts = split(touched[xid], part, "\n")
    for (i = 1; i < parts; i++) {
        if (counts) rows[part[i]] += changed[xid, part[i]]
        delete changed[xid, part[i]]
    }
    delete touched[xid]; delete prepared[xid]
}
function older(xid,    ahead) {
    if (next_xid == "") return 1
    ahead = next_xid - xid
    if (ahead < 0) ahead += 4294967296
    return ahead > 0 && ahead < 2147483648
}
function each(what, from,    word, words, i) {
    words = split(from, word, " ")
    for (i = 2; i <= words; i++) {
        if (what == "subxact") settle(word[i], is_after && op ~ /^COMMIT/)
        else if (is_after && files++ < 1000) print what, word[i]
    }
}
function list_of(name) { return match(desc, "; " name ": [^;]*") ? substr(desc, RSTART + 2, RLENGTH - 2) : "" }
function ended(    when) {
    each("subxact", list_of("subxacts"))
    if (op !~ /^COMMIT/) { settle(xid, 0); return }
    settle(xid, is_after)
    each("dropped", list_of("rels"))
    if (!is_after) return
    when = desc
    sub(/^[A-Z_]+ ([0-9]+: )?/, "", when); sub(/;.*/, "", when)
    latest = xid " " when
    if (commits++ < shown) print "commit", latest
    if (older(xid)) earlier++
}
function is_prepared(    gid) {
    gid = desc
    sub(/^PREPARE gid /, "", gid); sub(/: [0-9]+-[0-9]+-[0-9]+ [0-9][0-9]:.*/, "", gid)
    if (is_after) prepared[xid] = gid
}
function changes(    count, key) {
    if (!match(desc, /rel [0-9]+\/[0-9]+\/[0-9]+/)) return
    key = substr(desc, RSTART + 4, RLENGTH - 4) " " verb[op]
    count = 1
    if (op == "MULTI_INSERT") { match(desc, /[0-9]+/); count = substr(desc, RSTART, RLENGTH) + 0 }
    if (!((xid, key) in changed)) touched[xid] = touched[xid] key "\n"
    changed[xid, key] += count
}
BEGIN {
    verb["INSERT"] = verb["MULTI_INSERT"] = "inserted"; verb["DELETE"] = "deleted"
    verb["UPDATE"] = verb["HOT_UPDATE"] = "updated"
}
/first record is after/ { next }
!/^rmgr: / { note = $0; notes++; next }
{
    at = index($0, " desc: ")
    split(substr($0, 1, at), head, /, tx: +|, lsn: |, prev /)
    desc = substr($0, at + 7); rmgr = $2; xid = head[2]
    split(desc, word, /[ :;,]/)
    op = word[1]; sub(/\+INIT$/, "", op)
    is_after = padded(head[3]) >= fork; last = substr($0, 1, 200)
    if (begin == "") begin = head[3]
    if (is_after && first == "") first = head[3]
    if (is_after) kinds[rmgr " " op]++
    if (next_xid == "" && padded(head[3]) <= fork) {
        if (op == "RUNNING_XACTS") next_xid = word[3]
        if (op == "CHECKPOINT_SHUTDOWN" && match(desc, / xid [0-9]+:[0-9]+/)) {
            next_xid = substr(desc, RSTART, RLENGTH); sub(/.*:/, "", next_xid)
        }
    }
    if ((rmgr == "Heap" || rmgr == "Heap2") && op in verb) changes()
    if (rmgr == "Storage" && op == "CREATE") each("created", "in " substr(desc, 8))
    if (rmgr == "Transaction") {
        if (op ~ /_PREPARED$/) xid = word[2]
        if (op == "PREPARE") is_prepared()
        if (op ~ /^(COMMIT|ABORT)/) ended()
    }
}
END {
    print "begin", begin; print "first", first; print "last", last; print "note", note; print "notes", notes + 0
    print "commits", commits + 0; print "earlier", earlier + 0; print "latest", latest
    for (one in rows) print "rows", one, rows[one]
    for (one in kinds) print "kind", one, kinds[one]
    for (one in prepared) print "prepared", one, prepared[one]
    for (one in touched) if (!(one in prepared)) open++
    print "open", open + 0
    print "end"
}
"""
"""An awk program. Variables: fork (an LSN, as padded() here makes it), shown."""

_FIRST_OF_USERS = 16384
_NAMES_SHOWN = 3


def padded(lsn: Lsn) -> str:
    """An LSN that sorts as text, for REDUCE."""
    return f"{lsn.position_bytes >> 32:08X}/{lsn.position_bytes & 0xFFFFFFFF:08X}"


@dataclasses.dataclass(frozen=True, slots=True)
class Table:
    """Rows of one relation, TABLESPACE/DATABASE/FILE, that only this server has. `name` is '' where nobody could tell it.

    `counts`: False for what is no table of the users': a catalog, the long values of a table that is listed itself.
    """

    relation: str
    rows: Mapping[str, int]
    name: str = ""
    counts: bool = True

    @property
    def total(self) -> int:
        return sum(self.rows.values())

    def __str__(self) -> str:
        verbs = ", ".join(f"{count} {verb}" for verb, count in sorted(self.rows.items()))
        return f"{self.name or f'file {self.relation}'}: {verbs}"


@dataclasses.dataclass(frozen=True, slots=True)
class Report:
    """`gap`: why what was read is not all there is; '' when it is. `earlier`: transactions of which some rows may not have been read."""

    transactions: int = 0
    earlier: int = 0
    open: int = 0
    commits: tuple[tuple[str, str], ...] = ()
    latest: str = ""
    prepared: tuple[tuple[str, str], ...] = ()
    tables: tuple[Table, ...] = ()
    created: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    records: Mapping[str, int] = dataclasses.field(default_factory=lambda: MappingProxyType({}))
    begin: str = ""
    first: str = ""
    end: str = ""
    last: str = ""
    gap: str = ""

    @property
    def users_tables(self) -> tuple[Table, ...]:
        return tuple(sorted((t for t in self.tables if t.counts), key=lambda t: (-t.total, t.name or t.relation)))

    @property
    def is_empty(self) -> bool:
        """Certainly not even a record was written."""
        return not (self.first or self.gap)

    @property
    def nothing(self) -> bool:
        """Certainly nothing was lost."""
        return not (self.transactions or self.prepared or self.gap)

    def headline(self, server: str) -> str:
        """The sentence for people."""
        if self.nothing:
            return f"no transaction was only on {server}: nothing was lost"
        if not self.end:
            return f"what was only on {server} could not be read: {self.gap}"
        least = "at least " if self.gap else ""
        tables = _number(len(self.users_tables), "table") if self.users_tables else "no table of users"
        which = f" ({self._rows()})" if self.users_tables else ""
        held = f" and {_number(len(self.prepared), 'prepared transaction')}" if self.prepared else ""
        were = "was" if self.transactions == 1 and not held else "were"
        told = f"{least}{_number(self.transactions, 'transaction')} in {tables}{which}{held} {were} only on {server}"
        return f"{told}; not all could be read: {self.gap}" if self.gap else told

    def _rows(self) -> str:
        """The tables with most rows."""
        least = "at least " if self.earlier or self.gap else ""
        shown = [f"{t.name or f'file {t.relation}'}: {least}{_number(t.total, 'row')}" for t in self.users_tables]
        more = len(shown) - _NAMES_SHOWN
        return ", ".join(shown[:_NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")

    def as_dict(self) -> dict[str, Any]:
        """All of it as plain JSON."""
        told = {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name != "last"}
        tables = [{"relation": t.relation, "name": t.name, "of_users": t.counts, **t.rows} for t in self.tables]
        return {**told, "tables": tables, "records": dict(self.records)}

    def as_text(self, server: str) -> str:
        """All of it for reading."""
        lines = [self.headline(server), "", f"WAL from {self.first or 'nowhere'} to {self.end or 'an unknown place'}"]
        if self.earlier:
            lines.append(f"{self.earlier} of them began before the WAL that was read: they may have changed more rows")
        if self.open:
            lines.append(f"{_number(self.open, 'transaction')} had not been committed and count for nothing")
        for title, found in self._lists():
            lines += ["", f"{title}:", *(f"  {one}" for one in found)] if found else []
        return "\n".join(lines) + "\n"

    def _lists(self) -> tuple[tuple[str, list[str]], ...]:
        more = self.transactions - len(self.commits)
        commits = [f"{xid} at {when}" for xid, when in self.commits]
        return (
            ("Rows", [str(table) for table in self.users_tables]),
            ("Rows of catalogs and of long values", [str(table) for table in self.tables if not table.counts]),
            ("Prepared, not committed", [f"{xid} {gid!r}" for xid, gid in self.prepared]),
            ("Files of tables and indexes that were made", list(self.created)),
            ("Files of tables and indexes that were dropped or rewritten", list(self.dropped)),
            ("Commits", [*commits, *([f"and {more} more, the last: {self.latest}"] if more > 0 else [])]),
            ("Records", [f"{count} {kind}" for kind, count in sorted(self.records.items())]),
        )


def _number(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def read(reduced: str, control: dict[str, str]) -> Report:
    """The report that REDUCE's output makes, without names. `control`: what pg_controldata says of that server."""
    said = [(word, rest) for word, _, rest in (line.partition(" ") for line in reduced.splitlines())]
    once = dict(said)
    pairs = {kind: tuple(_pair(rest) for word, rest in said if word == kind) for kind in ("commit", "prepared")}
    last = once.get("last", "")
    end = record_end(last, control)
    whole = "end" in once and end is not None and int(once.get("notes", "0")) <= 1
    return Report(
        transactions=int(once.get("commits", "0")),
        earlier=int(once.get("earlier", "0")),
        open=int(once.get("open", "0")),
        commits=pairs["commit"],
        latest=once.get("latest", ""),
        prepared=pairs["prepared"],
        tables=_tables([rest for word, rest in said if word == "rows"]),
        created=tuple(rest for word, rest in said if word == "created"),
        dropped=tuple(rest for word, rest in said if word == "dropped"),
        records={rest.rpartition(" ")[0]: int(rest.rpartition(" ")[2]) for word, rest in said if word == "kind"},
        begin=once.get("begin", ""),
        first=once.get("first", ""),
        end=str(end or ""),
        last=last.partition("lsn: ")[2].partition(",")[0],
        gap="" if whole else once.get("note") or "pg_waldump and awk said nothing",
    )


def _pair(text: str) -> tuple[str, str]:
    first, _, second = text.partition(" ")
    return first, second


def _tables(lines: list[str]) -> tuple[Table, ...]:
    found: dict[str, dict[str, int]] = {}
    for line in lines:
        relation, verb, count = line.split(" ")
        found.setdefault(relation, {})[verb] = int(count)
    return tuple(Table(relation, rows, counts=_of_users(relation)) for relation, rows in sorted(found.items()))


def _of_users(relation: str) -> bool:
    return int(relation.rpartition("/")[2]) >= _FIRST_OF_USERS


def named(report: Report, names: Mapping[str, tuple[str, bool]]) -> Report:
    """With names, and whether each is a table of users. A file that was made in this very WAL is another server's in name only."""
    made = {"/".join(path.split("/")[-2:]) for path in report.created}
    tables = tuple(
        dataclasses.replace(table, name=names[table.relation][0], counts=names[table.relation][1])
        if table.relation in names and table.relation.partition("/")[2] not in made
        else table
        for table in report.tables
    )
    return dataclasses.replace(report, tables=tables)
