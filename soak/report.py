"""What the soak prints: a line for each round, a table by calamity, and the last line, one JSON object."""

import json
import statistics
from collections.abc import Mapping, Sequence

from soak.rounds import Round


def line_of(one: Round) -> str:
    """A round in one line."""
    outcome = f"failed over to {one.new_master}" if one.failovers else "held"
    again = f", {one.given_up} given up" if one.given_up else ""
    rows = f"rows {one.acknowledged} acknowledged, {one.in_doubt} in doubt, {len(one.verdict.lost)} lost"
    return (
        f"seed {one.seed:5}  PostgreSQL {one.version}  {one.lot.name:36} {outcome + again:36} gap {one.gap_s:6.2f} s  {rows}  "
        f"took {one.took_s:5.1f} s  {f'WRONG: {one.wrong}' if one.wrong else 'green'}"
    )


def table(rounds: Sequence[Round]) -> str:
    """A line for each calamity."""
    lines = [
        f"{'calamity':26} {'n':>4} {'failovers':>9} {'held':>5} {'gap median':>11} {'max':>8} {'acknowledged':>13} {'in doubt':>9} {'wrong':>6}"
    ]
    for name in dict.fromkeys(one.lot.calamity.name for one in sorted(rounds, key=lambda one: one.lot.calamity.name)):
        of_it = [one for one in rounds if one.lot.calamity.name == name]
        gaps_s = [one.gap_s for one in of_it]
        held = sum(not one.failovers for one in of_it)
        lines.append(
            f"{name:26} {len(of_it):4} {sum(one.failovers for one in of_it):9} {held:5} {statistics.median(gaps_s):9.2f} s {max(gaps_s):6.2f} s "
            f"{sum(one.acknowledged for one in of_it):13} {sum(one.in_doubt for one in of_it):9} {sum(bool(one.wrong) for one in of_it):6}"
        )
    return "\n".join(lines)


def summary(blocks: Sequence[Sequence[Round]], seed: int) -> Mapping[str, object]:
    """The counts of all blocks. What a block's last verdict found it found on the whole block."""
    rounds = [one for block in blocks for one in block]
    last = [block[-1].verdict for block in blocks if block]
    return {
        "rounds": len(rounds), "failovers": sum(one.failovers for one in rounds), "held": sum(not one.failovers for one in rounds), "given_up": sum(one.given_up for one in rounds),
        "acknowledged": sum(one.acknowledged for one in rounds), "lost": sum(len(verdict.lost) for verdict in last),
        "in_doubt": sum(one.in_doubt for one in rounds), "two_writable": sum(len(verdict.two_writable) for verdict in last),
        "parted": sum(len(verdict.parted) for verdict in last), "needless": sum(one.needless for one in rounds),
        "stuck": sum(bool(one.stuck) for one in rounds), "seed": seed, "versions": sorted({one.version for one in rounds}),
    }  # fmt: skip


def last_line(counts: Mapping[str, object]) -> str:
    """For programs."""
    return json.dumps(counts)
