"""A budget service on a real database, called as the gateway would."""

from __future__ import annotations

import pathlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from mesh.catalog import ModelEntry
from mesh.postgres import Database
from services.budget.config import BudgetConfig
from services.budget.server import BudgetService, build
from tests.integration.budget.world import MODELS, MakeBudget, context_for


@pytest.fixture(scope="session")
async def migrated(make_database: Callable[..., Awaitable[Any]], all_services: dict[str, pathlib.Path]) -> Any:
    """A database of budget's and audit's own: sweepers and outboxes work across organisations."""
    return await make_database({name: all_services[name] for name in ("audit", "budget")})


@pytest.fixture
async def make_budget(database_for: Callable[..., Awaitable[Database]]) -> AsyncIterator[MakeBudget]:
    """Factory: a started budget service; each call is another replica on the same database."""
    made: list[BudgetService] = []

    async def make(models: tuple[ModelEntry, ...] = MODELS, **options: Any) -> BudgetService:
        config = BudgetConfig(**{"sweep_interval_s": 3600.0, "required_consumers": (), **options})
        service = build(context_for(await database_for("budget"), config, models))
        await service.start()
        made.append(service)
        return service

    yield make
    for service in made:
        await service.close()


@pytest.fixture
async def budget(make_budget: MakeBudget) -> BudgetService:
    return await make_budget()
