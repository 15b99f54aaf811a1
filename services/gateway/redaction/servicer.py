"""RedactionService: what would be found in a text, without sending it anywhere."""

from __future__ import annotations

from typing import Any

from dac.gateway.v1 import redaction_pb2, redaction_pb2_grpc
from mesh import call as calls
from mesh.errors import MeshError, Reason
from mesh.fair_share import in_turn
from services.gateway.redaction.finder import find
from services.gateway.redaction.kinds import checked_kinds, checked_regions
from services.gateway.redaction.placeholders import Redactor

MOST_BYTES = 1 << 20


class RedactionServicer(redaction_pb2_grpc.RedactionServiceServicer):
    """See dac.gateway.v1.RedactionService."""

    async def Redact(self, request: redaction_pb2.RedactRequest, context: Any) -> redaction_pb2.RedactResponse:  # noqa: D102
        calls.require_scope("chat")
        size = len(request.text.encode())
        if size > MOST_BYTES:
            raise MeshError(
                Reason.TOO_LARGE,
                f'"text" has {size} bytes; at most {MOST_BYTES} are looked through at once. Send it in parts.',
                metadata={"field": "text"},
            )
        kinds, regions = checked_kinds(request.kinds), checked_regions(request.regions)
        # In a thread: nobody waits for a text that is only tried.
        return await in_turn(_shown, request.text, kinds, regions)


def _shown(text: str, kinds: tuple[str, ...], regions: tuple[str, ...]) -> redaction_pb2.RedactResponse:
    redactor = Redactor(kinds, regions)
    redactor.avoid(text.encode())
    response = redaction_pb2.RedactResponse()
    parts, at = [], 0
    for one in find(text, kinds, regions):
        placeholder = redactor.placeholder(one.kind, text[one.start : one.end].encode()).decode()
        parts += [text[at : one.start], placeholder]
        at = one.end
        response.found.add(kind=one.kind, start=one.start, end=one.end, placeholder=placeholder)
        response.kinds[one.kind] += 1
    response.text = "".join([*parts, text[at:]])
    return response
