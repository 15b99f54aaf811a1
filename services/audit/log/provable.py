"""The assembled log: what writes, packs, drops, witnesses and serves it."""

from __future__ import annotations

import datetime as dt
import os

import grpc.aio

from dac.audit.v1 import log_pb2_grpc
from mesh.service import Context
from mesh.tlog import merkle
from services.audit.config import AuditConfig, read_witness
from services.audit.follower import Arrivals
from services.audit.log.beginning import hashes_of
from services.audit.log.cosignature_store import CosignatureStore
from services.audit.log.dropper import Dropper
from services.audit.log.packer import Packer
from services.audit.log.sequencer import Sequencer
from services.audit.log.server import LogServicer
from services.audit.log.signing import open_signer
from services.audit.log.store import LogStore
from services.audit.log.witness_calls import post
from services.audit.log.witnessing import NewestHead, Witnessing
from services.audit.sealing.payloads import PLAIN, Payloads


class ProvableLog:
    """The assembled log."""

    def __init__(self, context: Context, arrivals: Arrivals, payloads: Payloads = PLAIN) -> None:
        assert context.database is not None, "the log needs PostgreSQL"
        config: AuditConfig = context.config
        self.store = LogStore(context.database, payloads)
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
        self.dropper = Dropper(
            self.store,
            self.sequencer.begin_at,
            kept_days=config.leaves_kept_days,
            needs_archive=not config.drop_unarchived,
            every_s=config.prune_every_s,
            clock=lambda: dt.datetime.now(dt.UTC),
        )
        self.log = LogServicer(self.store, arrivals, self.dropper)
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
        self.duties = (
            self.sequencer.run,
            self.packer.run,
            self.dropper.run,
            *([self.witnessing.run] if config.witnesses else []),
        )

    async def _newest(self) -> NewestHead:
        head = await self.store.head()
        return NewestHead(head.size, head.checkpoint)

    async def _prove(self, first: int, second: int) -> list[bytes]:
        ranges = merkle.consistency_ranges(first, second)
        return merkle.prove(ranges, await hashes_of(self.store, merkle.nodes_of(ranges), second))

    def register(self, server: grpc.aio.Server) -> None:
        """Adds the servicer."""
        log_pb2_grpc.add_LogServiceServicer_to_server(self.log, server)
