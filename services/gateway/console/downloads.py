"""What the console hands out as files: changes and requests as CSV or JSON lines, receipts of entries."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any

import grpc.aio
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dac.audit.v1.audit_pb2 import ExportChangesRequest, ExportRequestsRequest
from dac.audit.v1.audit_pb2_grpc import AuditServiceStub
from dac.audit.v1.log_pb2 import GetInclusionProofRequest
from dac.audit.v1.log_pb2_grpc import LogServiceStub
from mesh.errors import MeshError
from services.gateway.api.transcoder import file_response
from services.gateway.console import audit as console_audit
from services.gateway.console import frame as view
from services.gateway.console import story as console_story
from services.gateway.console.frame import Reader
from services.gateway.edge.failures import http_status

RECEIPT_WAIT_S = 3.0
"""How long a receipt waits for an entry that was recorded a moment ago."""
TIMEOUT_S = 10.0
RECEIPT = re.compile(r"[0-9a-f-]{1,64}")

Enter = Callable[[Request, str], Awaitable[Reader]]
"""Identifies the request. Raises MeshError."""


class Downloads:
    """Handlers for Starlette; each reads as the reader's own principal."""

    def __init__(
        self,
        channel_to: Callable[[str], grpc.aio.Channel],
        enter: Enter,
        refused: Callable[[MeshError, str], Response],
        answer: Callable[[str, int], Response],
    ) -> None:
        """`refused`: what somebody sees who is not let in; `answer`: a page."""
        self._audit = AuditServiceStub(channel_to("audit"))
        self._log = LogServiceStub(channel_to("audit"))
        self._enter, self._refused, self._answer = enter, refused, answer

    def routes(self) -> list[Route]:
        """All of them."""
        return [
            Route("/console/audit/changes.{form}", self.changes, methods=["GET"]),
            Route("/console/audit/requests.{form}", self.requests, methods=["GET"]),
            Route("/console/audit/receipts/{record_id}", self.receipt, methods=["GET"]),
        ]

    async def changes(self, request: Request) -> Response:
        """All changes that the page's filters let through."""
        asked = console_audit.asked(console_audit.chosen(request.query_params)._replace(page=""), 0)
        wanted = ExportChangesRequest(
            format=request.path_params["form"], actor=asked.actor, action=asked.action, target=asked.target
        )
        for bound in ("after", "before"):
            if asked.HasField(bound):
                getattr(wanted, bound).CopyFrom(getattr(asked, bound))
        return await self._file(request, "audit", "changes", lambda: self._audit.ExportChanges(wanted))

    async def requests(self, request: Request) -> Response:
        """All requests that the page's filters let through."""
        query = request.query_params
        wanted = ExportRequestsRequest(
            format=request.path_params["form"],
            model=query.get("model", "").strip(),
            outcome=console_story.outcome_of(query.get("outcome", "")),
        )
        return await self._file(request, "requests", "requests", lambda: self._audit.ExportRequests(wanted))

    async def _file(self, request: Request, section: str, name: str, export: Callable[[], Any]) -> Response:
        form = request.path_params["form"]
        try:
            reader = await self._enter(request, f"/console/audit/{name}.{{form}}")
        except MeshError as error:
            return self._refused(error, section)
        # A whole year may take longer than a page may.
        request.scope["state"]["exchange"].call.deadline = None
        try:
            response = await file_response(export())
        except MeshError as error:
            return self._trouble(reader, section, error)
        response.headers["content-disposition"] = f'attachment; filename="dac-{name}.{form}"'
        return response

    async def receipt(self, request: Request) -> Response:
        """The proof of an entry, as a c2sp.org/tlog-proof."""
        try:
            reader = await self._enter(request, "/console/audit/receipts/{record_id}")
        except MeshError as error:
            return self._refused(error, "audit")
        record_id = request.path_params["record_id"]
        wanted = GetInclusionProofRequest(record_id=record_id, wait_s=RECEIPT_WAIT_S)
        try:
            found = await self._log.GetInclusionProof(wanted, timeout=TIMEOUT_S)
        except MeshError as error:
            return self._trouble(reader, "audit", error)
        name = record_id if RECEIPT.fullmatch(record_id) else "receipt"
        headers = {"content-disposition": f'attachment; filename="{name}.tlog-proof"', "cache-control": "no-store"}
        return Response(found.proof, media_type="text/plain", headers=headers)

    def _trouble(self, reader: Reader, section: str, error: MeshError) -> Response:
        drawn = view.card("Download", view.trouble("audit", error, view.path_of(section)))
        return self._answer(view.page(reader, section, drawn), http_status(error))
