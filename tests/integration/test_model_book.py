"""The models in force in a process: files and the table joined, news heard at once, and what nobody may do."""

from __future__ import annotations

import asyncio
import json
import pathlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import asyncpg
import pytest

from mesh.catalog import ModelEntry
from mesh.documents import Documents
from mesh.errors import MeshError
from mesh.model_book import CHANNEL, POLL_S, ModelBook, ModelFollower
from mesh.model_files import ModelFiles
from mesh.postgres import Database
from tests.conftest import Migrated

Opened = Callable[..., Awaitable[Database]]
FILED = (ModelEntry("own/filed", "own", "filed", 1000), ModelEntry("p/shipped", "p", "s", 10, source="catalog"))


@pytest.fixture
async def migrated(
    make_database: Callable[..., Awaitable[Migrated]], all_services: dict[str, pathlib.Path]
) -> Migrated:
    return await make_database({name: all_services[name] for name in ("router", "budget")})


@pytest.fixture
async def opened(migrated: Migrated) -> AsyncIterator[Opened]:
    made: list[Database] = []

    async def one(service: str = "budget") -> Database:
        made.append(Database(migrated.dsn(service), service))
        await made[-1].open()
        return made[-1]

    yield one
    for database in made:
        await database.close()


async def written(database: Database, model: str, *, notify: bool = True, **said: Any) -> None:
    """What the router writes of a model; without anything said it is taken away."""
    document = json.dumps({"id": model, "provider": "p", "context_tokens": 5, **said})
    async with database.transaction() as connection:
        await connection.execute("UPDATE mesh.model_changes SET changes = changes + 1")
        await connection.execute("DELETE FROM mesh.models WHERE model = $1", model)
        if said:
            await connection.execute(
                "INSERT INTO mesh.models (model, version, document, created_at, changed_at) "
                "VALUES ($1, 1, $2, now(), now())",
                model,
                document,
            )
        if notify:
            await connection.execute("SELECT pg_notify($1, '')", CHANNEL)


def book_of(database: Database | None, **more: Any) -> ModelBook:
    return ModelBook(ModelFiles(None, (), FILED), database, **more)


async def until(true: Callable[[], bool], within_s: float = 5.0) -> None:
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < within_s, "it did not happen"
        await asyncio.sleep(0.01)


async def test_every_process_has_a_made_model_at_once(opened: Opened) -> None:
    router, budget = await opened("router"), await opened()
    heard: dict[str, tuple[ModelEntry, ...]] = {}
    followers = [
        ModelFollower(name, book_of(database), lambda now, name=name: heard.update({name: now}))  # type: ignore[misc]
        for name, database in (("here", router), ("there", budget))
    ]
    for one in followers:
        await one.begin()
    await written(router, "p/made", quality=0.5)
    await until(lambda: len(heard) == 2)
    for now in heard.values():
        assert [(one.model, one.source) for one in now][-1] == ("p/made", "api")
    await written(router, "p/made")
    await until(lambda: all(len(now) == len(FILED) for now in heard.values()), POLL_S / 2)
    for one in followers:
        await one.close()


async def test_a_lost_notification_is_made_up_for(opened: Opened) -> None:
    router, now_s = await opened("router"), [0.0]
    book = book_of(router, clock=lambda: now_s[0])
    await book.load()
    await written(router, "p/made", notify=False, quality=0.5)
    await book.look()
    assert len(book.now) == len(FILED), "the table was read a moment ago"
    now_s[0] += POLL_S
    await book.look()
    assert len(book.now) == len(FILED) + 1
    before = book.now
    now_s[0] += POLL_S
    await book.look()
    assert book.now is before, "who follows is told of nothing"


async def test_a_wake_while_the_table_is_read_is_not_lost(opened: Opened) -> None:
    router = await opened("router")
    book = book_of(router, clock=lambda: 0.0)
    await book.load()
    book.wake()
    reading = asyncio.create_task(book.look())
    await asyncio.sleep(0)
    await written(router, "p/made", notify=False, quality=0.5)
    book.wake()
    await reading
    await book.look()
    assert len(book.now) == len(FILED) + 1


async def test_files_are_followed_while_the_table_cannot_be_read(opened: Opened, tmp_path: pathlib.Path) -> None:
    database = await opened()
    file = tmp_path / "models.yaml"
    file.write_text("models: []")
    files = ModelFiles(Documents(tmp_path, None), (), ())
    book = ModelBook(files, database)
    await book.load()
    await database.close()
    database._options["dsn"] = "postgres://nobody@127.0.0.1:9/none"
    file.write_text("models: [{id: p/new, provider: p, context_tokens: 9}]")
    book.wake()
    with pytest.raises(MeshError):
        await book.look()
    assert [one.model for one in book.now] == ["p/new"]


async def test_what_makes_no_sense_beside_files_is_left_out_and_told(opened: Opened) -> None:
    router = await opened("router")
    await written(router, "own/filed", quality=0.1)
    await written(router, "p/shipped", quality=0.9, aliases=["short", "own/filed"], fallbacks=["p/gone", "own/filed"])
    await written(router, "p/broken", quality=7)
    await written(router, "p/second", aliases=["short"], quality=0.5)
    book = book_of(router)
    await book.load()
    now = {one.model: one for one in book.now}
    assert set(now) == {"own/filed", "p/shipped", "p/second"}
    assert now["own/filed"].source == "config", "a file counts over the API"
    assert (now["p/shipped"].source, now["p/shipped"].quality) == ("api", 0.9), "the API over the shipped catalog"
    assert sorted((*now["p/shipped"].aliases, *now["p/second"].aliases)) == ["short"]
    assert now["p/shipped"].fallbacks == ("own/filed",)
    for words in ("own/filed: a file", "p/broken", "p/gone", '"short"', '"own/filed"'):
        assert words in book.problem
    for model in ("own/filed", "p/shipped", "p/broken", "p/second"):
        await written(router, model)
    book.wake()
    await book.look()
    assert (book.now, book.problem) == (FILED, "")


async def test_only_the_router_writes_models(opened: Opened, migrated: Migrated) -> None:
    await written(await opened("router"), "p/made", quality=0.5)
    connection = await asyncpg.connect(migrated.dsn("budget"))
    try:
        assert await connection.fetchval("SELECT count(*) FROM mesh.models") == 1
        for statement in (
            "DELETE FROM mesh.models",
            "UPDATE mesh.models SET document = '{}'",
            "INSERT INTO mesh.models SELECT 'p/b', 1, '{}', '', now(), now()",
            "UPDATE mesh.model_changes SET changes = 0",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)
    finally:
        await connection.close()
