"""The master lives, however it looks: HandyRep promotes nobody, says what is wrong, and is content when it is over."""

import asyncio
from collections.abc import Iterator
from contextlib import AbstractContextManager

import pytest

from handyrep.model.status import Health
from tests.lab import faults, troubles
from tests.lab.cluster import LabCluster
from tests.lab.conftest import Watch, Watched
from tests.lab.lab import Lab
from tests.lab.troubles import during
from tests.lab.writer import Writer

pytestmark = pytest.mark.lab
VERIFY = "verify_frequency = 4"


@pytest.fixture(scope="module")
def shared(ground: Lab) -> LabCluster:
    """Debian's layout, with TLS."""
    return ground.cluster(15, disk_mb=400)


@pytest.fixture(autouse=True)
def _as_it_was(shared: LabCluster) -> Iterator[None]:
    """Whatever the fault was: the same master, and both replicas behind it."""
    yield
    shared.wait_until_streaming(shared.names[0], 2)


async def warned(handyrep: Watched, name: str, *words: str) -> None:
    """Wait until HandyRep is not content with this server, and says one of these words."""

    def holds() -> bool:
        status = handyrep.on.engine.cluster.members[name].status
        return status.health is Health.WARNING and any(word in status.reason for word in words)

    await handyrep.until(holds, f"a warning of {name} with one of {words}")


async def stood(handyrep: Watched, cluster: LabCluster, for_s: float = 1.0) -> bool:
    """Whether HandyRep, which had time to do something, did nothing."""
    await asyncio.sleep(for_s)
    return handyrep.master == cluster.names[0] and handyrep.on.engine.journal.runs() == []


async def told_of(handyrep: Watched, cluster: LabCluster, fault: AbstractContextManager[object], *words: str) -> str:
    """The whole course of a fault of the master that lives on, to the end of it; the events that HandyRep told meanwhile."""
    await handyrep.healthy()
    async with during(fault):
        await warned(handyrep, cluster.names[0], *words)
        assert await stood(handyrep, cluster), handyrep.story()
        told = handyrep.story()
    await handyrep.healthy()
    return told


async def test_a7_a_crash_recovery_that_takes_long_is_life(shared: LabCluster, watch: Watch) -> None:
    async with watch(shared, failover=VERIFY) as handyrep:
        await handyrep.healthy()
        async with during(troubles.held_recovery(shared, shared.names[0])):
            await handyrep.until(lambda: handyrep.rule == "F08", "a sign of life")
            assert await stood(handyrep, shared), handyrep.story()
        await handyrep.healthy()


async def test_a8_a_full_disk_is_told_and_nobody_is_promoted(shared: LabCluster, watch: Watch) -> None:
    async with watch(shared, failover=VERIFY) as handyrep:
        told = await told_of(handyrep, shared, troubles.full_disk(shared, shared.names[0]), "No space left")
        assert "No space left" in told, told


async def test_a12_an_unreadable_pgdata_is_told_and_is_not_down(shared: LabCluster, watch: Watch) -> None:
    async with watch(shared, failover=VERIFY) as handyrep:
        told = await told_of(handyrep, shared, troubles.unreadable_pgdata(shared, shared.names[0]), "Permission denied")
        assert "Permission denied" in told, told


async def test_a13_a_master_without_a_connection_left_is_alive(shared: LabCluster, watch: Watch) -> None:
    async with watch(shared, failover=VERIFY) as handyrep:
        told = await told_of(handyrep, shared, troubles.no_connection_left(shared, shared.names[0]), "too many clients")
        assert "too many clients" in told, told


async def test_a14_a_backend_killed_for_want_of_memory_is_a_short_outage(shared: LabCluster, watch: Watch) -> None:
    async with watch(shared, failover=VERIFY) as handyrep:
        await handyrep.healthy()
        async with Writer(shared) as writer:
            await asyncio.to_thread(troubles.kill_a_backend, shared, shared.names[0])
            await asyncio.to_thread(writer.wait_for, 20)
        assert await stood(handyrep, shared, 0.5), handyrep.story()
        assert writer.lost(shared.names[0]) == set()
        await handyrep.healthy()


async def test_a15_slow_is_not_dead(shared: LabCluster, watch: Watch) -> None:
    patient = f"{VERIFY}\nfail_retries = 3\nfail_retry_interval = 0.3 s\ncall_timeout = 3 s"
    async with watch(shared, failover=patient) as handyrep:
        await handyrep.healthy()
        async with during(troubles.starved_of_cpu(shared, shared.names[0])):
            assert await stood(handyrep, shared, 3), handyrep.story()
        await handyrep.healthy()


async def test_a20_a_master_that_is_back_before_anybody_was_promoted_stays_master(
    shared: LabCluster, watch: Watch
) -> None:
    """Its host alone never is: a fence that needs it could give a proof in the moment between its sshd and its PostgreSQL."""
    shared.start_with_hosts(True)
    failover = f"{VERIFY}\nfence_methods = fence_command"
    switch = "[[fence_command]]\noff_command = false\nstatus_command = false"
    try:
        async with watch(shared, failover=failover, plugins=switch) as handyrep:
            await handyrep.healthy()
            await asyncio.to_thread(faults.power_off, shared, shared.names[0])
            await handyrep.until(lambda: handyrep.rule == "F16", "a refusal for want of a proof")
            await asyncio.to_thread(faults.power_on, shared, shared.names[0])
            await handyrep.healthy()
            assert await stood(handyrep, shared, 0), handyrep.story()
    finally:
        shared.start_with_hosts(False)


async def test_a21_a_changed_password_is_told_and_is_no_outage(shared: LabCluster, watch: Watch) -> None:
    async with watch(shared, failover=VERIFY) as handyrep:
        told = await told_of(handyrep, shared, troubles.rotated_password(shared), "password authentication failed")
        assert "password authentication failed" in told, told


async def test_a22_a_pg_hba_that_rejects_handyrep_is_told_and_is_no_outage(shared: LabCluster, watch: Watch) -> None:
    async with watch(shared, failover=VERIFY) as handyrep:
        told = await told_of(handyrep, shared, troubles.rejected_by_hba(shared, shared.names[0]), "pg_hba.conf")
        assert "pg_hba.conf" in told, told


async def test_a23_an_expired_certificate_is_told_and_is_no_outage(shared: LabCluster, watch: Watch) -> None:
    checked = f"sslmode = verify-full\nsslrootcert = {shared.hosts[0].image.root_certificate}"
    async with watch(shared, failover=VERIFY, server_defaults=checked) as handyrep:
        told = await told_of(handyrep, shared, troubles.expired_certificate(shared, shared.names[0]), "certificate")
        assert "certificate" in told, told


async def test_a24_a_program_that_is_missing_is_found_by_doctor_before_it_is_needed(
    shared: LabCluster, watch: Watch
) -> None:
    async with watch(shared, monitor=False) as handyrep:
        await handyrep.settled(shared)
        assert (await handyrep.call("doctor"))["result"] == "SUCCESS"
        async with during(troubles.missing_program(shared, shared.names[2], "pg_rewind")):
            told = await handyrep.call("doctor")
            assert (told["result"], "pg_rewind" in str(told["plugins"])) == ("FAIL", True), told
        assert (await handyrep.call("doctor"))["result"] == "SUCCESS"


async def test_b2_a_handyrep_that_is_cut_off_itself_does_nothing(shared: LabCluster, watch: Watch) -> None:
    async with watch(shared, failover=VERIFY) as handyrep:
        await handyrep.healthy()
        async with during(troubles.manager_cut_off(shared)):
            await handyrep.until(lambda: handyrep.rule == "F10", "HandyRep saying that it is cut off")
            assert await stood(handyrep, shared), handyrep.story()
        await handyrep.healthy()


async def test_b4_a_master_cut_off_from_its_replicas_acknowledges_nothing_and_stays(
    shared: LabCluster, watch: Watch
) -> None:
    master, *replicas = shared.names
    async with watch(shared, failover=VERIFY) as handyrep:
        await handyrep.healthy()
        async with Writer(shared) as writer:
            for replica in replicas:
                await asyncio.to_thread(faults.partition, shared, master, replica)
            before = len(writer.acknowledged)
            await warned(handyrep, replicas[0], "not replicating", "cannot be told")
            assert len(writer.acknowledged) - before <= 1, "commits hang while nobody confirms them"
            assert handyrep.rule == "F07"
            assert await stood(handyrep, shared, 0.5), handyrep.story()
            await asyncio.to_thread(faults.heal, shared, master)
            await asyncio.to_thread(writer.wait_for, 20)
        assert writer.lost(master) == set()
        await handyrep.healthy()


async def test_b9_a_flapping_link_alone_is_no_failover(shared: LabCluster, watch: Watch) -> None:
    async with watch(shared, failover=VERIFY) as handyrep:
        await handyrep.healthy()
        for _ in range(4):
            await asyncio.to_thread(faults.link_down, shared, shared.names[0])
            await asyncio.sleep(0.4)
            await asyncio.to_thread(faults.link_up, shared, shared.names[0])
            await asyncio.sleep(0.2)
        assert await stood(handyrep, shared, 0), handyrep.story()
        await handyrep.healthy()


async def test_b10_thirty_of_a_hundred_packets_lost_is_no_failover(shared: LabCluster, watch: Watch) -> None:
    async with watch(shared, failover=VERIFY) as handyrep:
        await handyrep.healthy()
        async with during(troubles.lossy(shared, shared.names[0], 0.3)):
            assert await stood(handyrep, shared, 3), handyrep.story()
        await handyrep.healthy()


async def test_b12_connections_that_are_reset_are_made_again_unnoticed(shared: LabCluster, watch: Watch) -> None:
    async with watch(shared, failover=VERIFY) as handyrep:
        await handyrep.healthy()
        before = handyrep.story()
        ended = await asyncio.to_thread(troubles.reset_connections, shared, shared.names[0])
        await handyrep.until(
            lambda: bool(set(troubles.sessions(shared, shared.names[0])) - ended), "a session instead of those"
        )
        assert await stood(handyrep, shared), handyrep.story()
        told = handyrep.story().removeprefix(before)
        assert "WARNING" not in told, told
        assert "DOWN" not in told, told


async def test_b13_connections_that_a_firewall_forgot_are_given_up_and_made_again(
    shared: LabCluster, watch: Watch
) -> None:
    async with watch(shared, failover=VERIFY) as handyrep:
        await handyrep.healthy()
        async with during(troubles.idle_flows_dropped(shared, shared.names[0])) as dropped:
            await handyrep.until(
                lambda: bool(set(troubles.sessions(shared, shared.names[0])) - dropped), "a session instead of those"
            )
            await handyrep.healthy()
            assert await stood(handyrep, shared), handyrep.story()


@pytest.mark.parametrize("number", [0, 2], ids=["of the master", "of a replica"])
async def test_b16_c10_a_stranger_at_an_address_is_told_and_left_alone(
    shared: LabCluster, watch: Watch, number: int
) -> None:
    """The loop does not run: to change servers takes a moment in which the address is nobody's, and the master would be failed over."""
    name = shared.names[number]
    async with watch(shared, monitor=False) as handyrep:
        await handyrep.settled(shared)
        async with during(troubles.stranger_at_the_address(shared, name)) as identifier:
            await handyrep.on.check.run(verify=True)
            assert handyrep.rule == ("F07" if number else "F20"), handyrep.story()
            member = handyrep.on.engine.cluster.members[name]
            assert (member.status.health, str(identifier) in member.status.reason) == (Health.DOWN, True), member
            for operation in ("shutdown", "restart"):
                rd = await handyrep.call(operation, server=name)
                assert (rd["result"], "another cluster" in rd["details"]) == ("FAIL", True), rd
            assert shared.value(name, "select system_identifier from pg_control_system()") == identifier
            assert await stood(handyrep, shared, 0), handyrep.story()
        await handyrep.settled(shared)
        await handyrep.seen_healthy()


async def test_c13_a_replica_whose_wal_is_gone_is_told_and_not_copied_anew_before_a_person_says_so(
    shared: LabCluster, watch: Watch
) -> None:
    name, mark = shared.names[2], f"{shared.layout.pgdata}/mark"
    shared.host(name).inside("touch", mark)
    async with watch(shared, failover=VERIFY) as handyrep:
        await handyrep.healthy()
        async with during(troubles.needed_wal_gone(shared, name)):
            await warned(handyrep, name, "not replicating")
            assert await stood(handyrep, shared, 2), handyrep.story()
            assert shared.host(name).inside("ls", mark)
        assert (await handyrep.call("shutdown", server=name))["result"] == "SUCCESS"
        copied = await handyrep.call("clone", replica=name, reclone=True)
        assert copied["result"] == "SUCCESS", copied
        await handyrep.healthy()


async def test_c16_a_replica_that_takes_no_logins_is_told_and_is_no_candidate(shared: LabCluster, watch: Watch) -> None:
    name, other = shared.names[1:]
    async with watch(shared, failover=VERIFY) as handyrep:
        await handyrep.healthy()
        async with during(troubles.without_sql(shared, name)):
            await warned(handyrep, name, "lets nobody in")
            told = await handyrep.call("what_if", event=f"{shared.names[0]} dies")
            assert (told["rule"], told["candidate"], told["refused"].get(other)) == ("F17", other, None), told
            assert await stood(handyrep, shared, 0), handyrep.story()
        await handyrep.healthy()
