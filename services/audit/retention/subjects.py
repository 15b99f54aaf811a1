"""Whom or what an erasure or a hold is about, and which records concern it."""

from __future__ import annotations

from typing import NamedTuple

from dac.type.v1.principal_pb2 import Level
from dac.type.v1.record_pb2 import AdminRecord, RequestRecord
from mesh.ids import is_uuid

USER, KEY, REQUEST = "user", "key", "request"
KINDS = (USER, KEY, REQUEST)
LEVELS = {Level.KIND_USER: USER, Level.KIND_KEY: KEY}
"""Steps of a caller's path that are subjects."""


class Subject(NamedTuple):
    """A user, a key, or one request."""

    kind: str
    id: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.id}"

    @classmethod
    def parse(cls, text: str) -> Subject:
        """The subject of "user:0192…". Raises ValueError."""
        kind, _, subject_id = text.partition(":")
        if kind not in KINDS or not is_uuid(subject_id):
            raise ValueError(f"{text[:80]!r} is not user:ID, key:ID or request:ID")
        return cls(kind, subject_id)

    @property
    def person(self) -> str | None:
        """The id that figures are kept under; a single request has none."""
        return None if self.kind == REQUEST else self.id

    def concerns_request(self, record: RequestRecord) -> bool:
        """Whether a request is about it: made by this user or key, or this request itself."""
        if self.kind == REQUEST:
            return record.request_id == self.id
        return any(LEVELS.get(level.kind) == self.kind and level.id == self.id for level in record.path)

    def concerns_change(self, record: AdminRecord) -> bool:
        """Whether a change is about it: made by it, or to it."""
        return str(self) in (record.actor, record.target)
