"""The part of a plugin that is the same for all: its options, what it may see, and how it answers.

Must not touch a server: that is what the helpers of handyrepplugin are for.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from handyrep.config.settings import Settings
from handyrep.errors import PluginError
from handyrep.model import result
from handyrep.model.cluster import Cluster
from handyrep.model.result import Result
from handyrep.model.server import Server
from handyrep.model.trace import Trace
from handyrep.plugin_api.call import Call
from handyrep.plugin_api.contract import Kind


class Plugin:
    """One object per call. What must outlive the call goes into `memory` (lost when HandyRep restarts)."""

    kinds: ClassVar[tuple[Kind, ...]] = ()
    """The kinds this plugin can serve as. Empty: any."""
    needs_host: ClassVar[bool] = True
    """Of a fence: whether its proof needs an answer from the old master's host. what_if predicts by it."""
    needs_silence: ClassVar[bool] = False
    """Of a fence: it leaves the old master running, so it proves nothing while there is any sign of life of it."""
    routes_only: ClassVar[bool] = False
    """Of a fence: it proves something of those clients alone that come through the connection proxies."""

    def __init__(self, call: Call, options: Mapping[str, Any]) -> None:
        self.call = call
        self.options = options

    @property
    def cluster(self) -> Cluster:
        """The servers and their statuses when the call began. It cannot be changed."""
        return self.call.cluster

    @property
    def settings(self) -> Settings:
        """handyrep.conf, typed and frozen."""
        return self.call.world.settings

    @property
    def memory(self) -> dict[str, Any]:
        """What the plugin keeps for itself between calls."""
        return self.call.memory

    def server(self, servername: str) -> Server:
        """A server by name. Raises PluginError."""
        member = self.cluster.members.get(servername)
        if member is None:
            raise PluginError(f"there is no server {servername!r} in the cluster", remedy="See 'handyrep status'.")
        return member.server

    def master(self) -> Server:
        """The recorded master. Raises PluginError when there is not exactly one."""
        if self.cluster.master is None:
            raise PluginError(f"the cluster has {len(self.cluster.masters)} recorded masters instead of one")
        return self.cluster.master.server

    def success(self, details: str = "", **extra: object) -> Result:
        """It was done, or it is so. Extra keys must be plain JSON."""
        return result.success(details, **extra)

    def fail(self, details: str, **extra: object) -> Result:
        """It was certainly not done, or it is not known to be so."""
        return result.fail(details, **extra)

    def uncertain(self, details: str, **extra: object) -> Result:
        """It was ordered, and whether it happened is not known."""
        return result.uncertain(details, **extra)

    def trace(self, name: str, where: str, purpose: str, *, stays: str = "") -> dict[str, str]:
        """One thing that is on a server, for footprint(). `stays`: why take_back() leaves it there; '' when it takes it away."""
        return Trace(name, where, purpose, stays).as_dict()
