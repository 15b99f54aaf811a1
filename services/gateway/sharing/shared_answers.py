"""What is said of an answer that was not made for its asker: in headers, in words, on the record, when it failed."""

import time

from dac.memory.v1.cache_pb2 import LookupResponse
from dac.type.v1 import record_pb2, usage_pb2
from mesh.errors import MeshError, Reason
from mesh.ids import uuid7
from services.gateway.chat.pipeline import ProviderRefusal
from services.gateway.sharing.answer_cache import kind_of


def entry_headers(found: LookupResponse) -> list[tuple[bytes, bytes]]:
    """What an answer from the cache says of itself."""
    made = [(b"x-dac-cache", b"hit"), (b"x-dac-cache-similarity", f"{found.similarity or 1.0:.4f}".encode())]
    made.append((b"age", str(int(max(0.0, found.age_s))).encode()))
    return [*made, (b"x-dac-cache-entry", found.entry_id.encode("ascii", "replace"))] if found.entry_id else made


def found_how(found: LookupResponse | None) -> str:
    """The same in a few words."""
    return f"cache: {kind_of(found)} hit" if found is not None else "cache"


def told_again(error: BaseException) -> MeshError:
    """The leader's failure, told to somebody else."""
    if isinstance(error, ProviderRefusal):
        return ProviderRefusal(error.message, error.status_code, error.body)
    if isinstance(error, MeshError):
        return MeshError(error.reason, error.message, metadata=error.metadata, retry_after_s=error.retry_after_s)
    return MeshError(Reason.UNAVAILABLE, "The call that was shared ended. Try again.")


def share_of(model: str, provider: str, usage: usage_pb2.Usage, begun_ns: int) -> record_pb2.AttemptRecord:
    """What a follower is charged for, as an attempt of its own record."""
    made = record_pb2.AttemptRecord(
        attempt_id=uuid7(),
        provider=provider,
        model=model,
        usage=usage,
        usage_source=usage_pb2.USAGE_SOURCE_PROVIDER,
        finish_reason="stop",
    )
    made.started_at.FromNanoseconds(begun_ns)
    made.ended_at.FromNanoseconds(time.time_ns())
    return made
