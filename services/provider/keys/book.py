"""Which key an attempt is sent with: the organisation's own, else everybody's; by weight, and none that is cooling.

Rows stay sealed in memory; the secrets of the organisations that asked last are kept open. Nothing here waits.
"""

import dataclasses
import logging
import random
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence

from mesh.errors import MeshError, Reason
from services.provider.errors import ProviderFault, no_usable_key
from services.provider.keys.store import KeyRow, KeyStore
from services.provider.keys.vault import Vault

MAX_COOLING_S = 3600.0
EARLY_S = 0.05
"""A retry that waited just as long as a key cools must find it."""
_log = logging.getLogger("dac.provider.keys")


@dataclasses.dataclass(frozen=True, slots=True)
class Key:
    """The key of one attempt."""

    org_id: str
    key_id: str
    """Empty = the provider's own one, of a file or AddProvider."""
    provider: str
    secret: str = dataclasses.field(repr=False)
    hint: str
    weight: int
    state: str
    """What its cooling is known by: another one after every change of it."""
    alone: bool = False
    """The only one for everybody: it does not cool, breakers do that."""


OVER_LIMIT = "it is over its rate limit"
"""Why a key rests that got a 429."""


def blames_key(fault: ProviderFault) -> bool:
    """Whether a fault says something of the key or its account, and nothing of the provider."""
    if fault.status_code == 400:
        return fault.reason is Reason.PROVIDER_FAILED
    return fault.status_code in (401, 402, 403, 429)


class KeyBook:
    """The keys of every provider, as the tables last said."""

    def __init__(
        self,
        store: KeyStore | None,
        vault: Vault,
        *,
        opened_organisations: int = 1024,
        refused_s: float = 300.0,
        limited_s: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._store, self._vault, self._clock, self._draw = store, vault, clock, draw
        self._opened_organisations, self._refused_s, self._limited_s = opened_organisations, refused_s, limited_s
        self._rows: dict[str, dict[str, list[KeyRow]]] = {}
        self._versions: dict[str, int] = {}
        self._providers: frozenset[str] = frozenset()
        self._opened: OrderedDict[str, dict[str, str | None]] = OrderedDict()
        self._cooling: dict[str, tuple[float, str]] = {}

    async def refresh(self) -> None:
        """Reads what changed. Raises MeshError."""
        if self._store is None:
            return
        versions = await self._store.versions()
        changed = [org_id for org_id, version in versions.items() if self._versions.get(org_id) != version]
        for org_id in ["", *changed]:
            self._take(org_id, await self._store.read(org_id))
            if org_id:
                self._versions[org_id] = versions[org_id]
        self._providers = frozenset(provider for held in self._rows.values() for provider in held)

    def _take(self, org_id: str, rows: Sequence[KeyRow]) -> None:
        held: dict[str, list[KeyRow]] = {}
        for row in rows:
            held.setdefault(row.provider, []).append(self._as_known(row))
        if held:
            self._rows[org_id] = held
        else:
            self._rows.pop(org_id, None)
        self._opened.pop(org_id, None)

    def _as_known(self, row: KeyRow) -> KeyRow:
        """The row as it was read first, while nothing but its master key is another one: the secret is the same, and
        this process may lack the new master key."""
        held = self._rows.get(row.org_id, {}).get(row.provider, ())
        return next((one for one in held if (one.key_id, one.changed_at) == (row.key_id, row.changed_at)), row)

    def owners(self) -> Mapping[str, tuple[str, ...]]:
        """Provider → the organisations with an active key of their own, "" among them for everybody."""
        found: dict[str, list[str]] = {}
        for org_id, held in self._rows.items():
            for provider, rows in held.items():
                if any(row.is_active for row in rows):
                    found.setdefault(provider, []).append(org_id)
        return {provider: tuple(sorted(org_ids)) for provider, org_ids in found.items()}

    def choose(self, provider: str, org_id: str, base_url: str, own: str, *, enabled: bool) -> Key | None:
        """The key of an attempt; None = the provider's own, if it has any. Raises ProviderFault.

        `own`: the key of the provider itself, which counts as one of everybody's; `enabled`: everybody may use it.
        """
        if provider not in self._providers:
            return None
        rows = self._rows.get(org_id, {}).get(provider) if org_id else None
        if rows is None:
            rows, org_id = self._rows.get("", {}).get(provider), ""
            if rows is None or not enabled:
                return None
        keys = [key for row in rows if (key := self._key(row, base_url)) is not None]
        if not org_id and own:
            keys.append(Key("", "", provider, own, "", 1, f"own {provider} {hash(own)}"))
        if not org_id and len(keys) == 1:
            return dataclasses.replace(keys[0], alone=True)
        free = [key for key in keys if not self._cools(key.state)]
        if not free:
            rest = [self._cooling[key.state] for key in keys]
            wait_s = min((until - self._clock() for until, _ in rest), default=None)
            limited = all(why == OVER_LIMIT for _, why in rest)
            raise no_usable_key(provider, of_organisation=bool(org_id), keys=len(rows), wait_s=wait_s, limited=limited)
        return self._drawn(free)

    def _drawn(self, keys: Sequence[Key]) -> Key:
        at = self._draw() * sum(key.weight for key in keys)
        for key in keys:
            at -= key.weight
            if at < 0:
                return key
        return keys[-1]

    def failed(self, key: Key, fault: ProviderFault) -> None:
        """A key that its provider refused rests for minutes, one that is over its limit as long as it was told."""
        if key.alone or not blames_key(fault):
            return
        limited = fault.rate_limited
        seconds = (fault.retry_after_s or self._limited_s) if limited else self._refused_s
        why = OVER_LIMIT if limited else f"{key.provider} refused it ({fault.status_code})"
        if not limited and not self._cools(key.state):
            _log.warning("key %s of %s is left for %g s: %s", key.key_id or "(own)", key.provider, seconds, why)
        self._cooling[key.state] = (self._clock() + min(seconds, MAX_COOLING_S), why)
        if len(self._cooling) > 4096:
            now = self._clock()
            self._cooling = {state: held for state, held in self._cooling.items() if held[0] > now}

    def unusable_because(self, row: KeyRow, base_url: str | None) -> str:
        """Why a key is not used now; empty = it is. `base_url`: its provider's, None = there is no such provider."""
        if not row.is_active:
            return "it is switched off"
        if base_url is None:
            return f"{row.provider} is not configured"
        if base_url != row.base_url:
            return f"{row.provider} has another address than when the key was set: set it again"
        if self._secret(self._as_known(row)) is None:
            return "it cannot be opened with the master key at hand: set it again"
        until, why = self._cooling.get(_state(row), (0.0, ""))
        left_s = until - self._clock()
        return f"{why}; left for {left_s:.0f} s more" if left_s > EARLY_S else ""

    def _cools(self, state: str) -> bool:
        held = self._cooling.get(state)
        return held is not None and held[0] - EARLY_S > self._clock()

    def _key(self, row: KeyRow, base_url: str) -> Key | None:
        if not row.is_active or row.base_url != base_url or (secret := self._secret(row)) is None:
            return None
        return Key(row.org_id, row.key_id, row.provider, secret, row.key_hint, row.weight, _state(row))

    def _secret(self, row: KeyRow) -> str | None:
        """The secret, opened at the first need."""
        opened = self._opened.get(row.org_id)
        if opened is None:
            opened = self._opened[row.org_id] = {}
            while len(self._opened) > self._opened_organisations:
                self._opened.popitem(last=False)
        else:
            self._opened.move_to_end(row.org_id)
        if row.key_id not in opened:
            try:
                opened[row.key_id] = self._vault.open(row.place, row.sealed)
            except MeshError as error:
                _log.error("%s", error.message)
                opened[row.key_id] = None
        return opened[row.key_id]


def _state(row: KeyRow) -> str:
    return f"{row.key_id} {row.changed_at.timestamp()}"
