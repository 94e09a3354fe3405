"""Every fault of the catalogue is in the name of a test, or waits for something that is not built yet. This needs no lab."""

import re
from pathlib import Path

HERE = Path(__file__).parent
TESTS = HERE.parents[1]
_ROW = re.compile(r"(?P<id>[A-H]\d+)\s+(?P<fault>\S.*?)(?: {4}waits for: (?P<what>\S.*))?")
_NAME = re.compile(r"^ *(?:async )?def test_((?:[a-h]\d+_)+)", re.MULTILINE)


def catalogue(text: str) -> dict[str, str]:
    """What each fault waits for; '' for those that are tests."""
    found = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            row = _ROW.fullmatch(line)
            assert row, f"no row of the catalogue: {line}"
            assert row["id"] not in found, f"{row['id']} stands twice"
            found[row["id"]] = row["what"] or ""
    return found


def ids_in_names() -> set[str]:
    """The ids that begin the names of tests."""
    sources = [path.read_text(encoding="utf-8") for path in TESTS.rglob("test_*.py")]
    return {name.upper() for text in sources for names in _NAME.findall(text) for name in names.split("_") if name}


def accounts(waits: dict[str, str], names: set[str]) -> dict[str, list[str]]:
    """What is not in order, by the kind of disorder."""
    return {
        "neither tested nor waiting": sorted(fault for fault, what in waits.items() if not what and fault not in names),
        "tested, though it waits": sorted(fault for fault, what in waits.items() if what and fault in names),
        "tested, though it is no fault": sorted(names - waits.keys()),
    }


def test_every_fault_is_a_test_or_waits() -> None:
    waits = catalogue((HERE / "catalogue.txt").read_text(encoding="utf-8"))
    assert len(waits) > 80
    assert accounts(waits, ids_in_names()) == {disorder: [] for disorder in accounts({}, set())}


def test_each_disorder_is_found() -> None:
    waits = catalogue("# heading\nA1  x\nA2  y    waits for: z\n")
    assert waits == {"A1": "", "A2": "z"}
    assert list(accounts(waits, {"A2", "A3"}).values()) == [["A1"], ["A2"], ["A3"]]


def test_only_ids_that_begin_a_name_count() -> None:
    assert _NAME.findall("def test_a1_b16_x() -> None:\nasync def test_x_a2_y():\n# test_a3_z\ndef test_a4():") == [
        "a1_b16_"
    ]
