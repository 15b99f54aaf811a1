"""Audit on a real database, following a real budget service through the in-process channel."""

from __future__ import annotations

import pathlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from dac.type.v1.principal_pb2 import Principal
from mesh import call
from mesh.call import Call
from mesh.inprocess import LocalChannel
from mesh.inprocess_calls import MethodTable
from mesh.keyring import Keyring
from mesh.postgres import Database
from mesh.service import Context
from services.audit.config import AuditConfig
from services.audit.server import AuditService, build
from tests import prepared
from tests.conftest import REPOSITORY, Migrated
from tests.integration.budget.conftest import budget, make_budget, migrated

__all__ = ["budget", "make_budget", "migrated"]

if TYPE_CHECKING:
    from tests.integration.audit.dropped_world import Dropped

MakeDatabase = Callable[..., Awaitable[Migrated]]
MakeAudit = Callable[..., Awaitable[AuditService]]


@contextmanager
def _acting_as(service: str) -> Iterator[Call]:
    with call.serving(Call(principal=Principal(kind=Principal.KIND_SERVICE, service=service))) as made:
        yield made


@pytest.fixture
async def make_audit(
    database_for: Callable[..., Awaitable[Database]], monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> AsyncIterator[MakeAudit]:
    """Factory: `await make_audit(budget)` → a started audit service; each call is another replica."""
    monkeypatch.setattr(call, "acting_as", _acting_as)
    made: list[AuditService] = []

    async def make(followed: Any, **options: Any) -> AuditService:
        table = MethodTable()
        followed.register(table)
        context = Context(
            name="audit",
            config=AuditConfig(**{"retry_last_s": 0.2, **options}),
            providers=(),
            models=(),
            data_dir=tmp_path,
            keyring=Keyring(b"k" * 32),
            signer=None,  # type: ignore[arg-type]
            database=await database_for("audit"),
            channel_to=lambda service: LocalChannel(table),
        )
        service = build(context)
        await service.start()
        made.append(service)
        return service

    yield make
    for service in made:
        await service.close()


@pytest.fixture(scope="session")
async def old_log(make_database: MakeDatabase) -> Migrated:
    """A log whose first window may go, made once: to be copied, or read and left as it is."""
    from tests.integration.audit.dropped_world import Dropped  # Which needs what stands above.

    made = await make_database({"audit": REPOSITORY / "services" / "audit" / "migrations"})
    database = Database(made.dsn("audit"), "audit")
    log = Dropped(database, made)
    await log.fill()
    await log.redact()
    await database.close()
    return made


@pytest.fixture
async def ready(old_log: Migrated, make_database: MakeDatabase) -> AsyncIterator[Dropped]:
    """The same, of the test's own."""
    from tests.integration.audit.dropped_world import copy_of

    async with copy_of(old_log, make_database) as log:
        yield log


@pytest.fixture
def server(tmp_path: pathlib.Path) -> pathlib.Path:
    """The folder of an empty server of the test's own, for benchmarks that start one."""
    prepared.put(tmp_path / "postgres", migrated=False)
    return tmp_path / "postgres"
