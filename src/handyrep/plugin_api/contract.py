"""The kinds of plugin: which directive names them, which methods they have, and which of these act on servers.

This table is the contract. The engine calls plugins by it, the contract suite tests plugins by it, docs are made from it.
"""

import dataclasses
import enum
from collections.abc import Mapping
from types import MappingProxyType


class Kind(enum.StrEnum):
    """A kind of plugin. What a kind must do stands in KINDS."""

    MASTER_CHECK = "master_check"
    POLL = "poll"
    INSPECT = "inspect"
    REPLICATION_STATUS = "replication_status"
    SELECTION = "selection"
    RESTART = "restart"
    PROMOTION = "promotion"
    FENCE = "fence"
    FOLLOW = "follow"
    RESCUE = "rescue"
    SLOTS = "slots"
    SYNC = "sync"
    REJOIN = "rejoin"
    CLONE = "clone"
    CONNECTION_FAILOVER = "connection_failover"
    ARCHIVE_SCRIPT = "archive_script"
    ARCHIVE_DELETE = "archive_delete"
    EXTRA_COMMAND = "extra_command"
    JOURNAL = "journal"
    ALERT = "alert"


@dataclasses.dataclass(frozen=True, slots=True)
class Method:
    """One method of a kind. `acts`: it changes servers, so a bad answer from it means UNCERTAIN, not FAIL.

    `as_run`: it does what run() does, so whoever replaces run() replaces it too.
    """

    name: str
    parameters: tuple[str, ...]
    acts: bool
    text: str
    optional: bool = False
    returns_list: bool = False
    as_run: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Contract:
    """A kind: its directive in handyrep.conf, what it is for, its methods beside test()."""

    kind: Kind
    directive: str
    text: str
    methods: tuple[Method, ...]

    def method(self, name: str) -> Method:
        """The method of that name. Raises KeyError."""
        return {m.name: m for m in (*self.methods, *COMMON)}[name]


TEST = Method("test", (), acts=False, text="fails when the plugin could not work; changes nothing", optional=False)
FOOTPRINT = Method(
    "footprint",
    ("servername",),
    acts=False,
    text="traces: what of this plugin's is on this server now, each made by self.trace(); SUCCESS when that is all, FAIL when something is not known",
    optional=True,
)
TAKE_BACK = Method(
    "take_back",
    ("servername",),
    acts=True,
    text="take away those traces that do not have to stay; may be called again",
    optional=True,
)
COMMON = (TEST, FOOTPRINT, TAKE_BACK)
"""What a plugin of any kind has, or may have."""
RUNMODES = ("start", "stop", "faststop", "restart", "reload", "status")


def _kind(kind: Kind, directive: str, text: str, *methods: Method) -> tuple[Kind, Contract]:
    return kind, Contract(kind, directive, text, methods)


KINDS: Mapping[Kind, Contract] = MappingProxyType(
    dict(
        (
            _kind(
                Kind.MASTER_CHECK, "master_check_method", "Is this HandyRep the one that may act?",
                Method("run", ("*parameters",), acts=False, text="with master_check_parameters. SUCCESS: this HandyRep is the master; anything else: skip the failover check"),
            ),
            _kind(
                Kind.POLL, "poll_method", "Does a PostgreSQL accept connections? Contains its retries.",
                Method(
                    "run", ("servername",), acts=False,
                    text="SUCCESS: up; FAIL: not, with alive = True in the RD when a PostgreSQL answered all the same",
                ),
                Method("once", ("servername",), acts=False, text="the same by one attempt, within call_timeout: then HandyRep sees to the retries of a suspected master, and looks at its host meanwhile", optional=True, as_run=True),
            ),
            _kind(
                Kind.INSPECT, "inspect_method", "What does a PostgreSQL say of itself, and does its host answer?",
                Method("run", ("servername",), acts=False, text="logs in; SUCCESS with the facts (docs/plugins.md), FAIL with alive = True or nothing known"),
                Method("write", ("servername",), acts=False, text="SUCCESS when a write on this master was possible"),
                Method("promoted", ("servername",), acts=False, text="SUCCESS once this server, which was told to become the master, has left recovery; may wait for that for call_timeout. How it stands is then asked of run()", optional=True),
                Method("host", ("servername",), acts=False, text="SUCCESS when commands run on the server's host"),
                Method("hindrances", ("servername",), acts=False, text="SUCCESS with hindrances: a sentence for each thing on this master for which a switchover should wait", optional=True),
                Method("sees", ("servername", "mastername"), acts=False, text="from this server's own host: does the master answer? SUCCESS yes; FAIL with no = True: refused or silent; FAIL: not known"),
            ),
            _kind(
                Kind.REPLICATION_STATUS, "replication_status_method", "How far behind is a replica?",
                Method("run", ("replicaserver",), acts=False, text="SUCCESS with lag (number) and replicating (True/False); FAIL: cannot tell"),
            ),
            _kind(
                Kind.SELECTION, "selection_method", "In which order should replicas be considered as the new master?",
                Method("run", (), acts=False, text="a list of server names, best first; empty when there is none", returns_list=True),
            ),
            _kind(
                Kind.RESTART, "restart_method", "Start, stop, reload PostgreSQL on a server; tell whether it runs.",
                Method("run", ("servername", "runmode"), acts=True, text="runmode: " + ", ".join(RUNMODES) + "; status: SUCCESS when it runs, FAIL with running = False when it certainly does not"),
            ),
            _kind(
                Kind.PROMOTION, "promotion_method", "Make a replica a master.",
                Method("run", ("servername",), acts=True, text="SUCCESS: the promotion was ordered; HandyRep looks whether it happened"),
            ),
            _kind(
                Kind.FENCE, "fence_methods", "Prove that an old master can acknowledge no commit any more.",
                Method("run", ("servername",), acts=True, text="SUCCESS only with a proof, told in proof; last_lsn when read on its disk; ended = True when no process of it is left; anything else is no proof. FAIL with untouched = True: nothing was done, so nothing is to be released"),
                Method("release", ("servername",), acts=True, text="take back what run() left behind so that the server may be started again"),
                Method("keep", ("servername",), acts=True, text="called at each look at a well master: keep up what run() will rest on", optional=True),
                Method("leave", ("servername",), acts=True, text="take away what keep() put on the server", optional=True),
                Method("hasten", ("servername",), acts=True, text="called in a switchover before clients have to wait: do beforehand what would make run() last", optional=True),
            ),
            _kind(
                Kind.FOLLOW, "follow_method", "Let a running replica receive from another master.",
                Method("run", ("servername", "newmaster"), acts=True, text="SUCCESS: it was told to; HandyRep looks whether it streams; warnings: sentences for people"),
                Method("hasten", ("servername", "newmaster"), acts=True, text="called beside the promote of newmaster, where commits wait for replicas: do what run() would do, if nothing is given up by doing it now. run() is called later all the same, and how this went is not heeded", optional=True),
                Method("halt", ("servername",), acts=True, text="SUCCESS once the replica receives from nobody and will not again, so that its position stands still", optional=True),
                Method("resume", ("servername",), acts=True, text="take halt() back: receive as before", optional=True),
            ),
            _kind(
                Kind.RESCUE, "rescue_method", "Give a candidate the WAL that a stopped master never sent.",
                Method("run", ("servername", "candidate", "upto"), acts=True, text="SUCCESS: the candidate has the WAL of the stopped server to the LSN upto, and replays it; its history was not changed in any other case"),
            ),
            _kind(
                Kind.SLOTS, "slots_method", "Replication slots on a new master.",
                Method("run", ("newmaster",), acts=True, text="SUCCESS: every physical slot that a replica of the cluster uses is there, before they follow; warnings: sentences for people, as lost logical slots"),
                Method("lost", ("newmaster",), acts=False, text="SUCCESS with lost: a sentence for each logical slot of the master that this replica would not have, its name and the reason"),
                Method("tidy", ("servername",), acts=True, text="drop on a replica what was for others when it was the master: their physical slots would hold its WAL for ever, its own failover slots keep those of the new master from being synced; dropped: their names", optional=True),
            ),
            _kind(
                Kind.SYNC, "sync_method", "Let commits wait for replicas.",
                Method("run", ("servername", "names"), acts=True, text="SUCCESS: names is this server's synchronous_standby_names now, in force on a master, and after a restart; no order sent before can follow. FAIL: nothing was changed"),
            ),
            _kind(
                Kind.REJOIN, "rejoin_method", "Bring a stopped former master back as a replica.",
                Method("run", ("servername", "newmaster"), acts=True, text="SUCCESS: started as a replica of newmaster; nothing of its own history is deleted. diverged = {headline, kept} when it had one, also with a FAIL"),
                Method("follow", ("servername", "newmaster"), acts=True, text="the same, but only where its history has not parted: else FAIL with parted = True, and it stays stopped", optional=True),
            ),
            _kind(
                Kind.CLONE, "clone_method", "Make a replica by copying a server.",
                Method("run", ("servername", "clonefrom", "reclone"), acts=True, text="SUCCESS: started and streaming from clonefrom; diverged as of rejoin when what was overwritten had a history of its own"),
            ),
            _kind(
                Kind.CONNECTION_FAILOVER, "connection_failover_method", "Point the connection proxies at the right servers.",
                Method("run", ("newmaster",), acts=True, text="SUCCESS: every proxy was re-pointed and read back; newmaster None: the recorded master"),
                Method("init", ("bouncerserver",), acts=True, text="write the configuration of one proxy, or of all, outside a failover"),
                Method("poll", ("bouncerserver",), acts=False, text="SUCCESS when it lets people in; servers = {name: True/False}"),
                Method("leads", (), acts=False, text="SUCCESS when each proxy that answers leads where run() would lead it now; FAIL with behind = {name: why}: HandyRep calls run(), so that read-only names follow lag", optional=True),
                Method("hasten", ("newmaster",), acts=False, text="called when newmaster is about to become the master, and once a minute while all is well for the one that would: do beforehand what would make run() last. Changes nothing, and is not heeded", optional=True),
                Method("bring", ("newmaster",), acts=True, text="called beside the promote of newmaster: bring every proxy what run() is to make take effect there, and let it take none yet. run() is called later all the same, and how this went is not heeded", optional=True, as_run=True),
                Method("block", (), acts=True, text="hold clients back at every proxy and cut their server connections", optional=True),
                Method("pause", (), acts=True, text="at every proxy: let the transactions under way end, and new ones wait. SUCCESS once none is under way; FAIL: all go on as before", optional=True),
                Method("unblock", (), acts=True, text="let clients on again", optional=True),
            ),
            _kind(
                Kind.ARCHIVE_SCRIPT, "archive_script_method", "Install, start and stop WAL archiving.",
                Method("run", (), acts=True, text="install the archive script"),
                Method("start", (), acts=True, text="start archiving"),
                Method("stop", (), acts=True, text="stop archiving without losing WAL"),
            ),
            _kind(
                Kind.ARCHIVE_DELETE, "archive_delete_method", "Clean the WAL archive.",
                Method("run", (), acts=True, text="delete what is old and needed by nobody"),
            ),
            _kind(
                Kind.EXTRA_COMMAND, "extra_failover_commands", "Something of your own after a failover.",
                Method("run", ("*parameters",), acts=True, text="its parameters from the configuration; the result is reported and undoes nothing"),
            ),
            _kind(
                Kind.JOURNAL, "journal_method", "Keep the open run's journal where another HandyRep can read it.",
                Method("run", ("text",), acts=True, text="SUCCESS: more than half of the servers hold this text durably"),
                Method("read", (), acts=False, text="SUCCESS with texts: what each server that answers holds"),
            ),
            _kind(
                Kind.ALERT, "push_alert_method", "Tell people.",
                Method("run", ("alerttype", "category", "message"), acts=False, text="SUCCESS: the message left"),
            ),
        )
    )
)  # fmt: skip
