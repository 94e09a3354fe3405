"""What is wrong, or soon will be, at one pgbouncer before a new pgbouncer.ini is pushed to it. Changes nothing.

Raises NoAnswerError and DatabaseError like the helpers that it uses, except where it says so.
"""

import dataclasses

from handyrep.config.settings import FailoverSettings
from handyrep.errors import NoAnswerError
from handyrep.model.result import Result, fail, success
from handyrep.plugins._at_once import both
from handyrep.plugins._bouncer_change import not_as
from handyrep.plugins._bouncer_config import MARK, File, Place, template_from
from handyrep.plugins._bouncer_console import Console, is_alone, objection
from handyrep.plugins._bouncer_host import BouncerHost, is_ours
from handyrep.plugins._bouncer_places import leads_to
from handyrep.plugins.handyrepplugin import last_words
from handyrep.ports import Clock

_LOOKS_AT_A_NEW_ONE, _BETWEEN_LOOKS_S = 20, 0.05


def longest_failover_s(failover: FailoverSettings) -> float:
    """How long clients may have to wait: to the suspicion, each fence, the promote and the re-pointing as long as they may take."""
    fences_s = failover.fence_timeout * len(failover.fence_methods)
    return failover.timings.silent_within_s + fences_s + failover.promote_timeout + failover.start_timeout


@dataclasses.dataclass(frozen=True, slots=True)
class Before:
    """`file` is config_location; `template` the name of HandyRep's own, '' where the user's own is used."""

    host: BouncerHost
    console: Console
    file: str
    owner: str
    program: str
    template: str

    async def objection(self, plan: File) -> Result | None:
        """A FAIL when this file must not be put there."""
        foreign, trial = await both(self._foreign(), self.host.tried(plan.text, self.program, plan.logfile))
        if foreign is not None:
            return foreign
        if not trial.can_log:
            return fail(f"{self.owner} cannot write {plan.logfile}: reloading would end a pgbouncer that runs")
        if trial.refused:
            return fail(f"pgbouncer does not take what the template gives, so nothing was pushed: {trial.refused}")
        return None

    async def refusal(self, plan: File) -> tuple[Result | None, NoAnswerError | None]:
        """(a FAIL when nothing may be pushed, the error when its console does not answer)."""
        refused, heard = await both(self.objection(plan), self.heard())
        if isinstance(heard, NoAnswerError):
            return refused, heard
        return (heard if refused is None else refused), None

    async def heard(self) -> Result | NoAnswerError | None:
        """A FAIL when its console answers and would not serve; the error when it does not answer."""
        try:
            why = await objection(self.console, self.file)
        except NoAnswerError as error:
            return error
        return fail(f"{why}: nothing was pushed") if why else None

    async def revived(self, service: str, clock: Clock) -> bool:
        """Start a pgbouncer that has crashed, and wait for its console: a KILL can end it (pgbouncer issue 1401), and Debian's unit leaves it so."""
        try:
            if not await self.host.revived(service):
                return False
        except NoAnswerError:
            return False
        for _ in range(_LOOKS_AT_A_NEW_ONE):
            if await self.heard() is None:
                return True
            await clock.sleep(_BETWEEN_LOOKS_S)
        return False

    async def usable(self, plan: File, longest_s: float) -> Result:
        """Whether the file could be put there and taken up. Clients may have to wait for `longest_s`: less patience is told."""
        refused, ran = await both(self.objection(plan), self.host.can_put())
        if refused is not None:
            return refused
        if ran.exit_status != 0:
            return fail(f"the folder of {self.file} cannot be written: {last_words(ran)}")
        why = await objection(self.console, self.file)
        if why:
            return fail(why)
        if not await is_alone(self.console):
            return fail("it uses so_reuseport: HandyRep would reach only one of its processes")
        wrong = not_as(plan.databases, await self.console.databases())
        stale = "its file is not HandyRep's newest: run: handyrep connection-proxy-init" if wrong else ""
        told = (stale, await self._impatient(longest_s), await self._in_sessions(plan))
        return success("; ".join(filter(None, told)))

    async def astray(self, plan: File, ours: frozenset[Place], others: frozenset[Place]) -> str:
        """The names that lead elsewhere than the plan has it, or to a server of the cluster that no name should lead to.

        Whether the file is the newest is not asked: a template is pushed when somebody says so. Names that are held back lead nowhere.
        Where HandyRep never wrote the file, it is only seen to that no writer is led to one of `others`, that are not the master.
        """
        found = await self.console.databases()
        wanted = {name: target for name, target in plan.databases.items() if name != MARK}
        if any(entry.paused for name, entry in found.items() if name in wanted):
            return ""
        if MARK in found:
            extra = found.keys() - plan.databases.keys()
            wrong = {*not_as(wanted, found), *(name for name in extra if leads_to(found[name].target, ours))}
        else:
            writers = {name for name, target in wanted.items() if name == target.dbname} & found.keys()
            wrong = {name for name in writers if leads_to(found[name].target, others)}
        return f"{', '.join(sorted(wrong))} should not lead where they do" if wrong else ""

    async def _impatient(self, longest_s: float) -> str:
        """What to tell when its clients are given up while a failover may still be under way."""
        given = (await self.console.configuration()).get("query_wait_timeout", "")
        try:
            wait_s = float(given)
        except ValueError:
            return ""
        if wait_s == 0 or wait_s >= longest_s:
            return ""
        return f"it gives up clients that wait for {wait_s:g} s (query_wait_timeout), and a failover may take {longest_s:.0f} s"

    async def _in_sessions(self, plan: File) -> str:
        """What to tell of clients that keep their session: a PAUSE waits until they leave."""
        default = (await self.console.configuration()).get("pool_mode", "")
        found = await self.console.databases()
        modes = {name: entry.pool_mode or default for name, entry in found.items()}
        kept = sorted(name for name in plan.databases if name != MARK and modes.get(name) == "session")
        if not kept:
            return ""
        return (
            f"clients of {', '.join(kept)} keep their session (pool_mode = session): a switchover waits for them to leave, and is given up when"
            " they do not within pause_timeout"
        )

    async def _foreign(self) -> Result | None:
        """A FAIL when a file that HandyRep did not write stands where its own template would replace it."""
        if not self.template:
            return None
        ran = await self.host.read()
        if ran.exit_status == 0 and is_ours(ran.stdout):
            return None
        if ran.exit_status != 0:
            return fail(f"{self.file} cannot be read: {last_words(ran)}")
        return fail(
            f"{self.file} was not written by HandyRep and is left as it is. Keep `template` of this answer as"
            f" {self.template} in templates_dir, look it over, and try again",
            template=template_from(ran.stdout),
        )
