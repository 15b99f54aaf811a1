"""The follower of budget's outbox: no single record stops it, and no failure of the store loses one."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Sequence

import pytest

from dac.type.v1 import record_pb2
from mesh.errors import MeshError, Reason
from mesh.ids import uuid7
from services.audit.config import AuditConfig
from services.audit.errors import request_not_found
from services.audit.follower import Arrivals, Fetched, Follower
from services.audit.server import EPOCH, request_row, request_rows
from services.audit.store import RequestRow

ORG = uuid7()


class Shelf:
    """A store that refuses some models, or everything."""

    def __init__(self) -> None:
        self.refused: dict[str, Reason] = {}
        self.broken = False
        self.rows: list[str] = []
        self.at = ""

    async def cursor(self) -> str:
        return self.at

    async def check_insert(self) -> None:
        if self.broken:
            raise MeshError(Reason.INTERNAL, "no such table")

    async def insert_requests(self, rows: Sequence[RequestRow], cursor: str) -> None:
        for row in rows:
            if self.broken or row.model in self.refused:
                raise MeshError(self.refused.get(row.model, Reason.INTERNAL), "the store refused a row")
        self.rows += [row.model for row in rows if row.model not in self.rows]
        self.at = cursor


def row(model: str) -> RequestRow:
    return RequestRow(ORG, uuid7(), dt.datetime.now(dt.UTC), model, 1, 0, b"", "", "chat")


def following(shelf: Shelf, *models: str) -> Follower:
    async def fetch(cursor: str) -> Fetched:
        return Fetched([row(model) for model in models], "1:3")

    return Follower(None, shelf, fetch, Arrivals(), AuditConfig())  # type: ignore[arg-type]


@pytest.mark.parametrize("models", [("a", "bad", "b"), ("bad",)])
async def test_a_record_that_cannot_be_stored_is_skipped_and_said(
    models: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    shelf = Shelf()
    shelf.refused["bad"] = Reason.INTERNAL
    with caplog.at_level(logging.ERROR):
        assert await following(shelf, *models)._step("1:0") == "1:3"
    assert shelf.rows == [model for model in models if model != "bad"]
    assert shelf.at == "1:3"
    assert [ORG in record.getMessage() for record in caplog.records] == [True]


async def test_while_the_store_is_away_nothing_is_skipped() -> None:
    shelf = Shelf()
    shelf.refused["b"] = Reason.UNAVAILABLE
    with pytest.raises(MeshError):
        await following(shelf, "a", "b")._step("1:0")
    shelf.refused["a"] = Reason.INTERNAL
    with pytest.raises(MeshError):
        await following(shelf, "a", "b")._step("1:0")
    assert shelf.at != "1:3"


async def test_where_nothing_can_be_stored_nothing_is_skipped() -> None:
    shelf = Shelf()
    shelf.broken = True
    with pytest.raises(MeshError):
        await following(shelf, "a", "b")._step("1:0")
    assert shelf.at == ""


def test_every_record_becomes_a_row_that_can_be_stored() -> None:
    odd = record_pb2.RequestRecord(org_id=ORG, request_id=uuid7(), asked_model="a\x00b", outcome=70_000)  # type: ignore[arg-type]
    odd.started_at.seconds = 2**62
    made = request_row(odd)
    assert (made.model, made.outcome, made.started_at) == ("a\ufffdb", 0, EPOCH)
    assert record_pb2.RequestRecord.FromString(made.record) == odd, "the record itself is kept as it came"
    odd.attempts.add(model="c\x00")
    assert request_row(odd).model == "c\ufffd"
    assert [r.org_id for r in request_rows([record_pb2.RequestRecord(org_id="x"), odd])] == [ORG]


def test_not_found_says_where_the_id_stands() -> None:
    assert "x-dac-request-id header" in request_not_found(uuid7()).message
