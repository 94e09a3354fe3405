"""Where a stopped server's WAL ends: what a replica must have received so that it has the last record, whole."""

import pytest

from handyrep.plugins._wal_end import wal_end

CONTROL = {"Latest checkpoint's TimeLineID": "1", "WAL block size": "8192", "Bytes per WAL segment": "1048576"}


def record(lsn: str, length_bytes: int) -> str:
    """As pg_waldump prints one."""
    return f"rmgr: LogicalMessage len (rec/tot):     59/{length_bytes:6}, tx:          0, lsn: {lsn}, prev 0/02000028, desc: MESSAGE"


@pytest.mark.parametrize(
    ("lsn", "length_bytes", "end"),
    [
        ("0/02000060", 59, "0/20000A0"),
        ("0/02001FC0", 64, "0/2002000"),
        ("0/02001FC0", 65, "0/2002020"),
        ("0/02000060", 20000, "0/2004EB0"),
        ("0/020FFFC0", 65, "0/2100030"),
    ],
)
def test_a_record_over_several_pages_is_counted_with_their_headers(lsn: str, length_bytes: int, end: str) -> None:
    assert wal_end(CONTROL, "00000001", record(lsn, length_bytes)) == end


@pytest.mark.parametrize("key", list(CONTROL))
def test_what_is_not_known_is_not_guessed(key: str) -> None:
    assert wal_end({k: v for k, v in CONTROL.items() if k != key}, "00000001", record("0/02000060", 59)) == ""
    assert wal_end({**CONTROL, key: "0"}, "00000001", record("0/02000060", 59)) == ""


@pytest.mark.parametrize(
    ("newest", "last"), [("00000002", record("0/02000060", 59)), ("00000001", ""), ("", "nonsense")]
)
def test_a_control_file_of_another_timeline_or_no_record_tells_nothing(newest: str, last: str) -> None:
    assert wal_end(CONTROL, newest, last) == ""
