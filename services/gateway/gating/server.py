"""ValidationService: the checks for texts that no chat of DAC's has made."""

from __future__ import annotations

import time
from typing import Any

from dac.gateway.v1 import validation_pb2, validation_pb2_grpc
from mesh import call as calls
from mesh.config import nearest
from mesh.errors import MeshError, Reason, invalid
from mesh.structs import plain
from services.gateway.gating.sources import read_sources
from services.gateway.gating.validation import Validation
from services.gateway.gating.verdict import verdict_of
from services.gateway.validation.subject import CHECKS, Subject

MOST_TEXT_CHARS = 1_000_000


class ValidationServicer(validation_pb2_grpc.ValidationServiceServicer):
    """ValidationService over the engine."""

    def __init__(self, validation: Validation) -> None:
        self._validation = validation

    async def Validate(self, request: validation_pb2.ValidateRequest, context: Any) -> validation_pb2.ValidateResponse:
        """See ValidationService.Validate."""
        calls.require_principal()
        subject, begun = _subject(request), time.perf_counter()
        report = await self._validation.report(subject, tuple(request.checks), nli=request.nli)
        verdict = verdict_of(report, (), request.min_quality)
        answer = validation_pb2.ValidateResponse(
            status=verdict.status,
            quality=verdict.quality,
            scores=verdict.scores,
            checks=verdict.checks,
            parts=report.parts,
            duration_ms=round((time.perf_counter() - begun) * 1e3, 3),
        )
        for one in verdict.findings:
            answer.findings.add(
                check=one.check, severity=one.severity, message=one.message, start=one.start, end=one.end
            )
        return answer


def _subject(request: validation_pb2.ValidateRequest) -> Subject:
    """What is to be checked. Raises INVALID_REQUEST or TOO_LARGE."""
    if not request.text:
        raise invalid("text", '"text" is missing: send the text that is to be checked.')
    for name in ("text", "question"):
        if (size := len(getattr(request, name))) > MOST_TEXT_CHARS:
            raise MeshError(
                Reason.TOO_LARGE,
                f'"{name}" has at most {MOST_TEXT_CHARS} characters, not {size}.',
                metadata={"field": name},
            )
    for name in request.checks:
        if name not in CHECKS:
            raise invalid(
                "checks", f'"{name[:64]}" is no check{nearest(name[:64], CHECKS)}: say {", ".join(CHECKS)}, or none.'
            )
    if not 0 <= request.min_quality <= 1:
        raise invalid("min_quality", f'"min_quality" is between 0 and 1, not {request.min_quality:g}.')
    schema = plain(request.schema) if request.HasField("schema") else None
    return Subject(
        request.text,
        request.question,
        read_sources(request.context, "context"),
        request.task_type[:64],
        schema,
        request.finish_reason or "stop",
    )
