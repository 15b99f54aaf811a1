"""Provider keys from one master key to the next: what an earlier one sealed is sealed anew, see mesh/rotation.py.

Versions are not raised: the secrets are the same, and a process that has only the earlier master key must not be made
to read rows that it cannot open.
"""

from collections.abc import Callable, Sequence
from typing import Any

from mesh import rotation
from mesh.errors import MeshError
from mesh.postgres import Database
from mesh.rotation import Progress, SealStore
from services.provider.keys.store import GLOBAL, OWN
from services.provider.keys.vault import Place, SealedKey, Vault

PROVIDERS = "providers"
Again = Callable[[Place, SealedKey], SealedKey | None]
"""A secret sealed anew; None when it does not open."""


_COUNT = {
    PROVIDERS: "SELECT count(*) FROM providers WHERE master_key_id <> $1",
    GLOBAL: "SELECT count(*) FROM global_keys WHERE master_key_id <> $1",
}
_FIND_AND_SEAL = {
    PROVIDERS: (
        "SELECT provider, provider, base_url, sealed_key, sealed_data_key, master_key_id FROM providers "
        "WHERE master_key_id <> $1 AND $2 = '' ORDER BY provider FOR UPDATE",
        "UPDATE providers SET sealed_key = $3, sealed_data_key = $4, master_key_id = $5 WHERE provider = $1 "
        "AND $2 = ''",
    ),
    GLOBAL: (
        "SELECT key_id, provider, base_url, sealed_key, sealed_data_key, master_key_id FROM global_keys "
        "WHERE master_key_id <> $1 AND $2 = '' ORDER BY key_id FOR UPDATE",
        "UPDATE global_keys SET sealed_key = $3, sealed_data_key = $4, master_key_id = $5 WHERE key_id = $1 "
        "AND $2 = ''",
    ),
    OWN: (
        "SELECT key_id, provider, base_url, sealed_key, sealed_data_key, master_key_id FROM provider_keys "
        "WHERE master_key_id <> $1 AND org_id = $2 ORDER BY key_id FOR UPDATE",
        "UPDATE provider_keys SET sealed_key = $3, sealed_data_key = $4, master_key_id = $5 WHERE key_id = "
        "$1 AND org_id = $2",
    ),
}
"""By table: what an earlier master key sealed, and how it is written back."""


async def rotate(store: SealStore[Again], vault: Vault, limit: int) -> Progress:
    """At most `limit` secrets sealed anew; 0 = only looked at. Raises MeshError."""

    def again(place: Place, sealed: SealedKey) -> SealedKey | None:
        try:
            return vault.seal(place, vault.open(place, sealed))
        except MeshError:
            return None

    return await rotation.rotate(store, vault.master_key_id, limit, again)


class PostgresSealStore:
    """The tables providers, global_keys and provider_keys."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def stale(self, present: str) -> Sequence[tuple[str, str, int]]:
        """See mesh.rotation.SealStore."""
        found: list[tuple[str, str, int]] = []
        async with self._database.transaction() as connection:
            for table, query in _COUNT.items():
                found.append((table, "", await connection.fetchval(query, present)))
            rows = await connection.fetch("SELECT org_id::text, stale FROM stale_organisations($1)", present)
        return [one for one in [*found, *((OWN, row[0], row[1]) for row in rows)] if one[2]]

    async def reseal(self, table: str, org_id: str, present: str, limit: int, again: Again) -> tuple[int, int]:
        """See mesh.rotation.SealStore."""
        find, seal = _FIND_AND_SEAL[table]
        done = lost = 0
        async with self._database.transaction(*((org_id,) if org_id else ())) as connection:
            for row in await connection.fetch(find, present, org_id):
                sealed = again(_place(table, org_id, row), SealedKey(*row[3:]))
                lost += sealed is None
                if sealed is not None and done < limit:
                    done += 1
                    parts = (sealed.sealed_key, sealed.sealed_data_key, sealed.master_key_id)
                    await connection.execute(seal, row[0], org_id, *parts)
        return done, lost


def _place(table: str, org_id: str, row: Any) -> Place:
    key_id = "" if table == PROVIDERS else str(row[0])
    return Place(row["provider"], row["base_url"], table, org_id, key_id)
