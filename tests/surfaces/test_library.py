"""HandyRep as a library, from plain code and from asyncio, and through a daemon's socket."""

import asyncio
import contextlib
import json
from pathlib import Path

import pytest

from handyrep import AsyncHandyRep, HandyRep
from handyrep.app import running
from handyrep.errors import BusyError, ConfigurationError
from handyrep.surfaces.control import SOCKET_NAME, listening
from handyrep.surfaces.progress import Audience
from tests.surfaces.test_cli import GOOD


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    file = tmp_path / "handyrep.conf"
    file.write_text(GOOD.format(state=tmp_path / "state"))
    return file


def test_from_plain_code(conf: Path) -> None:
    hr = HandyRep(conf)
    assert hr.get_master_name() == {"result": "SUCCESS", "details": "m1", "master": "m1"}
    assert hr.get_servers_by_role("master")["servers"].keys() == {"m1"}
    assert hr.get_server_info(server="nobody")["result"] == "FAIL"
    assert hr.get_setting("passwords", "superuser_pass")["result"] == "FAIL"
    with pytest.raises(AttributeError):
        hr.no_such_operation()
    with pytest.raises(TypeError):
        hr.get_master_name(1, 2, 3)


async def test_from_asyncio(conf: Path) -> None:
    assert (await AsyncHandyRep(conf).get_status())["result"] == "SUCCESS"


def test_a_wrong_configuration_is_one_error_with_everything(tmp_path: Path) -> None:
    bad = tmp_path / "bad.conf"
    bad.write_text("[failover]\nauto_failover = maybe\n")
    with pytest.raises(ConfigurationError) as raised:
        HandyRep(bad).get_status()
    assert len(raised.value.problems) >= 2


async def test_a_daemon_does_the_work_when_one_runs(conf: Path, tmp_path: Path) -> None:
    async with running(conf) as on, listening(on, tmp_path / "state", Audience()) as socket:
        assert oct(socket.stat().st_mode & 0o777) == "0o600"
        assert (await AsyncHandyRep(conf).get_master_name())["master"] == "m1"
        with pytest.raises(BusyError):
            async with running(conf):
                pass
    assert not (tmp_path / "state" / SOCKET_NAME).exists()


@pytest.mark.parametrize("daemon", [True, False])
async def test_who_waits_hears_of_each_step_of_a_change_of_master(conf: Path, tmp_path: Path, daemon: bool) -> None:
    told: list[str] = []
    async with contextlib.AsyncExitStack() as stack:
        if daemon:
            audience = Audience()
            on = await stack.enter_async_context(running(conf, also_tell=audience))
            await stack.enter_async_context(listening(on, tmp_path / "state", audience))
        hr = AsyncHandyRep(conf, told.append)
        answer = await hr.confirmed_failover("handyrep", "it has no replica, so nothing comes of it")
        assert answer["result"] == "FAIL"
        count = len(told)
        await hr.get_master_name()
    assert told[0].startswith("failover 1 begins")
    assert any(": fail after" in one or ": success after" in one for one in told[1:])
    assert len(told) == count
    assert not any("was given up" in one for one in told), "the answer says that"


@pytest.mark.parametrize(
    "line",
    [
        b"rubbish\n",
        b"{}\n",
        b"[1]\n",
        b'{"operation": 1}\n',
        b'{"operation": "no"}\n',
        b"\xff\xfe\n",
        b"[" * 5000 + b"\n",
    ],
)
async def test_rubbish_on_the_socket_gets_an_answer_and_harms_nothing(conf: Path, tmp_path: Path, line: bytes) -> None:
    async with running(conf) as on, listening(on, tmp_path / "state", Audience()) as socket:
        reader, writer = await asyncio.open_unix_connection(socket)
        writer.write(line)
        await writer.drain()
        assert json.loads(await reader.readline())["result"] == "FAIL"
        writer.close()
        assert (await AsyncHandyRep(conf).get_master_name())["result"] == "SUCCESS"


@pytest.mark.parametrize("given", ["False", "false", "no", False])
def test_hr_59_false_as_text_is_false(conf: Path, given: object) -> None:
    assert HandyRep(conf).set_verbose(verbose=given)["details"] == "verbose logging is off"
    assert HandyRep(conf).set_verbose(verbose="perhaps")["result"] == "FAIL"
