"""Turns and files of very many messages: bounded, whole, and nobody else waits while they are saved."""

import asyncio
import contextlib
import gc
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from dac.memory.v1 import archive_pb2
from dac.memory.v1 import conversation_pb2 as pb
from dac.type.v1.principal_pb2 import Principal
from mesh.errors import MeshError, Reason
from mesh.postgres import Database
from mesh.turn_limits import MESSAGES_AT_ONCE
from services.memory.config import MemoryConfig
from services.memory.conversations.archive_form import file_of
from services.memory.conversations.file import FORMAT, checked
from services.memory.embedding.hashed_embedder import HashedEmbedder
from services.memory.recall.server import Remembering
from services.memory.sealing.sealing import PlainSealer
from tests.integration.memory.archive_house import House
from tests.integration.memory.talks import Talks

Open = Callable[..., Awaitable[Database]]
AT_ONCE_S = 0.06
"""How long the event loop may belong to one caller, in its own CPU time: what a busy machine adds does not count."""


@pytest.fixture
async def database(database_for: Open) -> Database:
    return await database_for("memory")


@contextlib.asynccontextmanager
async def longest_hold() -> AsyncIterator[list[float]]:
    """The CPU seconds that passed between two turns of somebody who always wants one."""
    held, ended = [0.0], False

    async def want() -> None:
        while not ended:
            before = time.thread_time()
            await asyncio.sleep(0)
            held[0] = max(held[0], time.thread_time() - before)

    wanting = asyncio.create_task(want())
    # A look through all that earlier tests left behind is nobody's work here.
    gc.disable()
    try:
        yield held
    finally:
        gc.enable()
        ended = True
        await wanting


def messages(count: int) -> list[pb.Message]:
    return [
        pb.Message(role="assistant" if at % 2 else "user", text=f"number {at} and more words") for at in range(count)
    ]


async def test_a_turn_of_thousands_is_saved_whole_and_in_order_and_holds_up_nobody(
    database: Database, org_id: str
) -> None:
    index = Remembering(database, MemoryConfig(), PlainSealer(), HashedEmbedder("for a test")).turn_index
    talks = Talks(database, org_id, listeners=(index,))
    new = messages(9990)
    async with longest_hold() as held:
        opened = await talks.ask("OpenTurn", request_id="r", messages=new)
    assert held[0] < AT_ONCE_S
    assert len(opened.message_ids) == 9990 == opened.thread.message_count
    page = await talks.ask("ListMessages", page_size=1000)
    assert [one.text for one in page.messages] == [one.text for one in new[:1000]]
    assert [one.parent_message_id for one in page.messages] == ["", *opened.message_ids[:999]]
    again = await talks.ask("OpenTurn", request_id="r", messages=new)
    assert again.message_ids == opened.message_ids and again.thread.message_count == 9990
    async with database.transaction(org_id) as connection:
        assert await connection.fetchval("SELECT count(*) FROM memories WHERE org_id = $1", org_id) == 9990


@pytest.mark.parametrize("method", ["OpenTurn", "AppendMessages"])
async def test_more_than_is_saved_at_once_is_refused_and_says_how_to_go_on(
    database: Database, org_id: str, method: str
) -> None:
    talks = Talks(database, org_id)
    await talks.turn("first")
    started = time.thread_time()
    with pytest.raises(MeshError, match="import") as refused:
        await talks.ask(method, messages=messages(1) * (MESSAGES_AT_ONCE + 1))
    assert refused.value.reason is Reason.INVALID_REQUEST and refused.value.metadata == {"field": "messages"}
    assert time.thread_time() - started < AT_ONCE_S
    assert await talks.texts() == ["first"]


async def test_a_file_of_thousands_is_read_beside_the_event_loop(database: Database, org_id: str) -> None:
    talks = House(database).caller(Principal(org_id=org_id, scopes=["chat", "read"]))
    lines = [
        pb.Message(message_id=f"m{at}", role="user", text=f"number {at}", parent_message_id=f"m{at - 1}" if at else "")
        for at in range(9990)
    ]
    file = archive_pb2.ImportConversationRequest(format=FORMAT, messages=lines)
    for created in (True, False):
        async with longest_hold() as held:
            told = await talks.ask("ImportConversation", file)
        assert held[0] < AT_ONCE_S
        assert (told.created, told.message_count) == (created, 9990)


def test_comments_that_open_without_an_end_cost_no_more_than_their_length() -> None:
    """Each was looked for its end through the rest of the file: ten megabytes held the process for an hour."""
    opens = f"<!-- {FORMAT} sha256:{'a' * 64}\n"
    started = time.thread_time()
    with pytest.raises(MeshError, match="no message"):
        file_of(archive_pb2.ImportConversationRequest(markdown=opens * 10_000))
    read = file_of(archive_pb2.ImportConversationRequest(markdown=f"## User\n\n{opens * 10_000}end\n"))
    assert time.thread_time() - started < 1.0
    assert read.messages[0].text.endswith("end")


def test_branches_of_a_file_are_not_compared_each_with_each() -> None:
    branches = [pb.Branch(branch_id="main"), *(pb.Branch(branch_id=str(uuid.uuid4())) for _ in range(25_000))]
    line = pb.Message(message_id="m", role="user", text="Hi")
    request = archive_pb2.ImportConversationRequest(format=FORMAT, branches=branches, messages=[line])
    started = time.thread_time()
    assert len(checked(file_of(request), max_bytes=1000).branches) == 25_001
    assert time.thread_time() - started < 1.0
    request.branches.append(branches[5])
    with pytest.raises(MeshError, match="there twice"):
        checked(file_of(request), max_bytes=1000)
