"""Put the old faults back, one by one, in a copy of the tree, and see the named test fail. `make mutants ARGS=HR-03` tries one.

Ends with 0 only when every mutant was caught.
"""

import dataclasses
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]


@dataclasses.dataclass(frozen=True)
class Mutant:
    """A fault: in `file`, `old` becomes `new`; `test` (a pytest -k expression over tests/bugs and more) must fail then."""

    id: str
    fault: str
    file: str
    old: str
    new: str
    test: str


MUTANTS = (
    Mutant("HR-01", "a fence's word is believed without its proof", "engine/steps/before.py",
           'if result.outcome is Outcome.SUCCESS and not result.extra.get("proof"):', "if False:", "hr_01"),
    Mutant("HR-01b", "without any proof the failover goes on", "decide/progress.py",
           "    if stage is FENCE:\n        return _undo(", "    if stage is FENCE and not refused:\n        return _undo(", "hr_01 or hr_14 or progress"),
    Mutant("HR-02", "no proof in sight is no reason to refuse", "decide/failover.py",
           "lambda s: not s.usable_proofs, Move.REFUSE", "lambda s: False, Move.REFUSE", "hr_02 or story"),
    Mutant("HR-03", "a slow promote is sent again", "decide/stages.py",
           'Stage("promote", "order {new} to become the master", Then.HEED, Then.HEED)',
           'Stage("promote", "order {new} to become the master", Then.WAIT, Then.WAIT)', "hr_03 or progress"),
    Mutant("HR-03b", "a promote that failed leads back to the old master", "decide/stages.py",
           'Stage("promote", "order {new} to become the master", Then.HEED, Then.HEED)',
           'Stage("promote", "order {new} to become the master", Then.UNDO, Then.UNDO)', "hr_03 or progress"),
    Mutant("HR-04", "what is not a boolean counts as not in recovery", "engine/observe.py",
           "if not isinstance(in_recovery, bool) or", "if", "hr_04"),
    Mutant("HR-05", "nobody is told to follow after a failover", "decide/stages.py",
           "return tuple(name for name in run.replicas if name != run.new_master) if run.remaster else ()", "return ()", "hr_05 or hr_06"),
    Mutant("HR-07", "the master is stopped before the candidate is looked at", "decide/stages.py",
           "    PREFLIGHT,\n    CHOOSE,\n    AGREE,\n    HASTEN,\n    PAUSE,\n    FENCE,", "    PREFLIGHT,\n    FENCE,\n    CHOOSE,\n    AGREE,\n    HASTEN,\n    PAUSE,", "hr_07 or progress"),
    Mutant("HR-08", "a restart in place is tried for ever", "decide/failover.py",
           "s.restarts_tried < 1", "s.restarts_tried < 99", "hr_08 or story"),
    Mutant("HR-09", "a selection without a candidate stops nothing", "decide/failover.py",
           "lambda s: s.choice.candidate is None", "lambda s: False", "hr_09 or story"),
    Mutant("HR-11", "a replica that could not be looked at may take over", "decide/candidates.py",
           'return "it could not be looked at"', 'return ""', "hr_11 or candidates"),
    Mutant("HR-12", "two masters are no reason to stand still", "decide/failover.py",
           "lambda s: len(s.writable_servers) > 1", "lambda s: False", "hr_12 or story"),
    Mutant("HR-13", "the proxies are not told who the new master is", "engine/steps/after.py",
           "pointed = await on.hands.use(Kind.CONNECTION_FAILOVER, newmaster=master)",
           "pointed = await on.hands.use(Kind.CONNECTION_FAILOVER, newmaster=None)", "hr_13"),
    Mutant("HR-14", "a failed undo goes unnoticed", "decide/progress.py",
           "            if then is Then.ASK:\n                return Ask(", "            if then is None:\n                return Ask(",
           "hr_14 or progress"),
    Mutant("HR-15", "the new master is not written down", "engine/steps/after.py",
           "    on.state.update(known)\n", "", "hr_15"),
    Mutant("HR-15b", "a step is done before it is written down", "engine/conduct.py",
           "        self._journal.intend(run, step)\n", "", "hr_15"),
    Mutant("HR-16", "an exception ends the loop", "engine/monitor.py",
           "            self._tell(error)\n", "            self._tell(error)\n            raise\n", "hr_16"),
    Mutant("HR-18", "a lagged replica is called healthy", "decide/assess.py",
           "c.seen.lag > c.member.server.lag_limit", "False", "hr_18"),
    Mutant("HR-19", "the order of the statuses is broken", "model/status.py", "LAGGED = 2", "LAGGED = 6", "hr_19"),
    Mutant("HR-20", "a new reason for the same status is dropped", "engine/state.py",
           "            dated = dataclasses.replace(member, status=_since(old, member.status, self._clock.now()))",
           "            dated = dataclasses.replace(member, status=old if old.health is member.status.health else member.status)", "hr_20"),
    Mutant("HR-21", "every look is told of", "engine/state.py", "    return old.health is not new.health", "    return True", "hr_21"),
    Mutant("HR-24", "a result may be tested for truth", "model/answer.py",
           "            raise NotABooleanError(", "            return True\n            raise NotABooleanError(", "hr_24"),
    Mutant("HR-26", "rejecting connections counts as up", "plugins/poll_isready.py",
           "if status == ACCEPTING:", "if status in (ACCEPTING, REJECTING):", "hr_26"),
    Mutant("HR-28", "a call has no deadline", "plugin_api/caller.py",
           "asyncio.timeout(", "asyncio.timeout(60 + ", "misbehaves or hangs"),
    Mutant("HR-44", "the stand-in for a missing plugin succeeds", "plugins/failplugin.py",
           'return self.fail(f"plugin {asked_for}', 'return self.success(f"plugin {asked_for}', "hr_44"),
    Mutant("HR-45", "an unset option becomes a word", "plugins/restart_pg_ctl.py",
           'argv = (pg_ctl, verb, "-D", server.pgdata, *self.pg_ctl_flags)', 'argv = (pg_ctl, verb, "-D", server.pgdata, str(None))', "hr_45"),
    Mutant("HR-54", "a proxy that does not answer is a success", "plugins/_at_once.py",
           "if result.outcome is not Outcome.SUCCESS}", "if result.outcome is None}", "hr_54"),
    Mutant("HR-59", "False as text is true", "operations/declare.py", '"false": False, "no": False, "off": False', '"false": True, "no": True, "off": True', "hr_59"),
    Mutant("HR-67", "words of a command are not quoted", "adapters/quoting.py", "shlex.quote(", "str(", "quoting or argv or commands"),
    Mutant("HR-06", "a plain no to remaster is overridden by the configuration", "engine/check.py",
           "engine.policy.remaster if remaster is None else remaster", "remaster or engine.policy.remaster", "hr_06"),
    Mutant("HR-10", "a directive is called otherwise than its readers think", "config/settings.py",
           "connection_failover_method: str", "connection_failover: str", "hr_10 or hr_13"),
    Mutant("HR-17", "a poll returns a bare tuple", "plugins/poll_connect.py",
           'return self.success("a login worked", alive=True)', 'return ("SUCCESS", "a login worked")', "poll_connect or contract"),
    Mutant("HR-22", "sentences are told unformatted", "decide/failover.py",
           "rule.sentence.format(**words(situation))", "rule.sentence", "hr_22 or story or unformatted"),
    Mutant("HR-23", "a second HandyRep is let in", "adapters/lock.py", "fcntl.flock(", "str(", "hr_23"),
    Mutant("HR-25", "a look holds entries that are no servers", "engine/observe.py",
           "Picture(seen=MappingProxyType(named)", 'Picture(seen=MappingProxyType({**named, "result": Seen()})', "hr_25"),
    Mutant("HR-27", "a test() throws its answer away", "plugins/restart_pg_ctl.py", 'if "running" not in result.extra:', "if False:", "hr_27"),
    Mutant("S-witness", "a replica that still sees the master is no veto", "decide/failover.py",
           "lambda s: bool(s.witnesses) and not s.master_is_dead_on_its_own_host", "lambda s: False", "story"),
    Mutant("S-alive", "a sign of life is overlooked", "decide/failover.py", "lambda s: s.master.alive is YES", "lambda s: False", "story"),
    Mutant("S-isolated", "being cut off oneself goes unnoticed", "decide/failover.py",
           "lambda s: s.has_replicas and not s.reachable_others", "lambda s: False", "story"),
    Mutant("S-behind", "a replica that is behind may take over", "decide/candidates.py",
           "if behind_bytes > slack_bytes else", "if behind_bytes > 10**9 else", "candidates"),
    Mutant("S-quorum", "too few replicas read count as enough", "decide/quorum.py",
           "self.needed > len(self.names)", "self.needed >= len(self.names)", "quorum or candidates"),
    Mutant("S-loss", "more loss than allowed is taken", "decide/candidates.py",
           "if lost_bytes > allowed_bytes:", "if False:", "candidates"),
    Mutant("S-freeze", "it promotes before the receivers have stopped", "decide/stages.py",
           "FENCE,\n    FREEZE,\n", "FENCE,\n   \n", "progress or before_promote"),
    Mutant("S-silence", "a fence that leaves the master running is believed against a sign of life", "engine/steps/before.py",
           "run.signs_of_life and on.hands.needs_silence(name)", "False", "before_promote or silence"),
    Mutant("S-kill", "proxies are reloaded, and sessions on the old master live on", "plugins/_bouncer_change.py",
           "            await self.console.kill(sorted(left.in_use))\n", "            await self.console.reload()\n", "multi_pgbouncer"),
    Mutant("S-returned", "a former master that comes back is let be", "decide/failover.py", "lambda s: bool(s.returned)", "lambda s: False", "story or returning"),
    Mutant("S-no-list", "a new master's list is taken for a promise about what came before it", "engine/steps/after.py",
           "older_lists=(UNDER_NO_LIST,)", "older_lists=()", "new_masters_list"),
    Mutant("S-copies", "it acts before it knows what another HandyRep did", "engine/engine.py",
           "            return fail(str(error))\n        return active", "            return active\n        return active", "copies"),
    Mutant("S-stranger", "another cluster's server may take over", "decide/candidates.py",
           "if not _is_ours(facts, cluster):", "if False:", "candidates"),
)  # fmt: skip


def main() -> int:
    """Try them all, or those whose ids are named."""
    wanted = set(sys.argv[1:])
    survivors = []
    for mutant in MUTANTS:
        if wanted and mutant.id not in wanted:
            continue
        verdict = tried(mutant)
        print(f"{mutant.id:10} {verdict:9} {mutant.fault}", flush=True)
        if verdict != "caught":
            survivors.append(mutant.id)
    print(f"{len(survivors)} of {len(MUTANTS)} not caught{': ' + ', '.join(survivors) if survivors else ''}")
    return 1 if survivors else 0


def tried(mutant: Mutant) -> str:
    """'caught', 'SURVIVED', or 'MISSING' when the place it changes is not there any more."""
    with tempfile.TemporaryDirectory(prefix="handyrep-mutant-") as folder:
        copy = Path(folder)
        for part in ("src", "tests", "pyproject.toml", "scripts", "examples", "docs"):
            source = ROOT / part
            if source.is_dir():
                shutil.copytree(source, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
            elif source.exists():
                shutil.copy(source, copy / part)
        file = copy / "src/handyrep" / mutant.file
        text = file.read_text(encoding="utf-8")
        if mutant.old not in text:
            return "MISSING"
        file.write_text(text.replace(mutant.old, mutant.new), encoding="utf-8")
        return "SURVIVED" if passes(copy, mutant.test) else "caught"


def passes(copy: Path, test: str) -> bool:
    """Whether the tests still pass in the copy."""
    where = [
        "tests/bugs",
        "tests/engine",
        "tests/decide",
        "tests/scenarios",
        "tests/plugin_api",
        "tests/surfaces",
        "tests/adapters",
        "tests/plugins",
    ]
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *where, "-k", test],
        cwd=copy, capture_output=True, timeout=300, check=False, env={**os.environ, "PYTHONPATH": str(copy / "src")},
    )  # fmt: skip
    return ran.returncode == 0


if __name__ == "__main__":
    sys.exit(main())
