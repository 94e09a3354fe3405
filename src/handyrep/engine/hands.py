"""Which plugin does what, and how long it may take. The engine's only way to the outside."""

from typing import Any

from handyrep.config.settings import Settings
from handyrep.decide.failover import Proof
from handyrep.engine.state import State
from handyrep.errors import PluginError
from handyrep.model.answer import Answer, Outcome
from handyrep.model.cluster import Cluster
from handyrep.model.result import Result, fail
from handyrep.model.run import RunKind
from handyrep.model.server import Server
from handyrep.plugin_api.caller import Caller
from handyrep.plugin_api.contract import KINDS, Kind
from handyrep.plugin_api.plugin import Plugin

_OF_A_SERVER = frozenset({Kind.RESTART, Kind.PROMOTION, Kind.CLONE})


class Hands:
    """Calls the configured plugin of a kind."""

    def __init__(self, caller: Caller, settings: Settings, state: State) -> None:
        self._caller = caller
        self._settings = settings
        self._state = state

    async def use(
        self,
        kind: Kind,
        method: str = "run",
        *,
        server: Server | None = None,
        name: str | None = None,
        patience_s: float | None = None,
        cluster: Cluster | None = None,
        **arguments: Any,
    ) -> Result:
        """Call `method` of the plugin that the configuration names for this kind (and server).

        `patience_s`: how long it may take, where the usual time of its kind is not right. `cluster`: what it is to take the cluster for,
        where that is not what is recorded.
        """
        plugin = name or self.configured(kind, server)
        if not plugin:
            return fail(f"no {KINDS[kind].directive} is configured")
        if server is not None:
            arguments = {_server_parameter(kind, method): server.name, **arguments}
        deadline_s = self._deadline_s(kind, method) if patience_s is None else patience_s
        return await self._caller.call(
            kind,
            plugin,
            method,
            arguments,
            cluster=self._state.cluster if cluster is None else cluster,
            deadline_s=deadline_s,
        )

    def able(self, kind: Kind, method: str, name: str | None = None) -> bool:
        """Whether the configured plugin of this kind (or this one of several) has an optional method."""
        plugin = self._loaded(name or self.configured(kind))
        if plugin is None or not hasattr(plugin, method):
            return False
        return not KINDS[kind].method(method).as_run or issubclass(_owner(plugin, method), _owner(plugin, "run"))

    def can_hold_clients(self, kind: RunKind) -> bool:
        """Whether the plugin of the proxies can let clients wait as this kind of run wants it."""
        method = "pause" if kind is RunKind.SWITCHOVER else "block"
        return bool(self.configured(Kind.CONNECTION_FAILOVER)) and self.able(Kind.CONNECTION_FAILOVER, method)

    def needs_silence(self, fence: str) -> bool:
        """Whether this fence proves nothing while there is a sign of life; one that cannot be loaded proves nothing at all."""
        plugin = self._loaded(fence)
        return plugin is None or plugin.needs_silence

    def proof(self, fence: str, possible: Answer, told: str) -> Proof:
        """What a fence said of its proof, with what such a proof is worth."""
        plugin = self._loaded(fence)
        if plugin is None:
            return Proof(fence, possible, told, needs_silence=True, needs_host=True)
        final = not plugin.needs_host and not plugin.needs_silence
        return Proof(fence, possible, told, plugin.routes_only, plugin.needs_silence, final, plugin.needs_host)

    def _loaded(self, name: str) -> type[Plugin] | None:
        try:
            return self._caller.registry.load(name)
        except PluginError:
            return None

    async def may_act(self) -> Result:
        """SUCCESS when this HandyRep is the one that may act."""
        parameters = self._settings.handyrep.master_check_parameters
        return await self.use(Kind.MASTER_CHECK, **numbered(parameters))

    async def select(self) -> tuple[tuple[str, ...], str]:
        """(replicas in the order of the selection plugin, why there are none)."""
        name = self._settings.failover.selection_method
        deadline_s = self._deadline_s(Kind.SELECTION, "run")
        answer = await self._caller.select(name, cluster=self._state.cluster, deadline_s=deadline_s)
        return (answer, "") if isinstance(answer, tuple) else ((), answer.details)

    def configured(self, kind: Kind, server: Server | None = None) -> str:
        """The name in the directive of this kind; '' when it is blank."""
        directive = KINDS[kind].directive
        if kind in _OF_A_SERVER and server is not None:
            return str(getattr(server, directive))
        sections = (self._settings.failover, self._settings.handyrep, self._settings.archive)
        return next((str(getattr(section, directive)) for section in sections if hasattr(section, directive)), "")

    @property
    def polls_proxies(self) -> bool:
        """Whether anything can and may ask the connection proxies how they are."""
        return bool(self.configured(Kind.CONNECTION_FAILOVER)) and self._settings.failover.poll_connection_proxy

    def calls_s(self, calls: int) -> float:
        """The time of so many answers."""
        return self._settings.failover.call_timeout * calls

    def _deadline_s(self, kind: Kind, method: str) -> float:
        """How long a call of this kind may take, in seconds."""
        failover = self._settings.failover
        if kind is Kind.POLL and method == "run":
            return (failover.fail_retries + 1) * (
                failover.call_timeout + failover.fail_retry_interval
            ) + failover.call_timeout
        if not KINDS[kind].method(method).acts:
            return self.calls_s(3)
        slow = {
            Kind.CLONE: failover.clone_timeout,
            Kind.REJOIN: failover.clone_timeout,
            Kind.FENCE: failover.fence_timeout,
            Kind.PROMOTION: failover.promote_timeout,
        }
        return slow.get(kind, failover.start_timeout)


def _owner(plugin: type[Plugin], method: str) -> type:
    """The class that a plugin has a method from; object when it has none."""
    return next((one for one in plugin.__mro__ if method in vars(one)), object)


def _server_parameter(kind: Kind, method: str) -> str:
    """The name that the contract gives to the parameter which takes the server."""
    contract = KINDS[kind].method(method)
    return contract.parameters[0] if contract.parameters else "servername"


def numbered(parameters: tuple[str, ...]) -> dict[str, Any]:
    """Parameters of the configuration as arguments: plugins take them by position."""
    return {f"parameter{number}": value for number, value in enumerate(parameters, 1)}


def said(result: Result) -> str:
    """What to tell people of a result that is no success."""
    word = "uncertain" if result.outcome is Outcome.UNCERTAIN else "failed"
    return result.details or f"{word} without a word"
