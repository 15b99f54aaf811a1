"""The servicer of the provable log: checkpoints, proofs, the log's files and exports; how its parts fit together."""

from __future__ import annotations

import asyncio
import base64
import os
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio
import msgspec
from google.api import httpbody_pb2

from dac.audit.v1 import log_pb2, log_pb2_grpc
from mesh import call
from mesh.ids import is_uuid
from mesh.service import Context
from mesh.tlog import merkle
from mesh.tlog.frames import CONTENT_TYPE, counts_frame, head_frame, stretch_frame, tile_frame
from mesh.tlog.heads import line_of
from mesh.tlog.notes import Checkpoint
from mesh.tlog.proofs import write_proof
from mesh.tlog.tiles import ENTRIES, HEIGHT, WIDTH, FullTile, Tile, TileHashes, pack_entries, tile_of, width_at
from services.audit import errors
from services.audit.config import AuditConfig, read_witness
from services.audit.follower import Arrivals
from services.audit.log.cosignature_store import CosignatureStore
from services.audit.log.packer import Packer
from services.audit.log.sequencer import Sequencer
from services.audit.log.signing import open_signer
from services.audit.log.store import Head, Heads, LogStore
from services.audit.log.witness_calls import post
from services.audit.log.witnessing import NewestHead, Witnessing, with_cosignatures
from services.audit.sealing.payloads import PLAIN, Payloads

READ_BATCH = 8 * WIDTH
MESSAGE_BYTES = 1 << 20
"""A message of the whole log ends behind the block that takes it past this size."""
EXPORT_BATCH = 500
MAX_WAIT_S = 10.0
LOOK_AGAIN_S = 0.25
NOTE_TYPE, TILE_TYPE, LINES_TYPE = "text/plain; charset=utf-8", "application/octet-stream", "application/x-ndjson"


def _check_part(request: log_pb2.ReadLogRequest, size: int) -> None:
    """Refuses a part of the log that does not begin and end with a tile, or that the log does not have."""
    end = request.end or size
    if request.first % WIDTH or request.end % WIDTH or not 0 <= request.first <= end <= size:
        raise errors.invalid("first", f"{request.first} to {request.end} are no tiles of a log of {size} entries")


def _organisation(scope: str) -> str:
    org_id = call.require_scope(scope).org_id
    if not is_uuid(org_id):
        raise errors.invalid("org_id", "this needs a key of an organisation; the operator's token has none")
    return org_id


class LogServicer(log_pb2_grpc.LogServiceServicer):
    """See dac.audit.v1.LogService."""

    def __init__(self, store: LogStore, arrivals: Arrivals) -> None:
        self._store, self._arrivals = store, arrivals
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
        )

    async def GetInclusionProof(  # noqa: D102
        self, request: log_pb2.GetInclusionProofRequest, context: Any
    ) -> log_pb2.GetInclusionProofResponse:
        org_id = _organisation("read")
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
        ranges = merkle.consistency_ranges(request.size, head.size)
        hashes = await self._hashes(merkle.nodes_of(ranges), head.size)
        return log_pb2.GetConsistencyProofResponse(hashes=merkle.prove(ranges, hashes), checkpoint=head.checkpoint)

    async def Export(  # noqa: D102
        self, request: log_pb2.ExportRequest, context: Any
    ) -> AsyncIterator[httpbody_pb2.HttpBody]:
        org_id = _organisation("admin")
        # Before the head, so that the tree of the head has them.
        heads = await self._store.newest_heads()
        head = await self._head()
        size, checkpoint = head.size, await self._with_cosignatures(head)
        if request.cosigned:
            cosigned = await self._cosigned()
            if cosigned is None or cosigned[0] > head.size:
                raise errors.not_cosigned()
            size, checkpoint = cosigned
        first: dict[str, Any] = {"checkpoint": checkpoint, "verifier_key": head.verifier_key, "org_id": org_id}
        if heads is not None and heads.idx < size and (told := await self._told_heads(heads, org_id, size)):
            first["heads"] = told
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

    async def _told_heads(self, heads: Heads, org_id: str, size: int) -> dict[str, Any] | None:
        """What an organisation is shown of heads: its line with the path to their root; None when it has none."""
        own = line_of(org_id, heads.org_seqs, heads.salt)
        if own is None:
            return None
        ranges = merkle.inclusion_ranges(heads.idx, size)
        path = merkle.prove(ranges, await self._hashes(merkle.nodes_of(ranges), size))
        place, lines, line, line_path = own
        return {
            "index": str(heads.idx),
            "leaf": heads.leaf.decode(),
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
        head = await self._head()
        _check_part(request, head.size)
        if request.end:
            bounds = stretch_frame(request.first, request.end)
            yield httpbody_pb2.HttpBody(content_type=CONTENT_TYPE, data=bounds)
            async for message in self._entries(request.first, request.end):
                yield httpbody_pb2.HttpBody(data=message)
            yield httpbody_pb2.HttpBody(data=bounds)
            return
        read = request.first
        while True:
            yield httpbody_pb2.HttpBody(content_type=CONTENT_TYPE, data=head_frame(head.verifier_key, head.checkpoint))
            async for message in self._entries(read, head.size):
                yield httpbody_pb2.HttpBody(data=message)
            counts = await self._store.counts(head)
            if not await self._store.removed_since(head):
                break
            # What went while this was read is declared by entries behind that head: they belong to it, too.
            read, head = head.size, await self._head()
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
            data: bytes | None = pack_entries(await self._store.leaves(first, first + tile.width))
        else:
            data = await self._store.tile(*tile)
        if data is None:
            raise errors.no_such_file(request.path)
        yield httpbody_pb2.HttpBody(content_type=TILE_TYPE, data=data)

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


async def hashes_of(store: LogStore, nodes: list[merkle.Node], size: int) -> TileHashes:
    """The hashes of complete subtrees of a tree."""
    return TileHashes(await store.tiles({tile_of(node) for node in nodes}, size))


class ProvableLog:
    """The assembled log."""

    def __init__(self, context: Context, arrivals: Arrivals, payloads: Payloads = PLAIN) -> None:
        assert context.database is not None, "the log needs PostgreSQL"
        config: AuditConfig = context.config
        self.store = LogStore(context.database, payloads)
        self.log = LogServicer(self.store, arrivals)
        secrets_dir = context.data_dir / "secrets"
        self.sequencer = Sequencer(
            self.store,
            lambda: open_signer(config.log_key_file, secrets_dir, context.keyring),
            arrivals,
            batch=config.log_batch,
            poll_s=config.follow_poll_s,
            retry_s=config.retry_last_s,
            random=os.urandom,
            heads_every_s=config.heads_every_s,
        )
        self.packer = Packer(self.store, config.pack_after_days, config.pack_every_s)
        cosignatures = CosignatureStore(context.database)
        self.witnessing = Witnessing(
            [read_witness(line) for line in config.witnesses],
            self._newest,
            cosignatures.kept,
            cosignatures.keep,
            post,
            self._prove,
            config.witness_every_s,
        )
        self.duties = (self.sequencer.run, self.packer.run, *([self.witnessing.run] if config.witnesses else []))

    async def _newest(self) -> NewestHead:
        head = await self.store.head()
        return NewestHead(head.size, head.checkpoint)

    async def _prove(self, first: int, second: int) -> list[bytes]:
        ranges = merkle.consistency_ranges(first, second)
        return merkle.prove(ranges, await hashes_of(self.store, merkle.nodes_of(ranges), second))

    def register(self, server: grpc.aio.Server) -> None:
        """Adds the servicer."""
        log_pb2_grpc.add_LogServiceServicer_to_server(self.log, server)
