"""Who follows the records of requests: RecordService over the feed."""

from __future__ import annotations

from typing import Any

from dac.budget.v1 import record_pb2, record_pb2_grpc
from dac.type.v1 import principal_pb2
from dac.type.v1 import record_pb2 as type_pb2
from mesh import call
from services.budget import errors
from services.budget.record_feed import RecordFeed
from services.budget.record_store import read_cursor

MAX_FETCH = 1000
MAX_WAIT_S = 60.0


class RecordServicer(record_pb2_grpc.RecordServiceServicer):
    """See dac.budget.v1.RecordService."""

    def __init__(self, feed: RecordFeed) -> None:
        self._feed = feed

    async def FetchRecords(  # noqa: D102
        self, request: record_pb2.FetchRecordsRequest, context: Any
    ) -> record_pb2.FetchRecordsResponse:
        if call.require_principal().kind != principal_pb2.Principal.KIND_SERVICE:
            raise errors.services_only("FetchRecords")
        if not 1 <= len(request.consumer) <= 64 or not request.consumer.isprintable():
            raise errors.invalid("consumer", "name yourself in 1 to 64 printable characters")
        cursor = read_cursor(request.cursor)
        if cursor is None:
            raise errors.invalid(
                "cursor", f"{request.cursor[:64]!r} is not one that this method returned; begin without it"
            )
        limit = min(request.limit, MAX_FETCH) if request.limit > 0 else MAX_FETCH
        wait_s = min(max(request.wait_s, 0.0), MAX_WAIT_S)
        records, behind = await self._feed.fetch(request.consumer, cursor, limit, wait_s)
        response = record_pb2.FetchRecordsResponse(cursor=str(behind) if behind.xid else "")
        response.records.extend(type_pb2.RequestRecord.FromString(record) for record in records)
        return response
