"""What stands in WAL, told from what pg_waldump of versions 15 and 18 really printed of the same doings.

Of these: two transactions began before the fork and were committed after it, one of them before the first record that was read.
"""

import dataclasses
import subprocess
from pathlib import Path

import pytest

from handyrep.model.lsn import Lsn
from handyrep.plugins._wal_end import wal_end
from handyrep.plugins._wal_report import REDUCE, Report, Table, named, padded, read

CONTROL = {"WAL block size": "8192", "Bytes per WAL segment": "1048576"}
FORKS = {15: "0/C9FB70", 18: "0/C2D760"}
KEPT, BIG = "1663/5/16384", {15: "1663/5/16391", 18: "1663/5/16392"}
TOAST, FRESH = {15: "1663/5/16394", 18: "1663/5/16395"}, {15: "1663/5/16407", 18: "1663/5/16408"}


def printed(version: int) -> str:
    return (Path(__file__).parent / "waldump" / f"{version}.txt").read_text()


def reduced(text: str, fork: str, shown: int = 1000) -> Report:
    """As on the server."""
    given = ("-v", f"fork={padded(Lsn.parse(fork))}", "-v", f"shown={shown}", REDUCE)
    ran = subprocess.run(["awk", *given], input=text, capture_output=True, text=True, check=True)
    assert ran.stderr == ""
    return read(ran.stdout, CONTROL)


def rows(report: Report) -> dict[str, dict[str, int]]:
    return {table.relation: dict(table.rows) for table in report.tables}


@pytest.mark.parametrize("version", FORKS)
def test_rows_are_those_of_the_transactions_that_were_committed_after_the_fork(version: int) -> None:
    report = reduced(printed(version), FORKS[version])
    assert report.transactions == 16
    assert report.gap == ""
    told = rows(report)
    assert told[KEPT] == {"inserted": 11, "updated": 2, "deleted": 2}, "two of them inserted before the fork"
    assert told[BIG[version]] == {"inserted": 26}, "25 of them copied"
    assert told[TOAST[version]] == {"inserted": 17}
    assert told[FRESH[version]] == {"inserted": 2}
    assert report.earlier == 1
    assert report.open == 1
    assert [gid for _, gid in report.prepared] == ["paid; by 'hand'"]
    assert len(report.created) == 2
    assert len(report.dropped) == 2
    assert len(report.commits) == 16
    assert report.commits[0][1].startswith("2026-11-25 13:00:")
    assert report.records["Transaction COMMIT"] == 15
    assert (report.first, Lsn.parse(report.first)) == (report.first, Lsn.parse(FORKS[version]))


@pytest.mark.parametrize("version", FORKS)
def test_a_fork_at_the_end_leaves_nothing(version: int) -> None:
    end = reduced(printed(version), FORKS[version]).end
    report = reduced(printed(version), end)
    assert report.is_empty
    assert report.nothing
    assert report.headline("m1") == "no transaction was only on m1: nothing was lost"
    assert report.tables == ()
    assert report.prepared == ()


@pytest.mark.parametrize("version", FORKS)
def test_without_a_list_of_running_transactions_any_of_them_may_be_older(version: int) -> None:
    text = "\n".join(line for line in printed(version).splitlines() if "RUNNING_XACTS" not in line)
    assert reduced(text, FORKS[version]).earlier == 16


@pytest.mark.parametrize("version", FORKS)
def test_so_many_commits_are_told_and_all_are_counted(version: int) -> None:
    report = reduced(printed(version), FORKS[version], shown=3)
    assert len(report.commits) == 3
    assert report.transactions == 16
    assert f"and 13 more, the last: {report.latest}" in report.as_text("m1")


def record(xid: int, at: int, rmgr: str, desc: str) -> str:
    return (
        f"rmgr: {rmgr:<11} len (rec/tot):     54/    54, tx: {xid:>10}, lsn: 0/{at:08X}, prev 0/00000000, desc: {desc}"
    )


def insert(xid: int, at: int, file: int = 16400) -> str:
    return record(xid, at, "Heap", f"INSERT off: 1, flags: 0x00, blkref #0: rel 1663/5/{file} blk 0")


RUNNING = record(0, 0x100, "Standby", "RUNNING_XACTS nextXid 700 latestCompletedXid 699 oldestRunningXid 700")
END = "pg_waldump: error: error in WAL record at 0/9999: invalid record length at 0/AAAA: expected at least 24, got 0"


def told_of(*lines: str, fork: str = "0/200") -> Report:
    return reduced("\n".join((RUNNING, *lines, END)), fork)


def test_a_report_ends_behind_a_record_over_several_pages_where_the_fence_says_so_too() -> None:
    """Or else what was read to its last byte would be told as read in part."""
    last = record(701, 0x1F00, "Heap", "INSERT off: 1").replace("    54/    54", "    54/ 20000")
    assert (
        told_of(last).end == wal_end({**CONTROL, "Latest checkpoint's TimeLineID": "1"}, "00000001", last) == "0/6D68"
    )


def test_what_was_rolled_back_counts_for_nothing_even_in_a_part_that_was_released() -> None:
    report = told_of(insert(701, 0x210), insert(702, 0x220), record(701, 0x230, "Transaction", "ABORT 2026-01-01 00:00:00 UTC; subxacts: 702"))  # fmt: skip
    assert (report.transactions, report.tables, report.open) == (0, (), 0)
    assert report.nothing
    assert not report.is_empty


def test_records_that_no_transaction_made_lose_nothing() -> None:
    report = told_of(
        record(0, 0x210, "Standby", "RUNNING_XACTS nextXid 700 latestCompletedXid 699 oldestRunningXid 700"),
        record(0, 0x220, "XLOG", "CHECKPOINT_SHUTDOWN redo 0/220; tli 1; prev tli 1; fpw true; xid 0:700; oid 1"),
    )
    assert report.headline("m1") == "no transaction was only on m1: nothing was lost"


def test_a_prepared_transaction_alone_is_a_loss() -> None:
    report = told_of(insert(701, 0x210), record(701, 0x220, "Transaction", "PREPARE gid pay: 2026-01-01 00:00:00 UTC"))
    assert report.headline("m1") == "0 transactions in no table of users and 1 prepared transaction were only on m1"
    rolled_back = record(0, 0x230, "Transaction", "ABORT_PREPARED 701: 2026-01-01 00:00:00 UTC")
    assert told_of(insert(701, 0x210), record(701, 0x220, "Transaction", "PREPARE gid pay: 2026-01-01 00:00:00 UTC"), rolled_back).nothing  # fmt: skip


def test_one_that_was_prepared_before_the_fork_and_committed_after_it_is_a_loss() -> None:
    lines = (insert(701, 0x110), record(701, 0x120, "Transaction", "PREPARE gid pay: 2026-01-01 00:00:00 UTC"))
    report = told_of(*lines, record(0, 0x210, "Transaction", "COMMIT_PREPARED 701: 2026-01-01 00:00:00 UTC"))
    assert (report.transactions, rows(report)) == (1, {"1663/5/16400": {"inserted": 1}})
    assert report.prepared == ()


def test_transactions_are_told_apart_around_the_end_of_their_numbers() -> None:
    running = record(0, 0x100, "Standby", "RUNNING_XACTS nextXid 4294967290 latestCompletedXid 1 oldestRunningXid 1")
    commits = [record(xid, at, "Transaction", "COMMIT 2026-01-01 00:00:00 UTC") for xid, at in ((5, 0x210), (4294967280, 0x220))]  # fmt: skip
    assert reduced("\n".join((running, *commits, END)), "0/200").earlier == 1


def test_what_cannot_be_read_is_said() -> None:
    nothing = read("", CONTROL)
    assert nothing.headline("m1") == "what was only on m1 could not be read: pg_waldump and awk said nothing"
    gone = reduced('pg_waldump: error: could not find file "000000010000000000000001": No such file\n', "0/200")
    assert "could not be read: pg_waldump: error: could not find file" in gone.headline("m1")
    commit = record(701, 0x230, "Transaction", "COMMIT 2026-01-01 00:00:00 UTC")
    part = told_of(insert(701, 0x210), commit, "pg_waldump: error: could not read")
    assert part.headline("m1").startswith("at least 1 transaction in 1 table (file 1663/5/16400: at least 1 row) was only on m1; not all")  # fmt: skip
    assert not part.nothing


def test_an_output_that_was_cut_off_is_not_all() -> None:
    given = ("-v", f"fork={padded(Lsn.parse(FORKS[15]))}", "-v", "shown=1", REDUCE)
    whole = subprocess.run(["awk", *given], input=printed(15), capture_output=True, text=True, check=True).stdout
    assert read(whole, CONTROL).gap == ""
    assert read(whole.removesuffix("end\n"), CONTROL).gap != ""


def test_names_are_given_but_not_to_files_that_were_made_in_this_wal() -> None:
    report = reduced(printed(18), FORKS[18])
    names = {
        KEPT: ("shop.public.kept", True),
        FRESH[18]: ("shop.public.another", True),
        TOAST[18]: ("shop.pg_toast.pg_toast_16392", False),
        BIG[18]: ("shop.public.big", True),
    }
    report = named(report, names)
    assert [table.name for table in report.users_tables] == ["shop.public.big", "shop.public.kept", "", ""]
    text = report.as_text("m1")
    assert (
        "16 transactions in 4 tables (shop.public.big: at least 26 rows, shop.public.kept: at least 15 rows, " in text
    )
    assert "and 1 more) and 1 prepared transaction were only on m1" in text
    assert "  shop.pg_toast.pg_toast_16392: 17 inserted" in text
    assert f"  file {FRESH[18]}: 2 inserted" in text


def test_the_dictionary_is_plain() -> None:
    told = Report(transactions=1, tables=(Table("1663/5/16384", {"inserted": 3}, "a.b.c"),), end="0/1").as_dict()
    assert told["tables"] == [{"relation": "1663/5/16384", "name": "a.b.c", "of_users": True, "inserted": 3}]
    assert dataclasses.replace(Report(), transactions=2, end="0/1").headline("m1") == "2 transactions in no table of users were only on m1"  # fmt: skip
