"""What is told of a verdict beside its sentence: why the rules before it did not hold, which would be next, what a person can do."""

import itertools
from collections.abc import Mapping

from handyrep.decide.failover import RULES, Situation, verdicts, words
from handyrep.model.verdict import Verdict

WELL = "F07"
UNMET: Mapping[str, str] = {
    "F01": "this HandyRep is the HandyRep master",
    "F02": "no question waits for a person",
    "F19": "there is no maintenance",
    "F03": "exactly one server is recorded as master: {master}",
    "F18": "no single former master takes writes again on an older timeline",
    "F04": "no two servers were seen to take writes",
    "F05": "nobody but {master} was seen to take writes",
    "F20": "no PostgreSQL of another cluster was seen in the place of {master}",
    "F06": "{master} was not seen in recovery",
    "F07": "{master} was not seen to accept connections, or ends no commit",
    "F08": "no PostgreSQL was heard at {master}, or it ends no commit",
    "F09": "no other server sees {master}, or nobody gets in on its own host either, or it ends no commit",
    "F10": "a server other than {master} answers, or there is no replica",
    "F11": "restart_master is off, or it was tried, or {master} is not known to have stopped on a host that answers",
    "F12": "there are replicas",
    "F13": "auto_failover is on",
    "F14": "no failover was made within failover_cooldown",
    "F15": "{candidate} may take over",
    "F16": "{proof} can prove that {master} is fenced",
}
"""Why a rule does not hold, in the words of its situation. The last rule always holds."""

REMEDIES: Mapping[str, str] = {
    "F01": "Ask the HandyRep that is the HandyRep master; if none is, look at master_check_method: handyrep doctor",
    "F02": "Look at the servers, decide, then: handyrep answer",
    "F19": "Nothing, if the maintenance is still wanted; else: handyrep end-maintenance",
    "F03": "Record one server as master and the others as replicas: handyrep alter-server-def",
    "F18": "Nothing: HandyRep fences it. It may hold commits that nobody else has; look before it is made a replica again.",
    "F04": "Find out which one the clients should use, stop the others, then: handyrep adopt",
    "F05": "If that promotion was meant, record it: handyrep adopt",
    "F20": "Look at the host's address and data directory. Where another server is meant by now: handyrep alter-server-def",
    "F06": "Find out who made it a replica. If another server was promoted: handyrep adopt",
    "F07": "Nothing: all is well with it.",
    "F08": "Look at its log: it may be starting, full (max_connections), or refuse HandyRep's password. Then: handyrep poll",
    "F09": "Look at the network between HandyRep and the master: handyrep poll",
    "F10": "Look at HandyRep's own network; nothing is known of the cluster.",
    "F11": "Nothing: if it does not come up, the next check judges anew.",
    "F12": "Start the master: handyrep startup. If its data is lost, restore a backup.",
    "F13": "Fail over: handyrep manual-failover. To have it done without you next time, set auto_failover = True.",
    "F14": "Find out why it failed again so soon, or fail over now: handyrep manual-failover",
    "F15": "See to it that a replica can take over; why each may not stands in the sentence. Then: handyrep manual-failover",
    "F16": "Make one fence able to give its proof: handyrep doctor. Or turn the master off yourself, then: handyrep confirmed-failover",
    "F17": "Nothing: HandyRep fails over. What came of it: handyrep explain failover",
}
"""What a person can do about a verdict, by its rule."""


def passed_over(situation: Situation) -> tuple[tuple[str, str], ...]:
    """(rule, why it does not hold) for each row before the one that gives the verdict."""
    said = words(situation)
    before = itertools.takewhile(lambda rule: not rule.when(situation), RULES)
    return tuple((rule.id, UNMET[rule.id].format(**said)) for rule in before)


def next_in_line(situation: Situation) -> Verdict | None:
    """The verdict there would be if the row that holds did not; None where that is the last one, or where the master is well:
    then nothing else was looked up.
    """
    holding = verdicts(situation)
    return None if next(holding).rule == WELL else next(holding, None)
