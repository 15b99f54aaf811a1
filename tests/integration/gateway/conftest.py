"""A gateway database of its own for each test, and what identity and callers are built from."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import asyncpg
import pytest

from dac.type.v1.record_pb2 import AdminRecord
from mesh.errors import MeshError, Reason
from mesh.keyring import Keyring
from mesh.postgres import Database
from mesh.principals import Signer
from services.gateway.identity.callers import Callers
from services.gateway.identity.identity import Identity
from services.gateway.identity.store import PostgresStore
from tests.integration.gateway.tree_house import House

KEYRING = Keyring(bytes(range(32)))
SIGNER = Signer("gateway", bytes(range(1, 33)))


@dataclasses.dataclass
class World:
    """One database and everything that stands on it."""

    made: Any
    folder: pathlib.Path
    stack: contextlib.AsyncExitStack
    delivered: list[AdminRecord] = dataclasses.field(default_factory=list)
    append_fails: int = 0

    def database(self) -> Database:
        """A replica's own connections."""
        database = Database(self.made.dsn("gateway"), "gateway")
        self.stack.push_async_callback(database.close)
        return database

    def store(self, store_class: type[PostgresStore] = PostgresStore) -> Any:
        """A replica's own store."""
        return store_class(self.database())

    async def append(self, records: Any) -> None:
        """Stands where audit does; fails `append_fails` times first."""
        if self.append_fails:
            self.append_fails -= 1
            raise MeshError(Reason.UNAVAILABLE, "audit is away")
        self.delivered.extend(AdminRecord.FromString(one) for one in records)

    def identity(self, *, keyring: Keyring = KEYRING, store: PostgresStore | None = None) -> Identity:
        """Identity of another replica."""
        return Identity(store or self.store(), keyring, append=self.append, secrets_dir=self.folder / "secrets")

    def callers(self, store: PostgresStore | None = None, **options: Any) -> Callers:
        """Callers of another replica, not started."""
        return Callers(store or self.store(), SIGNER, KEYRING, **options)

    async def started(self, callers: Callers) -> Callers:
        """`callers`, following changes until the test ends."""
        await callers.start()
        self.stack.push_async_callback(callers.close)
        return callers

    async def as_superuser(self, statement: str, *arguments: object, elsewhere: bool = False) -> Any:
        """Runs a statement as the administrator, in this database or beside it."""
        connection = await asyncpg.connect(self.made.superuser_dsn, database="postgres" if elsewhere else None)
        try:
            return await connection.fetch(statement, *arguments)
        finally:
            await connection.close()


@pytest.fixture
async def world(
    make_database: Callable[..., Awaitable[Any]], all_services: dict[str, pathlib.Path], tmp_path: pathlib.Path
) -> AsyncIterator[World]:
    async with contextlib.AsyncExitStack() as stack:
        yield World(await make_database({"gateway": all_services["gateway"]}), tmp_path, stack)


async def outcome(callers: Callers, token: str) -> Reason | None:
    """Why a token is refused; None when it is not."""
    try:
        await callers.authenticate(token)
    except MeshError as error:
        return error.reason
    return None


@pytest.fixture
async def house(world: World) -> House:
    identity = world.identity()
    await identity.bootstrap(None)
    return House(identity, identity.default_org_id)
