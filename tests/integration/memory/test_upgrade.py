"""Threads of the version before: its rows become a chain, and it goes on writing beside the new program."""

import asyncio
import pathlib
import shutil
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import pytest

from mesh.ids import uuid7
from mesh.migrate import migrate
from mesh.postgres import Database
from tests.conftest import REPOSITORY, Migrated
from tests.integration.memory.talks import Talks

MIGRATIONS = REPOSITORY / "services" / "memory" / "migrations"

# What the program before sends, word for word.
INSERT_THREAD = (
    "INSERT INTO threads (org_id, thread_id, title, created_at, updated_at) VALUES ($1, $2, $3, $4, $4) "
    "ON CONFLICT (org_id, thread_id) DO NOTHING"
)
LOCK_THREAD = "SELECT next_position FROM threads WHERE org_id = $1 AND thread_id = $2 FOR UPDATE"
INSERT_MESSAGES = """INSERT INTO messages (org_id, thread_id, request_id, created_at,
    position, message_id, role, text, openai_json, tokens_estimated, ordinal, model)
    SELECT $1, $2, $3, $4, * FROM unnest($5::bigint[], $6::uuid[], $7::text[], $8::text[], $9::text[], $10::bigint[],
    $11::integer[], $12::text[])"""
GROW_THREAD = (
    "UPDATE threads SET next_position = next_position + $3, message_count = message_count + $3, updated_at = $4 "
    "WHERE org_id = $1 AND thread_id = $2"
)
WINDOW = """SELECT message_id, thread_id, role, text, openai_json, tokens_estimated, request_id, model,
    position, created_at FROM (
        SELECT *, sum(tokens_estimated + $6::bigint) OVER (ORDER BY position DESC) AS running
        FROM (SELECT * FROM messages WHERE org_id = $1 AND thread_id = $2 AND position < $3
              ORDER BY position DESC LIMIT $4) AS newest) AS summed
    WHERE $5::bigint = 0 OR running <= $5 ORDER BY position"""


class OldProgram:
    """A connection of the program before, with its prepared statements."""

    def __init__(self, connection: asyncpg.Connection, org_id: str) -> None:
        self._connection, self._org_id = connection, org_id

    async def turn(self, thread_id: str, talks: Talks, *texts: str) -> list[str]:
        """Its OpenTurn; the window's texts."""
        async with self._connection.transaction():
            await self._connection.execute("SELECT set_config('app.org_ids', $1, true)", self._org_id)
            await self._connection.execute(INSERT_THREAD, self._org_id, thread_id, "old title", talks.now)
            position = await self._connection.fetchval(LOCK_THREAD, self._org_id, thread_id)
            many = len(texts)
            columns: list[list[Any]] = [
                [position + n for n in range(many)],
                [uuid7() for _ in texts],
                ["user"] * many,
                list(texts),
                [""] * many,
                [1] * many,
                list(range(many)),
                [""] * many,
            ]
            await self._connection.execute(INSERT_MESSAGES, self._org_id, thread_id, uuid7(), talks.now, *columns)
            await self._connection.execute(GROW_THREAD, self._org_id, thread_id, many, talks.now)
            rows = await self._connection.fetch(WINDOW, self._org_id, thread_id, position, 500, 0, 4)
        return [row["text"] for row in rows]


@pytest.fixture
async def before(
    make_database: Callable[..., Awaitable[Migrated]], tmp_path: pathlib.Path
) -> tuple[Migrated, pathlib.Path]:
    """A database of the version before."""
    folder = tmp_path / "memory"
    folder.mkdir()
    shutil.copy(MIGRATIONS / "0001_threads_messages_cache.sql", folder)
    return await make_database({"memory": folder}), folder


async def test_the_version_before_goes_on_while_and_after_threads_become_trees(
    before: tuple[Migrated, pathlib.Path], org_id: str
) -> None:
    migrated, folder = before
    database = Database(migrated.dsn("memory"), "memory")
    connection = await asyncpg.connect(migrated.dsn("memory"), server_settings={"search_path": "memory, extensions"})
    talks, old = Talks(database, org_id, thread_id="a"), OldProgram(connection, org_id)
    try:
        await old.turn("a", talks, "1", "2")
        await old.turn("a", talks, "3")
        await old.turn("other", talks, "x")
        for file in MIGRATIONS.glob("*.sql"):
            shutil.copy(file, folder)
        upgrading = asyncio.create_task(migrate(migrated.owner_dsn, migrated.services, migrated.passwords))
        meanwhile = 0
        # So few that all of them are in a window.
        while not upgrading.done() and meanwhile < 80:
            await old.turn("a", talks, f"while {meanwhile}")
            meanwhile += 1
        await upgrading
        await database.open()
        written = ["1", "2", "3", *(f"while {n}" for n in range(meanwhile))]
        assert await talks.texts() == written
        messages = await talks.messages()
        assert [one.parent_message_id for one in messages] == ["", *(one.message_id for one in messages[:-1])]

        # Turn by turn, the old program and the new one in the same thread; then in one that the old one began.
        await talks.turn("new")
        assert await old.turn("a", talks, "old again", "twice") == [*written, "new"]
        written += ["new", "old again", "twice"]
        assert await talks.texts() == await talks.window() == written
        await old.turn("young", talks, "y1")
        young = Talks(database, org_id, thread_id="young")
        await young.turn("y2")
        assert await young.texts() == ["y1", "y2"]

        # In a forked thread its messages follow the active branch.
        edited = await talks.ask("UpdateMessage", message_id=messages[1].message_id, text="II")
        await old.turn("a", talks, "after II", "and on")
        assert await talks.texts() == ["1", "II", "after II", "and on"]
        assert await talks.texts("main") == written
        assert (await talks.branches())["branch 2"].branch_id == edited.branch.branch_id

        # On a branch that ends before the last message it is the old program that forks.
        side = await young.ask("CreateBranch", message_id=(await young.messages())[0].message_id, activate=True)
        await old.turn("young", talks, "y3")
        assert await young.texts(side.branch.branch_id) == ["y1", "y3"]
        assert await young.texts("main") == ["y1", "y2"]
        assert [one.thread_id for one in (await talks.ask("ListThreads", search="OLD tit")).threads] == [
            "young",
            "other",
            "a",
        ], "titles without numbers are looked through"
    finally:
        await connection.close()
        await database.close()
