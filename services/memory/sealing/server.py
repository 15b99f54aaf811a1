"""SealingService: proto in, data keys and erasure, proto out; and how sealing is put together."""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from collections.abc import Callable
from typing import Any

import grpc.aio

from dac.memory.v1 import sealing_pb2, sealing_pb2_grpc
from mesh.admin_changes import ChangeOutbox, ChangeTeller, append_to_audit
from mesh.admin_record import Change, admin_change
from mesh.envelope_keys import Wrapper
from mesh.rotation import rotate, step_limit
from mesh.service import Context
from services.memory import errors
from services.memory.config import MemoryConfig
from services.memory.sealing.data_keys import PURPOSE, DataKeys, KeyedSealer
from services.memory.sealing.erasure import Erasure
from services.memory.sealing.resealing import Resealer
from services.memory.viewers import organisation


class SealingServicer(sealing_pb2_grpc.SealingServiceServicer):
    """dac.memory.v1.SealingService."""

    def __init__(
        self,
        erasure: Erasure,
        keys: DataKeys,
        wrapper: Wrapper,
        *,
        enabled: bool,
        clock: Callable[[], dt.datetime],
        told: Callable[[], None] = lambda: None,
        rotated: Callable[[], None] = lambda: None,
    ) -> None:
        """`told` is called when there is something to tell audit, `rotated` when there is something to seal anew."""
        self._erasure, self._keys, self._wrapper, self._enabled = erasure, keys, wrapper, enabled
        self._clock, self._told, self._rotated = clock, told, rotated

    async def GetSealStatus(
        self, request: sealing_pb2.GetSealStatusRequest, context: Any
    ) -> sealing_pb2.GetSealStatusResponse:
        """See SealingService.GetSealStatus."""
        key_id, counted = await self._erasure.status(organisation())
        tables = [
            sealing_pb2.SealedTable(
                table=one.table, plain_rows=one.plain, sealed_rows=one.sealed, earlier_rows=one.earlier
            )
            for one in counted
        ]
        return sealing_pb2.GetSealStatusResponse(encrypt_text=self._enabled, key_id=key_id, tables=tables)

    async def RotateDataKey(
        self, request: sealing_pb2.RotateDataKeyRequest, context: Any
    ) -> sealing_pb2.RotateDataKeyResponse:
        """See SealingService.RotateDataKey."""
        org_id = organisation()
        key_id = await self._erasure.rotate(org_id, self._change(org_id, "memory.data_key.rotate"))
        self._told()
        self._rotated()
        return sealing_pb2.RotateDataKeyResponse(key_id=key_id)

    async def RewrapDataKeys(
        self, request: sealing_pb2.RewrapDataKeysRequest, context: Any
    ) -> sealing_pb2.RewrapDataKeysResponse:
        """See SealingService.RewrapDataKeys."""
        limit = step_limit(request.limit, check_only=request.check_only)
        done = await rotate(self._keys, self._wrapper.master_key_id, limit, self._wrapper)
        return sealing_pb2.RewrapDataKeysResponse(
            rotated=done.rotated, left=done.left, lost=done.lost, master_key_id=self._wrapper.master_key_id
        )

    async def EraseOrganisation(
        self, request: sealing_pb2.EraseOrganisationRequest, context: Any
    ) -> sealing_pb2.EraseOrganisationResponse:
        """See SealingService.EraseOrganisation."""
        org_id = organisation()
        if request.org_id != org_id:
            raise errors.not_confirmed(request.org_id)
        erased = await self._erasure.erase(org_id, self._change(org_id, "memory.erase"))
        self._told()
        return sealing_pb2.EraseOrganisationResponse(
            deleted_rows=erased.deleted_rows, destroyed_keys=erased.destroyed_keys
        )

    def _change(self, org_id: str, action: str) -> Change:
        return admin_change(action, f"organisation:{org_id}", self._clock(), org_id=org_id)


class Sealing:
    """Everything of sealing in one process: the sealer for the stores, the erasure, and what runs beside them."""

    def __init__(self, context: Context) -> None:
        """Opens nothing."""
        database, config = context.database, context.config
        assert isinstance(config, MemoryConfig)
        if database is None:
            raise errors.not_opened()
        wrapper, self._database = Wrapper.of(context.keyring, PURPOSE), database
        keys = DataKeys(database, wrapper, clock=_now)
        self.sealer = KeyedSealer(
            keys, enabled=config.encrypt_text, check_s=config.encrypt_key_check_s, monotonic=time.monotonic
        )

        async def heard() -> None:
            # Also the replica that hears no news reads keys again after this time.
            await asyncio.sleep(config.encrypt_key_check_s)

        self.erasure = Erasure(database, keys, self.sealer, clock=_now, wait=heard)
        self.resealer = Resealer(
            database,
            keys,
            self.sealer,
            rows=config.encrypt_reseal_rows,
            interval_s=config.encrypt_reseal_interval_s,
            clock=_now,
        )
        self._teller = ChangeTeller("memory", ChangeOutbox(database), append_to_audit("memory", context.channel_to))
        self.servicer = SealingServicer(
            self.erasure,
            keys,
            wrapper,
            enabled=config.encrypt_text,
            clock=_now,
            told=self._teller.wake,
            rotated=self.resealer.wake,
        )

    def register(self, server: grpc.aio.Server) -> None:
        """Adds the servicer."""
        sealing_pb2_grpc.add_SealingServiceServicer_to_server(self.servicer, server)

    async def start(self) -> None:
        """Begins to follow the keys' news, to seal old rows, and to tell audit."""
        await self.sealer.follow(self._database.listen)
        self.resealer.start()
        self._teller.start()

    async def close(self) -> None:
        """Stops all that."""
        await self._teller.close()
        await self.resealer.close()
        await self.sealer.close()


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
