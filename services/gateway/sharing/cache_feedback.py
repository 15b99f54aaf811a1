"""Ratings of answers that the cache gave or kept: a bad one is told to the cache, so that others do not get it too."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import grpc.aio
from google.protobuf.message import Message

from dac.audit.v1.audit_pb2 import GetRequestRequest
from dac.audit.v1.audit_pb2_grpc import AuditServiceStub
from dac.memory.v1.cache_pb2 import ReportCacheFeedbackRequest
from dac.memory.v1.cache_pb2_grpc import CacheServiceStub
from dac.router.v1.learning_pb2 import SubmitFeedbackRequest, SubmitFeedbackResponse
from dac.type.v1.record_pb2 import CacheRecord, RequestRecord
from mesh.errors import MeshError, Reason

FEEDBACK = "/dac.router.v1.LearningService/SubmitFeedback"
TIMEOUT_S = 2.0
TRIES, WAIT_S = 5, 0.2
"""A record is there a moment after its answer."""
BAD_STARS = 2.0


class CacheFeedback:
    """Hears every rating before the router does. It needs to read the request's record: a key with scope "read"."""

    def __init__(self, channel_to: Callable[[str], grpc.aio.Channel]) -> None:
        self._audit, self._cache = AuditServiceStub(channel_to("audit")), CacheServiceStub(channel_to("memory"))

    async def heard(self, message: Message) -> Message | None:
        """The reply for an answer that no model made for this request; None = the rating is the router's."""
        assert isinstance(message, SubmitFeedbackRequest)
        try:
            record = await self._record(message.request_id)
            cache = record.cache
            kept = cache
            if cache.status == CacheRecord.STATUS_COALESCED:
                kept = (await self._record(cache.leader_request_id)).cache
            if is_bad(message) and kept.entry_id:
                similarity = kept.similarity if kept.status == CacheRecord.STATUS_HIT else 1.0
                report = ReportCacheFeedbackRequest(
                    entry_id=kept.entry_id, similarity=similarity, request_id=record.request_id
                )
                await self._cache.ReportCacheFeedback(report, timeout=TIMEOUT_S)
        except MeshError:
            # The rating itself is not lost for it.
            return None
        if cache.status not in (CacheRecord.STATUS_HIT, CacheRecord.STATUS_COALESCED):
            return None
        return SubmitFeedbackResponse(model=record.asked_model, task_type=record.features.intent)

    async def _record(self, request_id: str) -> RequestRecord:
        for left in range(TRIES - 1, -1, -1):
            try:
                found = await self._audit.GetRequest(GetRequestRequest(request_id=request_id), timeout=TIMEOUT_S)
                return found.request
            except MeshError as error:
                if error.reason is not Reason.NOT_FOUND or not left:
                    raise
            await asyncio.sleep(WAIT_S)
        raise AssertionError


def is_bad(message: SubmitFeedbackRequest) -> bool:
    """A thumb down, or at most two stars of five."""
    stars = message.scale == "stars" or (not message.scale and message.rating > 1)
    return 1 <= message.rating <= BAD_STARS if stars else -1 <= message.rating < 0
