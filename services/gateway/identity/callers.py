"""Who is calling: a token → a proven caller, from memory when the key epoch was confirmed within the last second.

A remembered key counts only for the epoch that was read before its row, so that a change between the two is noticed.
Replicas hear of changes by LISTEN and by polling the epoch every 500 ms; with the database gone, new requests are
refused after a second.
"""

import asyncio
import contextlib
import dataclasses
import datetime as dt
import hashlib
import hmac
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping

from dac.type.v1.principal_pb2 import Principal
from mesh.errors import MeshError, Reason
from mesh.keyring import Keyring
from mesh.principals import Signer
from services.gateway import errors
from services.gateway.identity import acting, key_tokens, peppers
from services.gateway.identity.places import NOWHERE
from services.gateway.identity.rows import KeyRow
from services.gateway.identity.store import Store

POLL_S = 0.5
FRESH_S = 1.0
SIGN_AGAIN_S = 60.0
CAPACITY = 10_000
REFUSED_CAPACITY = 1_000
ACTING_CAPACITY = 10_000
KNOWN_SCOPES = ("chat", "read", "admin", "operator")
_log = logging.getLogger("dac.gateway.callers")


def hash_token(pepper: bytes, token: str) -> bytes:
    """What is stored of a token: HMAC-SHA-256 under a subkey. The secret's entropy makes a slow hash needless."""
    return hmac.digest(pepper, token.encode(), hashlib.sha256)


def foreign_place(pepper: bytes, sha256: bytes) -> tuple[str, bytes]:
    """(lookup id, stored hash) of another gateway's key, of which only the SHA-256 is known.

    The SHA-256 itself is not stored: whoever holds the other gateway's table and this one cannot match their rows.
    """
    hashed = hmac.digest(pepper, sha256, hashlib.sha256)
    return f"sha256:{hashed.hex()[:24]}", hashed


@dataclasses.dataclass(slots=True)
class Caller:
    """A proven caller."""

    principal: Principal
    models: tuple[str, ...]
    """Model ids or patterns the key may use; empty = all."""
    signer: Signer | None = None
    without_persona: bool = False
    """Its answers go without the policy's persona."""
    given: bytes = b""
    """A principal that came signed from elsewhere."""
    signed_at: float = 0.0
    _signed: bytes = b""

    def signed(self) -> bytes:
        """The signed principal, made anew when it is older than a minute."""
        if self.signer is None:
            return self.given
        now = time.monotonic()
        if not self._signed or now - self.signed_at > SIGN_AGAIN_S:
            self._signed, self.signed_at = self.signer.sign(self.principal), now
        return self._signed

    def check_chat(self) -> None:
        """Raises PERMISSION_DENIED for a key that may not ask models."""
        if "chat" not in self.principal.scopes and self.principal.kind != Principal.KIND_OPERATOR:
            raise MeshError(
                Reason.PERMISSION_DENIED,
                'This key has no scope "chat". Make one with `dac key create --scope chat`.',
                metadata={"scope": "chat"},
            )


@dataclasses.dataclass(slots=True)
class _Known:
    caller: Caller | None
    failure: MeshError | None
    epoch: int
    expires_at: dt.datetime | None


class Callers:
    """Authenticates. `start` begins following key changes."""

    def __init__(
        self,
        store: Store,
        signer: Signer,
        keyring: Keyring,
        *,
        anonymous: bool = False,
        clock: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC),
    ) -> None:
        self._store, self._signer, self._clock = store, signer, clock
        self._peppers = peppers.derived(keyring)
        self._anonymous = anonymous
        self._known: OrderedDict[bytes, _Known] = OrderedDict()
        self._refused: OrderedDict[bytes, _Known] = OrderedDict()
        self._reading: dict[bytes, asyncio.Task[_Known]] = {}
        self._by_key: OrderedDict[str, tuple[tuple[str, ...], bool]] = OrderedDict()
        self._acting: OrderedDict[tuple[object, ...], tuple[int, Caller]] = OrderedDict()
        self._epoch, self._confirmed = 0, -FRESH_S
        self._changed = asyncio.Event()
        self._follower: asyncio.Task[None] | None = None
        self._operator: tuple[str, str] | None = None
        self._operator_caller: Caller | None = None
        self._anonymous_caller: Caller | None = None

    async def start(self) -> None:
        """Reads the epoch and follows it."""
        await self.confirm()
        await self._store.listen(self._changed.set)
        self._follower = asyncio.create_task(self._follow())

    async def close(self) -> None:
        """Stops following."""
        if self._follower is not None:
            self._follower.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._follower

    def set_peppers(self, found: Mapping[str, bytes]) -> None:
        """What this database's hashes are made with; before the first caller."""
        self._peppers = dict(found)

    def set_operator(self, token: str, org_id: str) -> None:
        """The operator's token and the organisation it chats in."""
        self._operator = (token, org_id)
        principal = Principal(kind=Principal.KIND_OPERATOR, org_id=org_id, scopes=["operator"])
        acting.stand(principal, NOWHERE)
        self._operator_caller = Caller(principal, (), self._signer)
        guest = Principal(kind=Principal.KIND_USER_KEY, org_id=org_id, scopes=["chat", "read"])
        acting.stand(guest, NOWHERE)
        self._anonymous_caller = Caller(guest, (), self._signer)

    def fresh(self) -> bool:
        """Whether the epoch was confirmed within the last second."""
        return time.monotonic() - self._confirmed < FRESH_S

    async def confirm(self) -> None:
        """Reads the epoch now: what was changed before this call counts in this replica from here on."""
        asked = time.monotonic()
        epoch = await self._store.epoch()
        # Two of these may overlap: what is known never goes back.
        self._epoch, self._confirmed = max(self._epoch, epoch), max(self._confirmed, asked)

    async def _follow(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLL_S):
                    await self._changed.wait()
            self._changed.clear()
            try:
                async with asyncio.timeout(FRESH_S):
                    await self.confirm()
            except (MeshError, TimeoutError) as error:
                _log.warning("the key epoch could not be read: %s", error)

    async def authenticate_header(self, authorization: str) -> Caller:
        """The caller of an Authorization header. Raises MISSING_CREDENTIAL, INVALID_CREDENTIAL or UNAVAILABLE."""
        scheme, _, token = authorization.partition(" ")
        token = token.strip(" \t")
        if not authorization or (scheme.lower() == "bearer" and not token):
            if self._anonymous and self._anonymous_caller is not None:
                return self._anonymous_caller
            raise errors.missing_key()
        if scheme.lower() != "bearer":
            raise errors.missing_key()
        return await self.authenticate(token)

    async def authenticate(self, token: str) -> Caller:
        """The caller of a token. Raises INVALID_CREDENTIAL or UNAVAILABLE."""
        operator = self._operator
        if operator is not None and hmac.compare_digest(token.encode(), operator[0].encode()):
            assert self._operator_caller is not None
            return self._operator_caller
        digest = hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
        known = self._known.get(digest) or self._refused.get(digest)
        if known is None or known.epoch != self._epoch or not self.fresh():
            known = await self._read_once(token, digest)
        if known.failure is not None:
            raise known.failure
        assert known.caller is not None
        if known.expires_at is not None and known.expires_at <= self._clock():
            raise errors.expired_key(known.expires_at.isoformat(timespec="seconds"))
        return known.caller

    async def _read_once(self, token: str, digest: bytes) -> _Known:
        """Many requests of one key at the same time read it once."""
        reading = self._reading.get(digest)
        if reading is None:
            reading = self._reading[digest] = asyncio.create_task(self._read(token, digest))
            reading.add_done_callback(lambda done: self._read_ended(digest, done))
        return await asyncio.shield(reading)

    def _read_ended(self, digest: bytes, done: "asyncio.Task[_Known]") -> None:
        del self._reading[digest]
        if not done.cancelled():
            # Whoever waited for it may be gone.
            done.exception()

    async def _read(self, token: str, digest: bytes) -> _Known:
        if key_tokens.is_foreign(token):
            lookup_id, hashed = foreign_place(self._peppers[peppers.FOREIGN_KEYS], digest)
        else:
            lookup_id, hashed = key_tokens.parse(token).lookup_id, hash_token(self._peppers[peppers.API_KEYS], token)
        try:
            async with asyncio.timeout(FRESH_S):
                await self.confirm()
                epoch = self._epoch
                rows = await self._store.find_key(lookup_id)
        except (MeshError, TimeoutError) as error:
            _log.debug("a key could not be checked: %s", error)
            raise errors.keys_unreachable() from None
        found: KeyRow | None = None
        for row in rows or [KeyRow("", "", bytes(32), (), (), None, None)]:
            # Compared also when there is no row, so that a miss takes as long as a hit.
            if hmac.compare_digest(row.hash, hashed) and row.key_id:
                found = row
        known = _Known(None, None, epoch, None)
        if found is None:
            known.failure = errors.unknown_key()
        elif found.revoked_at is not None:
            known.failure = errors.revoked_key()
        else:
            known.caller, known.expires_at = self._caller_of(found), found.expires_at
        self._remember(digest, known)
        return known

    def _remember(self, digest: bytes, known: _Known) -> None:
        """Good and refused tokens apart, so that made-up tokens push no good one out."""
        self._known.pop(digest, None)
        self._refused.pop(digest, None)
        kept, capacity = (self._known, CAPACITY) if known.caller is not None else (self._refused, REFUSED_CAPACITY)
        kept[digest] = known
        if len(kept) > capacity:
            kept.popitem(last=False)

    def _caller_of(self, row: KeyRow) -> Caller:
        principal = Principal(
            kind=Principal.KIND_USER_KEY,
            org_id=row.org_id,
            key_id=row.key_id,
            scopes=[scope for scope in row.scopes if scope in KNOWN_SCOPES],
        )
        acting.stand(principal, row.place)
        self._by_key[row.key_id] = row.models, row.without_persona
        self._by_key.move_to_end(row.key_id)
        if len(self._by_key) > CAPACITY:
            self._by_key.popitem(last=False)
        return Caller(principal, row.models, self._signer, row.without_persona)

    async def acting_for(self, caller: Caller, team_id: str, project_id: str) -> Caller:
        """The caller where it acts for a team or a project ("" = none named); remembered as keys are.

        Raises PERMISSION_DENIED, INVALID_REQUEST for a team and another team's project, or UNAVAILABLE.
        """
        own = caller.principal
        if acting.stays(own, team_id, project_id):
            return caller
        acting.check_at_all(own, team_id, project_id)
        # All that the answer depends on, but for the tree, whose changes raise the epoch.
        stands = own.org_id, own.key_id, own.team_id, own.project_id, own.user_id, tuple(own.scopes), caller.models
        place = (*stands, caller.without_persona, team_id, project_id)
        known = self._acting.get(place)
        if known is not None and known[0] == self._epoch and self.fresh():
            return known[1]
        try:
            async with asyncio.timeout(FRESH_S):
                await self.confirm()
                epoch = self._epoch
                found = await self._store.find_place(own.org_id, team_id, project_id)
        except (MeshError, TimeoutError) as error:
            _log.debug("a place could not be looked up: %s", error)
            raise errors.keys_unreachable() from None
        principal = acting.principal_at(own, acting.place_for(own, team_id, project_id, found))
        acts = Caller(principal, caller.models, self._signer, caller.without_persona)
        self._acting.pop(place, None)
        self._acting[place] = epoch, acts
        if len(self._acting) > ACTING_CAPACITY:
            self._acting.popitem(last=False)
        return acts

    def of_principal(self, principal: Principal, signed: bytes) -> Caller:
        """The caller behind a principal that was proven already (gRPC callers, whose key was checked at the door).

        Raises UNAVAILABLE for a key that was not checked here: which models it may use is not in the principal.
        """
        known = self._by_key.get(principal.key_id) if principal.key_id else ((), False)
        if known is None:
            raise errors.checked_elsewhere()
        models, without_persona = known
        return Caller(principal, models, self._signer, without_persona, given=signed)
