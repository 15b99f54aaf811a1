"""Several keys of a provider, an organisation's own or everybody's: added, listed, changed, removed; never shown."""

import dataclasses
import datetime
from collections.abc import Callable, Sequence

from mesh.admin_record import Change
from mesh.errors import MeshError, Reason, invalid
from mesh.ids import is_uuid, uuid7
from mesh.rotation import Progress, SealStore, step_limit
from services.provider.errors import unknown_key, unknown_provider
from services.provider.keys.keys import Describe
from services.provider.keys.rotation import Again, rotate
from services.provider.keys.store import Edit, KeyRow, KeyStore
from services.provider.keys.vault import SealedKey, Vault
from services.provider.registry import Provider, Registry, hint_of, known_entry

MAX_KEYS = 16
"""Of one provider, for each organisation."""
MAX_WEIGHT = 1000
MAX_KEY_CHARS = 4096
PAGE = 100


class ProviderKeyDesk:
    """Changes the keys. Who may is decided before."""

    def __init__(
        self,
        registry: Registry,
        store: KeyStore | None,
        seals: SealStore[Again] | None,
        vault: Vault,
        *,
        now: Callable[[], datetime.datetime],
    ) -> None:
        self._registry, self._store, self._seals, self._vault, self._now = registry, store, seals, vault, now
        self.master_key_id = vault.master_key_id

    async def create(
        self,
        org_id: str,
        provider: str,
        key: str,
        *,
        is_active: bool,
        weight: int,
        request_id: str,
        describe: Describe[KeyRow],
    ) -> KeyRow:
        """Adds a key. Raises MeshError."""
        store = self._writable()
        check_secret(key)
        weight = check_weight(weight or 1)
        if request_id and not is_uuid(request_id):
            raise invalid("request_id", f'request_id "{request_id[:80]}" is not a UUID.')
        if self.base_url_of(provider) is None:
            raise unknown_provider(provider[:80])
        key_id, at = uuid7(), self._now()
        row = KeyRow(
            org_id,
            key_id,
            provider,
            self.base_url_of(provider) or "",
            SealedKey(b"", b"", ""),
            hint_of(key),
            is_active,
            weight,
            request_id.lower() or key_id,
            at,
            at,
        )
        row = dataclasses.replace(row, sealed=self._vault.seal(row.place, key))
        kept = await store.add(row, describe("provider_key.create", None, row), most=MAX_KEYS)
        if kept is None:
            raise MeshError(
                Reason.FAILED_PRECONDITION,
                f"There are {MAX_KEYS} keys for {provider} already: remove one before you add another.",
            )
        if kept.key_id != key_id and (kept.provider != provider or self._vault.open(kept.place, kept.sealed) != key):
            raise MeshError(Reason.ALREADY_EXISTS, f"request_id {request_id} made another key before: take a new one.")
        await self._registry.refresh()
        return kept

    async def keys(self, org_id: str, provider: str, size: int, after: str) -> tuple[Sequence[KeyRow], str]:
        """A page of keys, oldest first, and the token of the next. Raises MeshError."""
        if size < 0:
            raise invalid("page_size", f"page_size must not be negative, it is {size}.")
        size = min(size or PAGE, PAGE)
        rows = [row for row in await self._writable().read(org_id) if not provider or row.provider == provider]
        # UUIDv7: in the order of their making.
        rest = sorted((row for row in rows if row.key_id > after), key=lambda row: row.key_id)
        return rest[:size], rest[size - 1].key_id if len(rest) > size else ""

    async def update(
        self,
        org_id: str,
        key_id: str,
        provider: str,
        key: str,
        *,
        is_active: bool | None,
        weight: int | None,
        describe: Describe[KeyRow],
    ) -> KeyRow:
        """Changes what is said. Raises MeshError."""
        if key:
            check_secret(key)
        if weight is not None:
            check_weight(weight)
        if not is_uuid(key_id):
            raise unknown_key(key_id)

        def changed(row: KeyRow) -> tuple[KeyRow, Change | None]:
            if provider and provider != row.provider:
                raise unknown_key(key_id)
            after = dataclasses.replace(
                row,
                is_active=row.is_active if is_active is None else is_active,
                weight=row.weight if weight is None else weight,
                changed_at=self._now(),
            )
            if key:
                base_url = self.base_url_of(row.provider)
                if base_url is None:
                    raise unknown_provider(row.provider)
                after = dataclasses.replace(after, base_url=base_url, key_hint=hint_of(key))
                after = dataclasses.replace(after, sealed=self._vault.seal(after.place, key))
            return after, describe("provider_key.update", row, after)

        return await self._edited(org_id, key_id, changed)

    async def _edited(self, org_id: str, key_id: str, changed: Edit) -> KeyRow:
        row = await self._writable().edit(org_id, key_id, changed)
        if row is None:
            raise unknown_key(key_id)
        await self._registry.refresh()
        return row

    async def delete(self, org_id: str, key_id: str, provider: str, *, describe: Describe[KeyRow]) -> None:
        """Forgets a key. Raises MeshError."""
        store = self._writable()
        known = [row for row in await store.read(org_id) if row.key_id == key_id.lower()]
        if not known or (provider and provider != known[0].provider):
            raise unknown_key(key_id)
        if not await store.remove(org_id, known[0].key_id, describe("provider_key.delete", known[0], None)):
            raise unknown_key(key_id)
        await self._registry.refresh()

    async def rotate(self, limit: int, *, check_only: bool) -> Progress:
        """Seals some secrets anew with the present master key. Raises MeshError."""
        limit = step_limit(limit, check_only=check_only)
        if self._seals is None:
            raise _no_database()
        return await rotate(self._seals, self._vault, limit)

    def base_url_of(self, provider: str) -> str | None:
        """The address that a provider's keys are sent to; None when it takes none."""
        found = next((one for one in self._registry.providers() if one.entry.provider == provider), None)
        entry = found.entry if found is not None else known_entry(provider)
        return None if entry is None or entry.kind == "local" else entry.base_url

    def unusable_because(self, row: KeyRow) -> str:
        """See KeyBook.unusable_because."""
        return self._registry.book.unusable_because(row, self.base_url_of(row.provider))

    def _writable(self) -> KeyStore:
        if self._store is None:
            raise _no_database()
        return self._store


def visible_to(providers: Sequence[Provider], org_id: str) -> list[Provider]:
    """The providers as one organisation may see them: what others have keys for is not told."""
    return [one for one in providers if not one.known_only or org_id in one.org_ids]


def check_secret(key: str) -> None:
    """Raises INVALID_REQUEST for what cannot be a key."""
    if not key or not key.isascii() or not key.isprintable() or key != key.strip() or len(key) > MAX_KEY_CHARS:
        raise invalid("api_key", f"api_key must be 1 to {MAX_KEY_CHARS} printable ASCII characters.")


def check_weight(weight: int) -> int:
    """Raises INVALID_REQUEST outside 1 to 1000."""
    if not 1 <= weight <= MAX_WEIGHT:
        raise invalid("weight", f"weight must be 1 to {MAX_WEIGHT}, it is {weight}.")
    return weight


def _no_database() -> MeshError:
    return MeshError(Reason.FAILED_PRECONDITION, "This DAC runs without a database: set providers in a file.")
