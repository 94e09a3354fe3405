"""journal_on_hosts: a copy of the open run's journal on every server's host, for another HandyRep."""

from collections.abc import Mapping

from handyrep.errors import NoAnswerError
from handyrep.model.answer import Outcome
from handyrep.model.result import Result
from handyrep.model.server import Server
from handyrep.plugin_api.contract import Kind
from handyrep.plugins._at_once import on_each
from handyrep.plugins.handyrepplugin import handyrepplugin, last_words, nothing_known

_SHARE = 0.9
"""Of the time that is left: what the others said must be told although one does not answer."""
_FOLDER = ".handyrep"
_PUT = f"""
set -eu
cd
umask 077
mkdir -p {_FOLDER}
temporary=$(mktemp "{_FOLDER}/XXXXXXXX")
trap 'rm -f "$temporary"' EXIT
cat > "$temporary"
sync "$temporary" 2>/dev/null || sync
mv -f "$temporary" "{_FOLDER}/$1"
trap - EXIT
sync {_FOLDER} 2>/dev/null || sync
"""
_READ = f'cd && if [ -e "{_FOLDER}/$1" ]; then cat "{_FOLDER}/$1"; fi'
_LEFT = f"""
cd || exit 1
[ -d {_FOLDER} ] || exit 0
[ -r {_FOLDER} ] || {{ echo "{_FOLDER} cannot be read" >&2; exit 2; }}
if [ -e "{_FOLDER}/$1" ]; then echo "journal=$(pwd -P)/{_FOLDER}/$1"; fi
find {_FOLDER} -maxdepth 1 -type f -name '????????' -mmin +1 | sed "s!^!part=$(pwd -P)/!"
"""
_TAKE_BACK = f"""
set -u
cd || exit 1
[ -d {_FOLDER} ] || exit 0
rm -f -- "{_FOLDER}/$1" || exit 2
find {_FOLDER} -maxdepth 1 -type f -name '????????' -mmin +1 -delete
rmdir {_FOLDER} 2>/dev/null
exit 0
"""
_CAN_PUT = f"cd && test -w . && {{ test ! -e {_FOLDER} || test -w {_FOLDER}; }}"


class journal_on_hosts(handyrepplugin):
    """Keeps what HandyRep is in the middle of on the hosts of the servers, so that another HandyRep can go on from there.

    Does: run() writes the text into a file on the host of every enabled server, pgbouncers and proxies too, in one durable step; read()
    reads them all. More than half of these servers make a SUCCESS, so that what one HandyRep wrote, another one reads, whichever
    servers are away.
    Touches on the server: the file CLUSTER.journal in the folder .handyrep in the home of the account that SSH logs in as, mode 0600.
    Needs: SSH; a home that can be written. Nothing of PostgreSQL. At least three servers (pgbouncers count) to outlive the loss of one.
    Safe to repeat?: yes: the newest text takes the place of the one before.
    When it cannot tell: a server that does not answer does not count.
    Options: none.
    """

    kinds = (Kind.JOURNAL,)

    async def run(self, text: str) -> Result:  # type: ignore[override] # the contract of its kind
        """SUCCESS once more than half of the servers hold this text durably."""
        return self._counted(await self._at_each(_PUT, text), "hold it")

    async def read(self) -> Result:
        """SUCCESS when more than half answered; `texts`: what each of them holds."""
        said = await self._at_each(_READ)
        texts = {name: result.extra["text"] for name, result in said.items() if result.extra.get("text")}
        return self._counted(said, "were read", texts=texts)

    async def test(self) -> Result:
        """FAIL when too few servers could hold a copy."""
        return self._counted(await self._at_each(_CAN_PUT), "can hold it")

    async def footprint(self, servername: str) -> Result:
        """The copy, and what a writing that was broken off has left."""
        try:
            ran = await self.run_as_login(servername, "sh", "-c", _LEFT, "left", self._name)
        except NoAnswerError as error:
            return self.fail(nothing_known(error))
        if ran.exit_status != 0:
            return self.fail(f"its folder cannot be looked into: {last_words(ran)}")
        purposes = {
            "journal": "lets another HandyRep go on from where this one stopped: end every other HandyRep before it goes",
            "part": "a copy that was broken off",
        }
        said = (line.partition("=")[::2] for line in ran.stdout.splitlines())
        found = [self.trace("copy of the journal", place, purposes[key]) for key, place in said if key in purposes]
        return self.success(traces=found)

    async def take_back(self, servername: str) -> Result:
        """Delete the copy, and the folder if nothing else is in it."""
        try:
            ran = await self.run_as_login(servername, "sh", "-c", _TAKE_BACK, "take_back", self._name)
        except NoAnswerError as error:
            return self.uncertain(nothing_known(error))
        return self.success("nothing of it is left") if ran.exit_status == 0 else self.fail(last_words(ran))

    @property
    def _name(self) -> str:
        return f"{self.cluster.name}.journal"

    def _counted(self, said: Mapping[str, Result], what: str, **extra: object) -> Result:
        away = {name: result.details for name, result in said.items() if result.outcome is not Outcome.SUCCESS}
        there = len(said) - len(away)
        told = "; ".join([f"{there} of {len(said)} servers {what}", *(f"{name}: {why}" for name, why in away.items())])
        return (self.success if 2 * there > len(said) else self.fail)(told, **extra)

    async def _at_each(self, script: str, text: str = "") -> dict[str, Result]:
        servers = [server for server in self.cluster.servers if server.enabled]

        async def at(server: Server) -> Result:
            ran = await self.run_as_login(server.name, "sh", "-c", script, "journal", self._name, stdin=text.encode())
            if ran.exit_status != 0 or ran.cut:
                return self.fail("its file is too large" if ran.cut else last_words(ran))
            return self.success(text=ran.stdout)

        return await on_each(servers, at, limit_s=self.call.left_s() * _SHARE, acts=False)
