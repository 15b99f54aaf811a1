"""What the tests of budget stand on: models with prices, principals, a service's context."""

from __future__ import annotations

import pathlib
from collections.abc import Awaitable, Callable
from typing import Any

from dac.type.v1.principal_pb2 import Level, Principal
from mesh.call import Call, serving
from mesh.catalog import ModelEntry
from mesh.ids import uuid7
from mesh.keyring import Keyring
from mesh.model_prices import PriceEntry
from mesh.postgres import Database
from mesh.service import Context
from services.budget.config import BudgetConfig
from services.budget.server import BudgetService

CENT = 10_000_000
USD = 100 * CENT


def model(name: str, **buckets: int) -> ModelEntry:
    return ModelEntry(f"test/{name}", "test", name, 8192, price=PriceEntry(not buckets, buckets))


MODELS = (
    model("dime", request=10 * CENT, input=0, output=0),
    model("metered", input=1_000_000_000, output=2_000_000_000),
    model("cheap", input=1_000_000, input_cached=100_000, output=2_000_000),
    model("free"),
    ModelEntry("test/mystery", "test", "mystery", 8192, price=None),
)


def principal(org_id: str, *scopes: str, key_id: str = "") -> Principal:
    made = Principal(kind=Principal.KIND_USER_KEY, org_id=org_id, key_id=key_id, scopes=scopes or ("chat", "admin"))
    made.path.add(kind=Level.KIND_ORG, id=org_id)
    if key_id:
        made.path.add(kind=Level.KIND_KEY, id=key_id)
    return made


def as_key(org_id: str, *scopes: str, key_id: str = "") -> Any:
    return serving(Call(request_id=uuid7(), principal=principal(org_id, *scopes, key_id=key_id)))


def as_service(name: str) -> Any:
    return serving(Call(principal=Principal(kind=Principal.KIND_SERVICE, service=name)))


def nowhere(service: str) -> Any:
    raise RuntimeError(f"no channel to {service} in this test")


def context_for(database: Database, config: BudgetConfig, models: tuple[ModelEntry, ...] = MODELS) -> Context:
    return Context(
        name="budget",
        config=config,
        providers=(),
        models=models,
        data_dir=pathlib.Path(),
        keyring=Keyring(b"k" * 32),
        signer=None,  # type: ignore[arg-type]
        database=database,
        channel_to=nowhere,
    )


MakeBudget = Callable[..., Awaitable[BudgetService]]
