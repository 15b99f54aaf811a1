"""The newest checkpoint that each witness has cosigned, in PostgreSQL."""

from __future__ import annotations

from dataclasses import dataclass

from mesh.postgres import Database
from services.audit.log.witnessing import Kept

KEPT = "SELECT witness, size, checkpoint, cosignature FROM log_cosignatures ORDER BY witness"
# A former leader's older one does not replace a newer one.
KEEP = """INSERT INTO log_cosignatures (witness, size, checkpoint, cosignature, at) VALUES ($1, $2, $3, $4, now())
  ON CONFLICT (witness) DO UPDATE SET size = EXCLUDED.size, checkpoint = EXCLUDED.checkpoint,
    cosignature = EXCLUDED.cosignature, at = EXCLUDED.at WHERE log_cosignatures.size <= EXCLUDED.size"""


@dataclass(frozen=True)
class CosignatureStore:
    """Cosignatures in the schema `audit`."""

    database: Database

    async def kept(self) -> list[Kept]:
        """Of every witness that ever cosigned, the newest."""
        async with self.database.transaction() as connection:
            return [Kept(*row) for row in await connection.fetch(KEPT)]

    async def keep(self, kept: Kept) -> None:
        """Stores what a witness has cosigned."""
        async with self.database.transaction() as connection:
            await connection.execute(KEEP, *kept)
