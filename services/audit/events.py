"""Business events as JSON lines on standard error: one for each request that ended and each administrative change.

They come from what is stored, so each is told once, with ids and figures and no text of prompts, answers or errors.
Nothing is made when they are off.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable
from typing import Any, Protocol

import msgspec

from dac.type.v1 import error_pb2, record_pb2
from mesh.logs import strike
from mesh.usage import answer_tokens, prompt_tokens

LEVELS = {2: "team_id", 3: "project_id", 4: "user_id", 5: "key_id"}
WORDS = {
    record_pb2.OUTCOME_OK: "request.ok",
    record_pb2.OUTCOME_CLIENT_GONE: "request.client_gone",
    record_pb2.OUTCOME_REFUSED: "request.refused",
    record_pb2.OUTCOME_FAILED: "request.failed",
    record_pb2.OUTCOME_INDETERMINATE: "request.indeterminate",
}


class Tell(Protocol):
    """Takes what was stored."""

    def requests(self, records: Iterable[record_pb2.RequestRecord]) -> None:
        """Requests that ended."""

    def changes(self, records: Iterable[record_pb2.AdminRecord]) -> None:
        """Administrative changes."""


class EventLines:
    """Writes lines to the logger `dac.events`."""

    def __init__(self) -> None:
        self._log = logging.getLogger("dac.events")
        self._log.setLevel(logging.INFO)
        if not self._log.handlers:
            handler = logging.StreamHandler(sys.stderr)
            handler.setFormatter(logging.Formatter("%(message)s"))
            self._log.addHandler(handler)
            # A line is whole as it is: the process's own form of logs must not wrap it.
            self._log.propagate = False

    def requests(self, records: Iterable[record_pb2.RequestRecord]) -> None:
        """Requests that ended."""
        for record in records:
            self._write(request_event(record))

    def changes(self, records: Iterable[record_pb2.AdminRecord]) -> None:
        """Administrative changes; what was changed to is in the record alone."""
        for record in records:
            self._write(
                {
                    "event": f"change.{record.action}",
                    "at": record.at.ToJsonString(),
                    "org_id": record.org_id,
                    "actor": record.actor,
                    "target": record.target,
                    "record_id": record.record_id,
                    "request_id": record.request_id,
                }
            )

    def _write(self, event: dict[str, Any]) -> None:
        self._log.info("%s", strike(msgspec.json.encode(event).decode()))


def request_event(record: record_pb2.RequestRecord) -> dict[str, Any]:
    """A request's line: what is unset is left out."""
    last = record.attempts[-1] if record.attempts else record_pb2.AttemptRecord()
    took = record.ended_at.ToNanoseconds() - record.started_at.ToNanoseconds()
    found = {
        "event": WORDS.get(record.outcome, "request.ended"),
        "at": _time(record),
        "request_id": record.request_id,
        "org_id": record.org_id,
        **{LEVELS[level.kind]: level.id for level in record.path if level.kind in LEVELS},
        "operation": record.operation or "chat",
        "asked_model": record.asked_model,
        "model": last.model,
        "provider": last.provider,
        "intent": record.features.intent,
        "reason": _reason(record.reason),
        "http_status": record.http_status,
        "duration_ms": round(took / 1e6, 1) if record.HasField("ended_at") else 0,
        "input_tokens": sum(prompt_tokens(one.usage) for one in record.attempts),
        "output_tokens": sum(answer_tokens(one.usage) for one in record.attempts),
        "cost_nano_usd": record.cost_nano_usd,
        "saved_nano_usd": record.cache.saved_nano_usd,
        "cache": _cache(record.cache.status),
        "attempts": len(record.attempts),
        "thread_id": record.thread_id,
        "trace_id": record.trace_id,
    }
    return {name: value for name, value in found.items() if value}


def _time(record: record_pb2.RequestRecord) -> str:
    try:
        return record.ended_at.ToJsonString()
    except ValueError:
        return ""


def _reason(number: int) -> str:
    known = error_pb2.ErrorReason.values()
    name = error_pb2.ErrorReason.Name(number) if number in known else ""
    return name.removeprefix("ERROR_REASON_") if number else ""


def _cache(number: int) -> str:
    status = record_pb2.CacheRecord.Status
    name = status.Name(number) if number in status.values() else ""
    return name.removeprefix("STATUS_").lower() if number > 1 else ""
