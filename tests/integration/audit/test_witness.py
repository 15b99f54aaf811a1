"""The audit log and a witness that is a process of its own: what it cosigns, and every past that it does not."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from dac.audit.v1 import log_pb2
from mesh.ids import uuid7
from mesh.metrics_page import metrics_page
from mesh.postgres import Database
from mesh.service import Context
from mesh.tlog.cosignatures import Cosigner, open_cosigned
from mesh.tlog.merkle import consistency_ranges, hash_leaf, hashes_of, prove, root_of
from mesh.tlog.notes import Checkpoint, open_checkpoint
from mesh.tlog.proofs import Proof
from mesh.tlog.witness import open_cosigner, write_asked
from services.audit.config import AuditConfig, WitnessAt
from services.audit.follower import Arrivals
from services.audit.log.cosignature_store import CosignatureStore
from services.audit.log.provable import ProvableLog
from services.audit.log.server import LogServicer
from services.audit.log.signing import signer_of
from services.audit.log.witness_calls import post
from services.audit.log.witnessing import (
    Kept,
    NewestHead,
    Refused,
    Witnessing,
    WitnessUnreached,
    cosign,
    with_cosignatures,
)
from tests.conftest import Migrated
from tests.integration.audit.log_world import KEY, SIGNER, World, request
from tests.integration.audit.witness_process import Process
from tests.integration.budget.world import as_key
from tests.ports import LOOPBACK, free_port

FOLDER = pathlib.Path(__file__).parents[3] / "services" / "audit" / "migrations"
Make = Callable[..., Awaitable[Migrated]]
LEAVES = [hash_leaf(b"leaf %d" % n) for n in range(300)]
OTHER = [hash_leaf(b"other %d" % n) for n in range(300)]


@pytest.fixture
def witness(tmp_path: pathlib.Path) -> Iterator[Process]:
    running = Process(tmp_path / "witness")
    yield running
    running.stop(signal.SIGKILL)


@pytest.fixture
async def world(make_database: Make) -> AsyncIterator[World]:
    made = await make_database({"audit": FOLDER})
    database = Database(made.dsn("audit"), "audit")
    yield World(database)
    await database.close()


def note(size: int, leaves: list[bytes] = LEAVES) -> str:
    return SIGNER.sign(Checkpoint(KEY.name, size, root_of(leaves[:size])).text())


def asked(old: int, size: int, leaves: list[bytes] = LEAVES) -> bytes:
    proof = prove(consistency_ranges(old, size), hashes_of(leaves)) if 0 < old < size else []
    return write_asked(old, proof, note(size, leaves))


def witnessing(world: World, folder: pathlib.Path, *witnesses: WitnessAt) -> Witnessing:
    """As audit puts it together."""
    context = Context(
        name="audit",
        config=AuditConfig(witnesses=tuple(f"{one.url} {one.key}" for one in witnesses)),
        providers=(),
        models=(),
        data_dir=folder,
        keyring=None,  # type: ignore[arg-type]
        signer=None,  # type: ignore[arg-type]
        database=world.database,
        channel_to=lambda service: None,  # type: ignore[arg-type, return-value]
    )
    return ProvableLog(context, Arrivals()).witnessing


async def grow(world: World, org_id: str, count: int) -> list[str]:
    """Requests in the log; their ids."""
    made = [request(org_id) for _ in range(count)]
    await world.ask(*made)
    await world.sequence()
    return [one.request_id for one in made]


async def test_what_the_log_shows_is_cosigned_and_verifies(
    world: World, witness: Process, tmp_path: pathlib.Path
) -> None:
    org_id = uuid7()
    duty = witnessing(world, tmp_path, witness.at)
    await duty.round()
    assert (await CosignatureStore(world.database).kept()) == [], "an empty log has nothing to cosign"
    ids = await grow(world, org_id, 300)
    await duty.round()
    first = await world.checkpoint()
    assert list(first.witnesses) == [str(witness.key)] and first.cosigned_checkpoint == first.checkpoint
    assert open_cosigned(first.checkpoint, witness.key).checkpoint == open_checkpoint(first.checkpoint, KEY)
    ids += await grow(world, org_id, 5)
    then = await world.checkpoint()
    assert (then.size, then.cosigned_checkpoint) == (305, first.checkpoint)
    assert witness.key.name not in then.checkpoint, "the newest one is not cosigned yet"
    servicer = LogServicer(world.store, Arrivals())
    for record_id, size in ((ids[7], 300), (ids[302], 305)):
        with as_key(org_id, "read"):
            got = await servicer.GetInclusionProof(log_pb2.GetInclusionProofRequest(record_id=record_id), None)
        assert Proof.parse(got.proof).check(got.leaf.encode(), KEY).size == size
    for cosigned, size in ((True, 300), (False, 305)):
        with as_key(org_id):
            parts = [part.data async for part in servicer.Export(log_pb2.ExportRequest(cosigned=cosigned), None)]
        lines = b"".join(parts).splitlines()
        assert len(lines) == size + 1
        assert (witness.key.name in json.loads(lines[0])["checkpoint"]) is cosigned
    await duty.round()
    assert (await world.checkpoint()).cosigned_checkpoint == (await world.checkpoint()).checkpoint
    outside = open_cosigned((await world.checkpoint()).cosigned_checkpoint, witness.key).checkpoint
    assert (await world.verify(outside)).findings == []


async def test_a_witness_that_knows_more_or_less_is_met_where_it_is(
    world: World, witness: Process, tmp_path: pathlib.Path
) -> None:
    await grow(world, uuid7(), 10)
    duty = witnessing(world, tmp_path, witness.at)
    await duty.round()
    async with world.database.transaction() as connection:
        await connection.execute("DELETE FROM log_cosignatures")
    await grow(world, uuid7(), 10)
    await duty.round()
    (kept,) = await CosignatureStore(world.database).kept()
    assert kept.size == 20, "it said 10, and got the proof from there"
    # The witness's folder was lost: it says 0, and begins anew.
    witness.stop()
    for file in witness.folder.glob("*.checkpoint"):
        file.unlink()
    witness.start()
    await grow(world, uuid7(), 10)
    await duty.round()
    (kept,) = await CosignatureStore(world.database).kept()
    assert kept.size == 30


async def test_another_past_is_never_cosigned(
    witness: Process, caplog: pytest.LogCaptureFixture, tmp_path: pathlib.Path
) -> None:
    async def prove_other(first: int, second: int) -> list[bytes]:
        return prove(consistency_ranges(first, second), hashes_of(OTHER))

    assert witness.post(asked(0, 200)).status_code == 200
    for head, known, told in (
        (NewestHead(250, note(250, OTHER)), 200, "answered 422"),
        (NewestHead(250, note(250, OTHER)), 0, "answered 422"),
        (NewestHead(200, note(200, OTHER)), 200, "the log was rewritten"),
        (NewestHead(150, note(150)), 0, "the log was set back"),
        (NewestHead(150, note(150)), 150, "the log was set back"),
    ):
        with pytest.raises(Refused, match=told):
            await cosign(witness.at, head, known, post, prove_other)
    kept: list[Kept] = []

    async def newest() -> NewestHead:
        return NewestHead(150, note(150))

    async def none() -> list[Kept]:
        return []

    async def keep(one: Kept) -> None:
        kept.append(one)

    duty = Witnessing([witness.at], newest, none, keep, post, prove_other, 60)
    await duty.round()
    await duty.round()
    said = [one.message for one in caplog.records if "set back" in one.message]
    assert len(said) == 1 and kept == [], "an operator is told, and once"


def seen(url: str) -> dict[str, float]:
    """What the metrics page says of a witness: outcomes that were counted, and "age"."""
    found = {}
    for family in text_string_to_metric_families(metrics_page().decode()):
        for sample in family.samples:
            if sample.name.startswith("audit_witness") and sample.labels["witness"] == url:
                found[sample.labels.get("outcome", "age")] = sample.value
    return found


async def until(url: str, outcome: str) -> dict[str, float]:
    """The figures of a witness once this was counted."""
    async with asyncio.timeout(20):
        while not (found := seen(url)).get(outcome):
            await asyncio.sleep(0.01)
    return found


async def test_metrics_show_who_cosigns_who_refuses_and_who_is_away(
    world: World, witness: Process, tmp_path: pathlib.Path
) -> None:
    """A witness that cosigns; then the log is set back; one that was told of another log; one that is not there."""
    stranger = Process(tmp_path / "stranger", signer_of(b"f" * 32).verifier)
    away = WitnessAt(f"http://{LOOPBACK}:{free_port()}", Cosigner("w.example/away", b"a" * 32).verifier)
    await grow(world, uuid7(), 10)
    duty = witnessing(world, tmp_path, witness.at, stranger.at, away)
    asking = asyncio.create_task(duty.run())
    try:
        good = await until(witness.url, "cosigned")
        assert good == {"cosigned": 1, "set_back": 0, "forked": 0, "refused": 0, "unreachable": 0, "age": good["age"]}
        assert 0 <= good["age"] < 20
        assert (await until(stranger.url, "refused"))["cosigned"] == 0
        assert (await until(away.url, "unreachable"))["refused"] == 0
        before = seen(away.url)["age"]
        await duty.round()
        assert seen(witness.url)["cosigned"] == 1 and seen(away.url)["unreachable"] == 2, (
            "who is up to date is not asked"
        )
        assert seen(away.url)["age"] > before > 0
        assert seen(witness.url)["age"] < good["age"] + seen(away.url)["age"] - before, "the age began anew"
    finally:
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        stranger.stop(signal.SIGKILL)
    assert seen(away.url) == {"unreachable": 2, "cosigned": 0, "set_back": 0, "forked": 0, "refused": 0}, (
        "who led is done"
    )


@pytest.mark.parametrize(
    ("head", "outcome"),
    [
        (NewestHead(150, note(150)), "set_back"),
        (NewestHead(250, note(250, OTHER)), "forked"),
        (NewestHead(200, note(200, OTHER)), "forked"),
    ],
)
async def test_metrics_show_a_log_that_was_set_back_or_rewritten(
    witness: Process, head: NewestHead, outcome: str
) -> None:
    assert witness.post(asked(0, 200)).status_code == 200
    an_hour_ago = int(time.time()) - 3600
    line = open_cosigner(witness.folder).cosign(note(200).rpartition("\n\n")[0] + "\n", an_hour_ago)
    known = Kept(str(witness.key), 200, note(200), line)

    async def newest() -> NewestHead:
        return head

    async def kept() -> list[Kept]:
        return [known]

    async def keep(one: Kept) -> None:
        raise AssertionError("nothing is cosigned")

    async def prove_other(first: int, second: int) -> list[bytes]:
        return prove(consistency_ranges(first, second), hashes_of(OTHER))

    duty = Witnessing([witness.at], newest, kept, keep, post, prove_other, 60)
    await duty.round()
    assert {name: figure for name, figure in seen(witness.url).items() if figure} == {outcome: 1}
    assert 3600 <= dict(duty.ages())[witness.url,] < 3660, "since the witness cosigned, as its cosignature says"


async def test_only_the_witnesss_own_word_counts(witness: Process, tmp_path: pathlib.Path) -> None:
    async def prove_it(first: int, second: int) -> list[bytes]:
        return prove(consistency_ranges(first, second), hashes_of(LEAVES))

    stranger = WitnessAt(witness.url, witness.key._replace(public_key=bytes(32)))
    with pytest.raises(Refused, match="does not hold"):
        await cosign(stranger, NewestHead(5, note(5)), 0, post, prove_it)
    foreign = signer_of(b"f" * 32).sign(Checkpoint(KEY.name, 9, root_of(LEAVES[:9])).text())
    assert witness.post(write_asked(5, [], foreign)).status_code == 403
    with pytest.raises(WitnessUnreached):
        await post(f"http://{LOOPBACK}:{free_port()}/add-checkpoint", b"")
    answer = witness.post(asked(0, 3))
    assert (answer.status_code, answer.text, answer.headers["content-type"]) == (409, "5\n", "text/x.tlog.size")
    assert witness.post(b"x" * 70_000).status_code == 400
    assert witness.get("/add-checkpoint").status_code == 405


async def test_of_concurrent_posts_one_wins_and_nothing_goes_back(witness: Process) -> None:
    """Each from the same old size: the second one to come must be told of the first."""
    old = 0
    for size in range(10, 200, 19):
        wanted = [size, size + 5, size + 11]
        async with httpx.AsyncClient() as client:
            answers = await asyncio.gather(
                *(client.post(f"{witness.url}/add-checkpoint", content=asked(old, one)) for one in wanted)
            )
        won = [one for one, answer in zip(wanted, answers, strict=True) if answer.status_code == 200]
        assert len(won) == 1, [answer.status_code for answer in answers]
        assert {answer.text for answer in answers if answer.status_code == 409} == {f"{won[0]}\n"}
        old = won[0]


async def test_what_was_cosigned_survives_kill_9(witness: Process) -> None:
    """Killed at any moment, it knows at least what it has answered."""
    size = 0
    for _ in range(4):
        answered: list[int] = []

        def send(first: int, answered: list[int]) -> None:
            last = first
            with contextlib.suppress(httpx.TransportError):
                while witness.post(asked(last, last + 1)).status_code == 200:
                    last += 1
                    answered.append(last)

        sending = asyncio.create_task(asyncio.to_thread(send, size, answered))
        while len(answered) < 5:
            await asyncio.sleep(0.001)
        witness.stop(signal.SIGKILL)
        await sending
        witness.start()
        # From a size that it cannot have: it says which it has.
        known = int(witness.post(write_asked(299, [], note(299))).text)
        # One that was stored, and whose answer the kill took, may be known as well.
        assert known in (answered[-1], answered[-1] + 1)
        size = known


def test_the_command_says_what_is_wrong(tmp_path: pathlib.Path, witness: Process) -> None:
    def run(*options: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "mesh", "audit", "witness", *options]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, env={**os.environ})

    data = ("--data", str(witness.folder))
    assert "another witness runs" in run(*data, "--log", str(KEY)).stderr
    assert run(*data, "--log", str(witness.key)).returncode == 2
    assert run(*data, "--log", str(KEY), "--listen", "8099").returncode == 2


@pytest.mark.parametrize(
    "line", ["", "https://w.example", "ftp://w.example KEY", "https://u:p@w.example KEY", f"https://w {KEY}"]
)
def test_a_witness_in_the_configuration_is_an_address_and_a_key(line: str) -> None:
    with pytest.raises(ValueError, match="witnesses"):
        AuditConfig(witnesses=(line,))


def test_cosignatures_of_one_checkpoint_stand_together() -> None:
    rows = [
        Kept("a", 5, "five", "A"),
        Kept("b", 7, "seven", "B"),
        Kept("c", 7, "seven", "C"),
        Kept("d", 7, "fork", "D"),
    ]
    assert with_cosignatures(rows) == ("sevenBC", ["b", "c"]) and with_cosignatures([]) == ("", [])
