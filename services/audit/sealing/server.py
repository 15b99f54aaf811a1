"""SealingService: proto in, counts and keys, proto out; and how sealing is put together."""

from __future__ import annotations

from typing import Any

import grpc.aio

from dac.audit.v1 import sealing_pb2 as pb
from dac.audit.v1 import sealing_pb2_grpc
from mesh import call
from mesh.envelope_keys import Wrapper
from mesh.keyring import Keyring
from mesh.postgres import Database
from mesh.rotation import rotate, step_limit
from services.audit.sealing.keys import PURPOSE, PayloadKeys
from services.audit.sealing.payloads import Payloads

COUNT_S = 120.0
SINCE = "SELECT since FROM payload_sealing"
COUNTS = """SELECT
  (SELECT count(*) FROM requests WHERE org_id = $1 AND substring(record FROM 1 FOR 1) <> '\\x00') AS plain_requests,
  (SELECT count(*) FROM requests WHERE org_id = $1 AND substring(record FROM 1 FOR 1) = '\\x00') AS sealed_requests,
  (SELECT count(*) FROM changes WHERE org_id = $1 AND substring(record FROM 1 FOR 1) <> '\\x00') AS plain_changes,
  (SELECT count(*) FROM changes WHERE org_id = $1 AND substring(record FROM 1 FOR 1) = '\\x00') AS sealed_changes,
  (SELECT count(*) FROM payload_keys WHERE org_id = $1 AND subject <> '' AND destroyed_at IS NULL) AS subject_keys,
  (SELECT count(*) FROM payload_keys WHERE org_id = $1 AND destroyed_at IS NOT NULL) AS destroyed_keys"""


class SealingServicer(sealing_pb2_grpc.SealingServiceServicer):
    """See dac.audit.v1.SealingService."""

    def __init__(self, database: Database, keys: PayloadKeys, wrapper: Wrapper, *, seals: bool) -> None:
        self._database, self._keys, self._wrapper, self._seals = database, keys, wrapper, seals

    async def GetPayloadSealing(  # noqa: D102
        self, request: pb.GetPayloadSealingRequest, context: Any
    ) -> pb.GetPayloadSealingResponse:
        org_id = call.require_organisation("admin").org_id
        async with self._database.transaction(org_id) as connection:
            since = await connection.fetchval(SINCE)
            counts = await connection.fetchrow(COUNTS, org_id, timeout=COUNT_S)
        made = pb.GetPayloadSealingResponse(seal_payloads=self._seals, **dict(counts))
        if since is not None:
            made.since.FromDatetime(since)
        return made

    async def RewrapPayloadKeys(  # noqa: D102
        self, request: pb.RewrapPayloadKeysRequest, context: Any
    ) -> pb.RewrapPayloadKeysResponse:
        call.require_scope("operator")
        limit = step_limit(request.limit, check_only=request.check_only)
        done = await rotate(self._keys, self._wrapper.master_key_id, limit, self._wrapper)
        return pb.RewrapPayloadKeysResponse(
            rotated=done.rotated, left=done.left, lost=done.lost, master_key_id=self._wrapper.master_key_id
        )


class Sealing:
    """The assembled sealing."""

    def __init__(self, database: Database, keyring: Keyring, *, seals: bool) -> None:
        wrapper = Wrapper.of(keyring, PURPOSE)
        keys = PayloadKeys(database, wrapper)
        self.payloads = Payloads(keys, seals=seals)
        self.servicer = SealingServicer(database, keys, wrapper, seals=seals)

    def register(self, server: grpc.aio.Server) -> None:
        """Adds the servicer."""
        sealing_pb2_grpc.add_SealingServiceServicer_to_server(self.servicer, server)
