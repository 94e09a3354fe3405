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
ENDS = {0: "SURVIVED", 1: "caught"}
"""By pytest's exit status. Any other means that the test was not run, or is not there."""


@dataclasses.dataclass(frozen=True)
class Mutant:
    """A fault: in `file`, `old` becomes `new`; `test`, by pytest's name for it, must fail then."""

    id: str
    fault: str
    file: str
    old: str
    new: str
    test: str


MUTANTS = (
    Mutant("HR-01", "a fence's word is believed without its proof", "engine/steps/before.py",
           'if result.outcome is Outcome.SUCCESS and not result.extra.get("proof"):', "if False:", "tests/bugs/test_engine_bugs.py::test_hr_01_failed_fence_never_promotes"),
    Mutant("HR-01b", "without any proof the failover goes on", "decide/progress.py",
           "    if stage is FENCE:\n        return _undo(", "    if stage is FENCE and not refused:\n        return _undo(", "tests/decide/test_progress.py::test_without_any_proof_everything_is_undone_in_reverse"),
    Mutant("HR-02", "no proof in sight is no reason to refuse", "decide/failover.py",
           "lambda s: not s.usable_proofs, Move.REFUSE", "lambda s: False, Move.REFUSE", "tests/bugs/test_engine_bugs.py::test_hr_02_no_answer_is_not_stopped"),
    Mutant("HR-03", "a slow promote is sent again", "decide/stages.py",
           'Stage("promote", "order {new} to become the master", Then.HEED, Then.HEED)',
           'Stage("promote", "order {new} to become the master", Then.WAIT, Then.WAIT)', "tests/bugs/test_engine_bugs.py::test_c19_hr_03_a_slow_promote_is_waited_for_and_no_second_one_is_sent"),
    Mutant("HR-03b", "a promote that failed leads back to the old master", "decide/stages.py",
           'Stage("promote", "order {new} to become the master", Then.HEED, Then.HEED)',
           'Stage("promote", "order {new} to become the master", Then.UNDO, Then.UNDO)', "tests/decide/test_progress.py::test_an_uncertain_promote_is_looked_at_and_waited_for"),
    Mutant("HR-04", "what is not a boolean counts as not in recovery", "engine/observe.py",
           "if not isinstance(in_recovery, bool) or", "if", "tests/bugs/test_engine_bugs.py::test_hr_04_a_query_that_fails_is_no_answer_about_recovery"),
    Mutant("HR-05", "nobody is told to follow after a failover", "decide/stages.py",
           "return tuple(name for name in run.replicas if name != run.new_master) if run.remaster else ()", "return ()", "tests/bugs/test_engine_bugs.py::test_hr_05_automatic_failover_runs_to_its_end_with_every_option"),
    Mutant("HR-07", "the master is stopped before the candidate is looked at", "decide/stages.py",
           "    PREFLIGHT,\n    CHOOSE,\n    AGREE,\n    HASTEN,\n    PAUSE,\n    FENCE,", "    PREFLIGHT,\n    FENCE,\n    CHOOSE,\n    AGREE,\n    HASTEN,\n    PAUSE,", "tests/decide/test_progress.py::test_the_order_of_a_switchover"),
    Mutant("HR-08", "a restart in place is tried for ever", "decide/failover.py",
           "s.restarts_tried < 1", "s.restarts_tried < 99", "tests/bugs/test_engine_bugs.py::test_h11_hr_08_a_restart_that_did_not_help_is_no_success"),
    Mutant("HR-09", "a selection without a candidate stops nothing", "decide/failover.py",
           "lambda s: s.choice.candidate is None", "lambda s: False", "tests/bugs/test_engine_bugs.py::test_hr_09_a_selection_that_is_no_list_stops_nothing"),
    Mutant("HR-11", "a replica that could not be looked at may take over", "decide/candidates.py",
           'return "it could not be looked at"', 'return ""', "tests/decide/test_candidates.py::test_c10_strangers_masters_and_the_unseen_are_taken_out"),
    Mutant("HR-12", "two masters are no reason to stand still", "decide/failover.py",
           "lambda s: len(s.writable_servers) > 1", "lambda s: False", "tests/bugs/test_engine_bugs.py::test_hr_12_two_masters_are_left_alone_and_told"),
    Mutant("HR-13", "the proxies are not told who the new master is", "engine/steps/after.py",
           "pointed = await on.hands.use(Kind.CONNECTION_FAILOVER, newmaster=master)",
           "pointed = await on.hands.use(Kind.CONNECTION_FAILOVER, newmaster=None)", "tests/bugs/test_engine_bugs.py::test_hr_13_everybody_is_told_the_name_of_the_new_master"),
    Mutant("HR-14", "a failed undo goes unnoticed", "decide/progress.py",
           "            if then is Then.ASK:\n                return Ask(", "            if then is None:\n                return Ask(",
           "tests/bugs/test_engine_bugs.py::test_hr_14_the_outcome_of_undoing_is_used"),
    Mutant("HR-15", "the new master is not written down", "engine/steps/after.py",
           "    on.state.update(known)\n", "", "tests/bugs/test_engine_bugs.py::test_hr_15_memory_and_disk_agree_after_every_step"),
    Mutant("HR-15b", "a step is done before it is written down", "engine/conduct.py",
           "        self._journal.intend(run, step)\n", "", "tests/bugs/test_engine_bugs.py::test_e1_hr_15_a_handyrep_killed_while_it_promotes_sends_no_second_promote"),
    Mutant("HR-16", "an exception ends the loop", "engine/monitor.py",
           "            self._tell(error)\n", "            self._tell(error)\n            raise\n", "tests/bugs/test_engine_bugs.py::test_e15_hr_16_the_loop_survives_every_exception_and_tells_of_it"),
    Mutant("HR-18", "a lagged replica is called healthy", "decide/assess.py",
           "c.seen.lag > c.member.server.lag_limit", "False", "tests/bugs/test_engine_bugs.py::test_hr_18_a_lagged_replica_is_recorded_as_lagged"),
    Mutant("HR-19", "the order of the statuses is broken", "model/status.py", "LAGGED = 2", "LAGGED = 6", "tests/bugs/test_engine_bugs.py::test_hr_19_health_is_one_ordered_scale"),
    Mutant("HR-20", "a new reason for the same status is dropped", "engine/state.py",
           "            dated = dataclasses.replace(member, status=_since(old, member.status, self._clock.now()))",
           "            dated = dataclasses.replace(member, status=old if old.health is member.status.health else member.status)", "tests/bugs/test_engine_bugs.py::test_hr_20_a_new_reason_for_the_same_status_is_kept"),
    Mutant("HR-21", "every look is told of", "engine/state.py", "    return old.health is not new.health", "    return True", "tests/bugs/test_engine_bugs.py::test_hr_21_nothing_is_told_when_nothing_changes"),
    Mutant("HR-24", "a result may be tested for truth", "model/answer.py",
           "            raise NotABooleanError(", "            return True\n            raise NotABooleanError(", "tests/bugs/test_engine_bugs.py::test_hr_24_hr_01_results_cannot_be_tested_for_truth"),
    Mutant("HR-26", "rejecting connections counts as up", "plugins/poll_isready.py",
           "if status == ACCEPTING:", "if status in (ACCEPTING, REJECTING):", "tests/bugs/test_plugin_bugs.py::test_hr_26_each_exit_status_of_pg_isready_means_what_it_says"),
    Mutant("HR-28", "a call has no deadline", "plugin_api/caller.py",
           "asyncio.timeout(", "asyncio.timeout(60 + ", "tests/plugin_api/test_containment.py::test_e13_an_acting_plugin_that_hangs_is_uncertain_never_failed"),
    Mutant("HR-44", "the stand-in for a missing plugin succeeds", "plugins/failplugin.py",
           'return self.fail(f"plugin {asked_for}', 'return self.success(f"plugin {asked_for}', "tests/bugs/test_plugin_bugs.py::test_hr_44_the_stand_in_answers_every_method"),
    Mutant("HR-45", "an unset option becomes a word", "plugins/restart_pg_ctl.py",
           'argv = (pg_ctl, verb, "-D", server.pgdata, *self.pg_ctl_flags)', 'argv = (pg_ctl, verb, "-D", server.pgdata, str(None))', "tests/bugs/test_plugin_bugs.py::test_hr_45_hr_46_each_runmode_is_a_list_of_words_without_none"),
    Mutant("HR-54", "a proxy that does not answer is a success", "plugins/_at_once.py",
           "if result.outcome is not Outcome.SUCCESS}", "if result.outcome is None}", "tests/bugs/test_plugin_bugs.py::test_hr_54_a_proxy_that_does_not_answer_is_no_success"),
    Mutant("HR-59", "False as text is true", "operations/declare.py", '"false": False, "no": False, "off": False', '"false": True, "no": True, "off": True', "tests/surfaces/test_library.py::test_hr_59_false_as_text_is_false"),
    Mutant("HR-67", "words of a command are not quoted", "adapters/quoting.py", "shlex.quote(", "str(", "tests/adapters/test_commands.py::test_status_and_both_outputs_come_back_apart"),
    Mutant("HR-06", "a plain no to remaster is overridden by the configuration", "engine/check.py",
           "engine.policy.remaster if remaster is None else remaster", "remaster or engine.policy.remaster", "tests/bugs/test_engine_bugs.py::test_hr_06_a_switchover_runs_to_its_end_with_every_option"),
    Mutant("HR-10", "a directive is called otherwise than its readers think", "config/settings.py",
           "connection_failover_method: str", "connection_failover: str", "tests/bugs/test_config_bugs.py::test_hr_10_no_directive_is_called_connection_failover"),
    Mutant("HR-17", "a poll returns a bare tuple", "plugins/poll_connect.py",
           'return self.success("a login worked", alive=True)', 'return ("SUCCESS", "a login worked")', "tests/plugins/test_contract.py::test_it_keeps_the_contract"),
    Mutant("HR-22", "sentences are told unformatted", "decide/failover.py",
           "rule.sentence.format(**words(situation))", "rule.sentence", "tests/bugs/test_engine_bugs.py::test_hr_22_events_are_texts_with_facts_of_their_own"),
    Mutant("HR-23", "a second HandyRep is let in", "adapters/lock.py", "fcntl.flock(", "str(", "tests/bugs/test_state_bugs.py::test_e6_e7_hr_23_a_second_handyrep_is_refused_and_a_dead_one_blocks_nobody"),
    Mutant("HR-25", "a look holds entries that are no servers", "engine/observe.py",
           "Picture(seen=MappingProxyType(named)", 'Picture(seen=MappingProxyType({**named, "result": Seen()})', "tests/bugs/test_engine_bugs.py::test_hr_25_looks_are_by_server_and_nothing_else_is_in_them"),
    Mutant("HR-27", "a test() throws its answer away", "plugins/restart_pg_ctl.py", 'if "running" not in result.extra:', "if False:", "tests/bugs/test_plugin_bugs.py::test_hr_27_an_unreachable_host_fails_the_test"),
    Mutant("S-witness", "a replica that still sees the master is no veto", "decide/failover.py",
           "lambda s: bool(s.witnesses) and not s.master_is_dead_on_its_own_host", "lambda s: False", "tests/scenarios/test_stories.py::test_story[Only HandyRep cannot reach the master]"),
    Mutant("S-alive", "a sign of life is overlooked", "decide/failover.py", "lambda s: s.master.alive is YES", "lambda s: False", "tests/scenarios/test_stories.py::test_story[Too many clients]"),
    Mutant("S-isolated", "being cut off oneself goes unnoticed", "decide/failover.py",
           "lambda s: s.has_replicas and not s.reachable_others", "lambda s: False", "tests/scenarios/test_stories.py::test_story[HandyRep is cut off from everything]"),
    Mutant("S-behind", "a replica that is behind may take over", "decide/candidates.py",
           "if behind_bytes > slack_bytes else", "if behind_bytes > 10**9 else", "tests/decide/test_candidates.py::test_c1_one_that_is_behind_is_taken_out_whatever_its_priority"),
    Mutant("S-quorum", "too few replicas read count as enough", "decide/quorum.py",
           "self.needed > len(self.names)", "self.needed >= len(self.names)", "tests/decide/test_quorum.py::test_readable_exactly_when_no_acknowledged_commit_can_hide"),
    Mutant("S-loss", "more loss than allowed is taken", "decide/candidates.py",
           "if lost_bytes > allowed_bytes:", "if False:", "tests/decide/test_candidates.py::test_loss_beyond_what_is_allowed_is_refused_and_told"),
    Mutant("S-freeze", "it promotes before the receivers have stopped", "decide/stages.py",
           "FENCE,\n    FREEZE,\n", "FENCE,\n   \n", "tests/decide/test_progress.py::test_the_order_of_a_failover"),
    Mutant("S-silence", "a fence that leaves the master running is believed against a sign of life", "engine/steps/before.py",
           "run.signs_of_life and on.hands.needs_silence(name)", "False", "tests/engine/test_before_promote.py::test_a_switchover_never_tries_a_fence_that_needs_silence"),
    Mutant("S-kill", "proxies are reloaded, and sessions on the old master live on", "plugins/_bouncer_change.py",
           "            await self.console.kill(sorted(left.in_use))\n", "            await self.console.reload()\n", "tests/plugins/test_multi_pgbouncer.py::test_d3_after_a_failover_no_session_lives_on_at_the_old_master"),
    Mutant("S-pause", "one pgbouncer that cannot be paused leaves the others paused", "plugins/_held_back_at_bouncers.py",
           'back = await self._at_all_consoles(self._unblocked, "goes on")', "back = done", "tests/plugins/test_bouncer_pause.py::test_one_of_two_that_cannot_be_paused_lets_the_other_go_on"),
    Mutant("S-readers", "a session at a former master counts as a reader's", "plugins/_bouncer_places.py", " and m.name not in cluster.deposed", "",
           "tests/plugins/test_bouncer_readers.py::test_a_deposed_master_keeps_no_reader"),
    Mutant("S-workers", "sessions that HAProxy's old workers have are forgotten", "plugins/_haproxy_console.py",
           "found.setdefault(pid, []).append(session)", "pass", "tests/plugins/test_haproxy_update.py::test_sessions_that_an_old_worker_kept_end_too"),
    Mutant("S-returned", "a former master that comes back is let be", "decide/failover.py", "lambda s: bool(s.returned)", "lambda s: False", "tests/scenarios/test_stories.py::test_story[The former master came back and takes writes on an older timeline]"),
    Mutant("S-no-list", "a new master's list is taken for a promise about what came before it", "engine/steps/after.py",
           "older_lists=(UNDER_NO_LIST,)", "older_lists=()", "tests/engine/test_returning.py::test_a_new_masters_list_promises_nothing_of_what_came_before_it"),
    Mutant("S-copies", "it acts before it knows what another HandyRep did", "engine/engine.py",
           "            return fail(str(error))\n        self._allowed_at", "            return active\n        self._allowed_at", "tests/engine/test_copies.py::test_nothing_is_done_before_it_is_known_what_another_one_did"),
    Mutant("S-stranger", "another cluster's server may take over", "decide/candidates.py",
           "if not _is_ours(facts, cluster):", "if False:", "tests/decide/test_candidates.py::test_c10_strangers_masters_and_the_unseen_are_taken_out"),
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
    """'caught', 'SURVIVED', 'NOT TRIED' when the test could not be run, or 'MISSING' when the place it changes is not there any more."""
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
        return ENDS.get(run(copy, mutant.test), "NOT TRIED")


def run(copy: Path, test: str) -> int:
    """The exit status of pytest for that one test in the copy."""
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", test],
        cwd=copy, capture_output=True, timeout=300, check=False, env={**os.environ, "PYTHONPATH": str(copy / "src")},
    ).returncode  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
