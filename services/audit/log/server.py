"""The servicer of the provable log: checkpoints, proofs, the log's files and exports; how its parts fit together."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

import msgspec
from google.api import httpbody_pb2

from dac.audit.v1 import log_pb2, log_pb2_grpc
from mesh import call
from mesh.ids import is_uuid
from mesh.tlog import merkle
from mesh.tlog.frames import CONTENT_TYPE, counts_frame, head_frame, stretch_frame, tile_frame
from mesh.tlog.heads import line_of
from mesh.tlog.notes import Checkpoint, NoteError, VerifierKey, open_checkpoint
from mesh.tlog.proofs import write_proof
from mesh.tlog.tiles import ENTRIES, HEIGHT, WIDTH, FullTile, Tile, TileHashes, pack_entries, width_at
from services.audit import errors
from services.audit.follower import Arrivals
from services.audit.log.beginning import beginning, hashes_of
from services.audit.log.cosignature_store import CosignatureStore
from services.audit.log.dropper import Dropper
from services.audit.log.store import Head, LogStore
from services.audit.log.witnessing import with_cosignatures

READ_BATCH = 8 * WIDTH
MESSAGE_BYTES = 1 << 20
"""A message of the whole log ends behind the block that takes it past this size."""
EXPORT_BATCH = 500
MAX_WAIT_S = 10.0
LOOK_AGAIN_S = 0.25
NOTE_TYPE, TILE_TYPE, LINES_TYPE = "text/plain; charset=utf-8", "application/octet-stream", "application/x-ndjson"


def _check_part(request: log_pb2.ReadLogRequest, size: int, start: int) -> None:
    """Refuses a part of the log that does not begin and end with a tile, or that the log does not have."""
    if 0 < request.first < start or 0 < request.end < start:
        raise errors.before_start(start)
    end = request.end or size
    if request.first % WIDTH or request.end % WIDTH or not 0 <= request.first <= end <= size:
        raise errors.invalid("first", f"{request.first} to {request.end} are no tiles of a log of {size} entries")


class LogServicer(log_pb2_grpc.LogServiceServicer):
    """See dac.audit.v1.LogService."""

    def __init__(self, store: LogStore, arrivals: Arrivals, dropper: Dropper | None = None) -> None:
        """`dropper`: who knows what is dropped next; without it GetStart has no answer."""
        self._store, self._arrivals, self._dropper = store, arrivals, dropper
        self._cosignatures = CosignatureStore(store.database)

    async def GetCheckpoint(  # noqa: D102
        self, request: log_pb2.GetCheckpointRequest, context: Any
    ) -> log_pb2.GetCheckpointResponse:
        call.require_scope("read")
        head = await self._head()
        cosigned, witnesses = with_cosignatures(await self._cosignatures.kept())
        return log_pb2.GetCheckpointResponse(
            checkpoint=await self._with_cosignatures(head),
            verifier_key=head.verifier_key,
            size=head.size,
            cosigned_checkpoint=cosigned,
            witnesses=witnesses,
            start=(await self._store.started()).idx,
        )

    async def GetInclusionProof(  # noqa: D102
        self, request: log_pb2.GetInclusionProofRequest, context: Any
    ) -> log_pb2.GetInclusionProofResponse:
        org_id = call.require_organisation("read").org_id
        if not is_uuid(request.record_id):
            raise errors.not_in_log(request.record_id)
        if not 0 <= request.wait_s <= MAX_WAIT_S:
            raise errors.invalid("wait_s", f"{request.wait_s:g} is not between 0 and {MAX_WAIT_S:g}")
        gives_up_at = time.monotonic() + request.wait_s
        while True:
            news = self._arrivals.next()
            head = await self._store.head()
            entry = await self._store.entry(org_id, request.record_id, head.size)
            if entry is not None:
                break
            left_s = gives_up_at - time.monotonic()
            if left_s <= 0:
                raise errors.not_in_log(request.record_id)
            try:
                await asyncio.wait_for(news.wait(), min(left_s, LOOK_AGAIN_S))
            except TimeoutError:
                pass
        cosigned = await self._cosigned()
        size, checkpoint = (
            cosigned if cosigned and entry.idx < cosigned[0] <= head.size else (head.size, head.checkpoint)
        )
        ranges = merkle.inclusion_ranges(entry.idx, size)
        path = merkle.prove(ranges, await self._hashes(merkle.nodes_of(ranges), size))
        return log_pb2.GetInclusionProofResponse(
            index=entry.idx,
            org_seq=entry.org_seq,
            leaf=entry.leaf.decode(),
            salt=entry.salt or b"",
            record=entry.record or b"",
            proof=write_proof(entry.idx, path, checkpoint),
        )

    async def GetConsistencyProof(  # noqa: D102
        self, request: log_pb2.GetConsistencyProofRequest, context: Any
    ) -> log_pb2.GetConsistencyProofResponse:
        call.require_scope("read")
        head = await self._head()
        if not 0 < request.size <= head.size:
            raise errors.invalid("size", f"{request.size} is not between 1 and {head.size}, the size of the log")
        to_size = request.to_size or head.size
        if not request.size <= to_size <= head.size:
            raise errors.invalid("to_size", f"{to_size} is not between {request.size} and {head.size}")
        ranges = merkle.consistency_ranges(request.size, to_size)
        hashes = await hashes_of(self._store, merkle.nodes_of(ranges), to_size)
        return log_pb2.GetConsistencyProofResponse(hashes=merkle.prove(ranges, hashes), checkpoint=head.checkpoint)

    async def Export(  # noqa: D102
        self, request: log_pb2.ExportRequest, context: Any
    ) -> AsyncIterator[httpbody_pb2.HttpBody]:
        org_id = call.require_organisation("admin").org_id
        # Before the head, so that the tree of the head has them.
        heads, start = await self._store.newest_heads(), await self._store.start()
        head = await self._head()
        size, checkpoint = head.size, await self._with_cosignatures(head)
        if request.cosigned:
            cosigned = await self._cosigned()
            if cosigned is None or cosigned[0] > head.size:
                raise errors.not_cosigned()
            size, checkpoint = cosigned
        first: dict[str, Any] = {"checkpoint": checkpoint, "verifier_key": head.verifier_key, "org_id": org_id}
        if heads is not None and heads.idx < size:
            told = await self._told(heads.idx, heads.leaf, heads.salt, heads.org_seqs, org_id, size)
            first |= {"heads": told} if told else {}
        if start is not None and org_id in start.org_seqs:
            if start.leaf_idx >= size:
                raise errors.not_cosigned_since_start()
            first["start"] = await self._told(start.leaf_idx, start.leaf, start.salt, start.org_seqs, org_id, size)
        yield httpbody_pb2.HttpBody(content_type=LINES_TYPE, data=msgspec.json.encode(first) + b"\n")
        at = 0
        while entries := await self._store.entries_of(org_id, at, size, EXPORT_BATCH):
            paths = [merkle.inclusion_ranges(entry.idx, size) for entry in entries]
            hashes = await self._hashes([node for path in paths for node in merkle.nodes_of(path)], size)
            lines = []
            for entry, path in zip(entries, paths, strict=True):
                proven = [base64.b64encode(one).decode() for one in merkle.prove(path, hashes)]
                line = {
                    "index": str(entry.idx),
                    "leaf": entry.leaf.decode(),
                    "salt": base64.b64encode(entry.salt or b"").decode(),
                    "record": base64.b64encode(entry.record or b"").decode(),
                    "path": proven,
                }
                lines.append(msgspec.json.encode(line))
            yield httpbody_pb2.HttpBody(data=b"\n".join((*lines, b"")))
            at = entries[-1].org_seq
        if await self._store.removed_since(head, org_id) or await self._store.declares_behind(org_id, size):
            raise errors.removed_meanwhile()
        await self._still_begins(start.idx if start else 0)

    async def _told(
        self, idx: int, leaf: bytes, salt: bytes, org_seqs: Mapping[str, int], org_id: str, size: int
    ) -> dict[str, Any] | None:
        """What an organisation is shown of heads or a start: its line with the path to their root; None = has none."""
        own = line_of(org_id, org_seqs, salt)
        if own is None:
            return None
        ranges = merkle.inclusion_ranges(idx, size)
        path = merkle.prove(ranges, await self._hashes(merkle.nodes_of(ranges), size))
        place, lines, line, line_path = own
        return {
            "index": str(idx),
            "leaf": leaf.decode(),
            "path": [base64.b64encode(one).decode() for one in path],
            "line": line.decode(),
            "place": str(place),
            "lines": str(lines),
            "line_path": [base64.b64encode(one).decode() for one in line_path],
        }

    async def ReadLog(  # noqa: D102
        self, request: log_pb2.ReadLogRequest, context: Any
    ) -> AsyncIterator[httpbody_pb2.HttpBody]:
        call.require_scope("operator")
        start, head = (await self._store.started()).idx, await self._head()
        _check_part(request, head.size, start)
        read = max(request.first, start)
        if request.end:
            bounds = stretch_frame(request.first, request.end)
            yield httpbody_pb2.HttpBody(content_type=CONTENT_TYPE, data=bounds)
            async for message in beginning(self._store, request.first, start):
                yield httpbody_pb2.HttpBody(data=message)
            async for message in self._entries(read, request.end):
                yield httpbody_pb2.HttpBody(data=message)
            await self._still_begins(start)
            yield httpbody_pb2.HttpBody(data=bounds)
            return
        begins = beginning(self._store, request.first, start)
        while True:
            yield httpbody_pb2.HttpBody(content_type=CONTENT_TYPE, data=head_frame(head.verifier_key, head.checkpoint))
            async for message in begins:
                yield httpbody_pb2.HttpBody(data=message)
            async for message in self._entries(read, head.size):
                yield httpbody_pb2.HttpBody(data=message)
            counts = await self._store.counts(head)
            if not await self._store.removed_since(head):
                break
            # What went while this was read is declared by entries behind that head: they belong to it, too.
            read, head = head.size, await self._head()
        await self._still_begins(start)
        yield httpbody_pb2.HttpBody(data=counts_frame(*counts))

    async def ReadFile(  # noqa: D102
        self, request: log_pb2.ReadFileRequest, context: Any
    ) -> AsyncIterator[httpbody_pb2.HttpBody]:
        call.require_scope("read")
        head = await self._head()
        if request.path == "checkpoint":
            note = await self._with_cosignatures(head)
            yield httpbody_pb2.HttpBody(content_type=NOTE_TYPE, data=note.encode())
            return
        tile = Tile.parse(request.path)
        if tile is None or tile.width > width_at(tile.level, tile.number, head.size):
            raise errors.no_such_file(request.path)
        if tile.level == ENTRIES:
            call.require_scope("operator")
            first = tile.number * WIDTH
            leaves = await self._store.leaves(first, first + tile.width)
            if len(leaves) < tile.width and first < (start := (await self._store.started()).idx):
                raise errors.before_start(start)
            data: bytes | None = pack_entries(leaves)
        else:
            data = await self._store.tile(*tile)
        if data is None:
            raise errors.no_such_file(request.path)
        yield httpbody_pb2.HttpBody(content_type=TILE_TYPE, data=data)

    async def GetStart(self, request: log_pb2.GetStartRequest, context: Any) -> log_pb2.GetStartResponse:  # noqa: D102
        call.require_scope("operator")
        assert self._dropper is not None, "whoever serves this knows what is dropped"
        plan, started, head = await self._dropper.plan(), await self._store.started(), await self._store.head()
        answer = log_pb2.GetStartResponse(
            start=plan.start,
            size=head.size,
            next_start=plan.end,
            waits_for=plan.waits_for,
            archived=started.archived,
            leaves_kept_days=self._dropper.kept_days,
            needs_archive=self._dropper.needs_archive,
        )
        if plan.due_at is not None:
            answer.due_at.FromDatetime(plan.due_at)
        if started.archived_at is not None:
            answer.archived_at.FromDatetime(started.archived_at)
        return answer

    async def ReportArchive(  # noqa: D102
        self, request: log_pb2.ReportArchiveRequest, context: Any
    ) -> log_pb2.ReportArchiveResponse:
        call.require_scope("operator")
        head = await self._head()
        try:
            said = open_checkpoint(request.checkpoint, VerifierKey.parse(head.verifier_key))
        except NoteError as error:
            raise errors.no_such_checkpoint(str(error)) from None
        if said.size > head.size:
            raise errors.no_such_checkpoint(f"it is of {said.size} entries, and the log has {head.size}")
        return log_pb2.ReportArchiveResponse(archived=await self._store.note_archive(said.size))

    async def _still_begins(self, start: int) -> None:
        """Raises UNAVAILABLE when leaves were dropped meanwhile: what was read lacks them."""
        if (await self._store.started()).idx != start:
            raise errors.begins_later_now()

    async def _head(self) -> Head:
        head = await self._store.head()
        if not head.checkpoint:
            raise errors.no_checkpoint()
        return head

    async def _cosigned(self) -> tuple[int, str] | None:
        """Size and text of the newest cosigned checkpoint, with its cosignatures."""
        note, _ = with_cosignatures(await self._cosignatures.kept())
        return (Checkpoint.parse(note).size, note) if note else None

    async def _with_cosignatures(self, head: Head) -> str:
        """The head's checkpoint, with the cosignatures of those who have cosigned this very one."""
        kept = [one for one in await self._cosignatures.kept() if one.checkpoint == head.checkpoint]
        return with_cosignatures(kept)[0] or head.checkpoint

    async def _hashes(self, nodes: list[merkle.Node], size: int) -> TileHashes:
        return await hashes_of(self._store, nodes, size)

    async def _entries(self, first: int, size: int) -> AsyncIterator[bytes]:
        """Entries of a log of that size from one on, with its tiles; PostgreSQL reads one stretch ahead."""
        ahead = asyncio.create_task(self._stretch(first, size))
        try:
            for start in range(first + READ_BATCH, size + READ_BATCH, READ_BATCH):
                messages = await ahead
                ahead = asyncio.create_task(self._stretch(start, size))
                for message in messages:
                    yield message
        finally:
            ahead.cancel()
            await asyncio.gather(ahead, return_exceptions=True)

    async def _stretch(self, first: int, size: int) -> list[bytes]:
        """READ_BATCH entries of a log of that size as messages, and behind them the tiles that they made full."""
        end = min(first + READ_BATCH, size)
        messages, gathered, length = [], list[bytes](), 0
        for block in await self._store.blocks(first, end) if first < end else ():
            gathered.append(block)
            length += len(block)
            if length > MESSAGE_BYTES:
                messages.append(b"".join(gathered))
                gathered, length = [], 0
        gathered += [tile_frame(tile) for tile in await self._full_tiles(first, end)]
        return [*messages, b"".join(gathered)]

    async def _full_tiles(self, first: int, end: int) -> list[FullTile]:
        """The tiles that became full between two sizes, from the lowest level up."""
        found, span = list[FullTile](), HEIGHT
        while first >> span < end >> span:
            found += await self._store.tiles_between(span // HEIGHT - 1, first >> span, end >> span)
            span += HEIGHT
        return found
