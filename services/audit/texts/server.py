"""TextService: proto in, texts, proto out."""

from __future__ import annotations

import datetime as dt
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from dac.audit.v1 import text_pb2 as pb
from dac.audit.v1 import text_pb2_grpc
from mesh import call
from mesh.admin_record import admin_change
from mesh.ids import is_uuid
from mesh.tlog.leaves import SALT_BYTES
from services.audit import errors
from services.audit.store import ChangeRow
from services.audit.texts.store import Text, TextStore

MOST = 100
"""Texts of one call."""
READ = "text.read"
"""The change that says who was shown a text."""
Note = Callable[[Sequence[ChangeRow]], Awaitable[None]]


class TextServicer(text_pb2_grpc.TextServiceServicer):
    """See dac.audit.v1.TextService."""

    def __init__(self, store: TextStore, note: Note, clock: Callable[[], dt.datetime]) -> None:
        """`note` stores a change; a text is handed out only when it has."""
        self._store, self._note, self._clock = store, note, clock

    async def KeepTexts(self, request: pb.KeepTextsRequest, context: Any) -> pb.KeepTextsResponse:  # noqa: D102
        call.require_service("gateway")
        if not self._store.payloads.seals:
            raise errors.texts_need_sealing()
        if len(request.texts) > MOST:
            raise errors.invalid("texts", f"{len(request.texts)} are more than {MOST}")
        for one in request.texts:
            if not is_uuid(one.org_id) or not is_uuid(one.request_id) or len(one.salt) != SALT_BYTES:
                raise errors.invalid("texts", f"each needs two UUIDs and {SALT_BYTES} bytes of salt")
        texts = [Text(one.org_id, one.request_id, one.salt, one.text) for one in request.texts]
        return pb.KeepTextsResponse(not_stored_yet=await self._store.keep(texts) if texts else [])

    async def GetText(self, request: pb.GetTextRequest, context: Any) -> pb.GetTextResponse:  # noqa: D102
        org_id = call.require_organisation("admin").org_id
        found = await self._store.text(org_id, request.request_id) if is_uuid(request.request_id) else None
        if found is None:
            raise errors.no_text(request.request_id)
        now = self._clock()
        read = admin_change(READ, f"request:{request.request_id}", now, org_id=org_id)
        await self._note([ChangeRow(org_id, read.record_id, now, read.record)])
        return pb.GetTextResponse(text=pb.RecordedText.FromString(found))
