"""Requests and changes as files for auditors: CSV that spreadsheets cannot be made to run, or JSON lines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from google.protobuf.json_format import MessageToJson
from google.protobuf.timestamp_pb2 import Timestamp

from dac.type.v1 import error_pb2, record_pb2
from mesh import csv_lines
from mesh.money import exact_usd
from mesh.usage import answer_tokens, prompt_tokens
from services.audit.log.events import answered_by, asked_by, operation_of

CSV = "csv"
JSONL = "jsonl"
FORMS = (CSV, JSONL)
JSONL_TYPE = "application/x-ndjson"
REQUEST_COLUMNS = (
    "started_at",
    "ended_at",
    "request_id",
    "actor",
    "operation",
    "asked_model",
    "model",
    "provider",
    "outcome",
    "reason",
    "http_status",
    "input_tokens",
    "output_tokens",
    "cost_usd",
    "redacted",
    "validation",
    "thread_id",
    "trace_id",
    "client_request_id",
)
CHANGE_COLUMNS = (
    "at",
    "record_id",
    "actor",
    "action",
    "target",
    "before_json",
    "after_json",
    "request_id",
)


@dataclass(frozen=True)
class File:
    """How rows are written. The head, then the lines, are the file."""

    content_type: str
    head: str
    lines: Callable[[Sequence[bytes]], str]
    """The text of serialised records."""


def _time(stamp: Timestamp) -> str:
    try:
        return stamp.ToJsonString() if stamp.seconds else ""
    except (ValueError, OverflowError):
        return ""


def _word(name: str, prefix: str) -> str:
    word = name.removeprefix(prefix).lower()
    return "" if word == "unspecified" else word


def _request_cells(stored: bytes) -> list[str]:
    record = record_pb2.RequestRecord.FromString(stored)
    texts = [
        _time(record.started_at),
        _time(record.ended_at),
        record.request_id,
        asked_by(record),
        operation_of(record),
        record.asked_model,
        answered_by(record),
        record.attempts[-1].provider if record.attempts else "",
        _word(record_pb2.Outcome.Name(record.outcome), "OUTCOME_")
        if record.outcome in record_pb2.Outcome.values()
        else "",
        _word(error_pb2.ErrorReason.Name(record.reason), "ERROR_REASON_")
        if record.reason in error_pb2.ErrorReason.values()
        else "",
    ]
    # A number is one: an apostrophe would make it a text.
    numbers = [
        str(record.http_status),
        str(sum(prompt_tokens(one.usage) for one in record.attempts)),
        str(sum(answer_tokens(one.usage) for one in record.attempts)),
        exact_usd(record.cost_nano_usd),
    ]
    found = " ".join(f"{kind}:{count}" for kind, count in sorted(record.redaction.kinds.items()))
    last = [found, record.validation.status, record.thread_id, record.trace_id, record.client_request_id]
    return [*map(csv_lines.defused, texts), *numbers, *map(csv_lines.defused, last)]


def _change_cells(stored: bytes) -> list[str]:
    record = record_pb2.AdminRecord.FromString(stored)
    texts = [
        _time(record.at),
        record.record_id,
        record.actor,
        record.action,
        record.target,
        record.before_json,
        record.after_json,
        record.request_id,
    ]
    return [csv_lines.defused(text) for text in texts]


def _json_line(message: record_pb2.RequestRecord | record_pb2.AdminRecord) -> str:
    return MessageToJson(message, preserving_proto_field_name=True, indent=None, ensure_ascii=False) + "\n"


def _csv(columns: Sequence[str], cells: Callable[[bytes], list[str]]) -> File:
    return File(
        csv_lines.CONTENT_TYPE, csv_lines.csv_lines([columns]), lambda stored: csv_lines.csv_lines(map(cells, stored))
    )


def request_file(form: str) -> File:
    """How requests are written; `form`: one of FORMS."""
    if form == CSV:
        return _csv(REQUEST_COLUMNS, _request_cells)
    read = record_pb2.RequestRecord.FromString
    return File(JSONL_TYPE, "", lambda stored: "".join(_json_line(read(one)) for one in stored))


def change_file(form: str) -> File:
    """How changes are written; `form`: one of FORMS."""
    if form == CSV:
        return _csv(CHANGE_COLUMNS, _change_cells)
    read = record_pb2.AdminRecord.FromString
    return File(JSONL_TYPE, "", lambda stored: "".join(_json_line(read(one)) for one in stored))
